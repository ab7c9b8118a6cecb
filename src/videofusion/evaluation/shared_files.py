"""Whether two sets of clips share a file, by its path or by its bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from videofusion.data.items import Item
from videofusion.data.layouts.arrays import ArrayClip
from videofusion.video.decode import VideoFile
from videofusion.video.footage import Data, Unreadable, byte_count
from videofusion.video.stills import Pictures


def shared_file(some: Iterable[Item], others: Iterable[Item]) -> tuple[str, str] | None:
    """The names of an item of each set that have a file in common; None if there are none.

    Only files of equal length are read. An array in memory has no file, and is not compared.
    """
    by_length: dict[int, dict[Data, str]] = {}
    for item in others:
        for file, length in _files(item):
            by_length.setdefault(length, {})[file] = item.name
    digests: dict[int, dict[str, str]] = {}
    seen: set[Data] = set()  # the clips of an array are in one file
    for item in some:
        for file, length in _files(item):
            if length not in by_length or file in seen:
                continue
            seen.add(file)
            if length not in digests:
                digests[length] = {_content(theirs): name for theirs, name in by_length[length].items()}
            name = digests[length].get(_content(file))
            if name is not None:
                return item.name, name
    return None


def _files(item: Item) -> Iterator[tuple[Data, int]]:
    """The files of an item with their lengths; what cannot be read is told where the item is opened."""
    for file in _named(item):
        with suppress(OSError):
            yield file, byte_count(file)


def _named(item: Item) -> Iterable[Data]:
    origin = item.origin
    if isinstance(origin, VideoFile):
        return (origin.data,)
    if isinstance(origin, ArrayClip):
        return (origin.file,)
    if isinstance(origin, Pictures):
        try:
            return origin.paths()
        except Unreadable:  # which is told where the item is opened
            return ()
    return ()


def _content(file: Data) -> str:
    if not isinstance(file, Path):
        return hashlib.sha256(file.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()
