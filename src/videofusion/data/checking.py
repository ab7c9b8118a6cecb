"""Which clips of a folder cannot be trained on, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from videofusion.cores import cores
from videofusion.data.items import Item
from videofusion.data.layouts.detection import open_source
from videofusion.data.layouts.encoded import EncodedFootage
from videofusion.errors import InputError
from videofusion.video.decode import Video, decode_all
from videofusion.video.footage import Unreadable

_File = TypeVar("_File")
_Result = TypeVar("_Result")


def check_folder(
    path: str | Path, *, layout: str = "auto", frames: int = 2, progress: Callable[[int, int], None] | None = None
) -> list[tuple[str, str]]:
    """Decode every frame of every clip at a path, and compare the captions with the files.

    Args:
        path: a folder or file.
        layout: how it is laid out; see `layouts.open_source`.
        frames: a video with fewer is too short.
        progress: called with (files done, files in all) after each file.

    Returns:
        (name, reason) of what cannot be used, in the names' order; empty if all is well.

    Raises:
        InputError: nothing that can be read as clips, or `frames` below 1.
    """
    if frames < 1:
        raise InputError(f"frames is {frames}; it must be a whole number of at least 1")
    source = open_source(path, layout)
    files = list(source.files)
    reasons = for_each_file(files, lambda item: check_item(item, frames), progress)
    bad = dict(source.problems)
    bad.update({item.name: reason for item, reason in zip(files, reasons, strict=True) if reason is not None})
    return sorted(bad.items())


def check_item(item: Item, frames: int = 1) -> str | None:
    """Return why a clip cannot be used, None if it can."""
    try:
        footage = item.open()
        if len(footage) < frames:
            raise Unreadable(f"too short: {len(footage)} frames, needed are {frames}")
        if isinstance(footage, Video):
            decode_all(footage)
        elif isinstance(footage, EncodedFootage):
            footage.check()
        else:
            for _ in footage.decode(range(len(footage))):
                pass
    except Unreadable as error:
        return str(error)
    return None


def for_each_file(
    files: Sequence[_File], work: Callable[[_File], _Result], progress: Callable[[int, int], None] | None = None
) -> list[_Result]:
    """Do something with many files at once, in order.

    Threads do: FFmpeg works outside of Python's lock.
    """
    results = []
    with ThreadPoolExecutor(cores()) as pool:
        try:
            for result in pool.map(work, files):
                results.append(result)
                if progress is not None:
                    progress(len(results), len(files))
        except BaseException:  # an interruption need not wait for the files that were not begun
            pool.shutdown(cancel_futures=True)
            raise
    return results
