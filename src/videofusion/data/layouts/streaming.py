"""Shards that are elsewhere: fetched whole when their turn comes, into a bounded folder.

The draws of a run are numbered before anything is fetched (an `index.json` says how many clips
each shard has), so a streamed run resumes and is shared among processes as any other. An epoch
goes through the shards in an order of its own, and through each shard's clips in another.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videofusion.data.addresses import Fetch, allowed, scheme_of
from videofusion.data.counter import keys, uniforms
from videofusion.data.items import Item, Source
from videofusion.data.layouts.shards import read_index, read_shard
from videofusion.errors import InputError, RunError
from videofusion.files import replacing
from videofusion.keys import Stream
from videofusion.video.footage import Footage, Unreadable

CACHE_BYTES = 20 * 2**30  # of disk; VIDEOFUSION_SHARDS names the folder
_TRIES = 3
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Fetched:
    """A shard by its address, and the folder that it is kept in.

    Args:
        url: it; the path of a local one, which is read where it is.
        folder: where fetched shards lie.
        how: it is fetched; None for a local one.
        size: in bytes, 0 where the index does not say it.
        limit: bytes that the folder may hold.
    """

    url: str
    folder: Path
    how: Fetch | None
    size: int = 0
    limit: int = CACHE_BYTES

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def local(self) -> Path:
        """The shard as a file, fetched if it is not there.

        Raises:
            RunError: it does not come.
        """
        if self.how is None:
            return Path(self.url)
        path = self.folder / f"{hashlib.sha256(self.url.encode()).hexdigest()[:16]}.tar"
        if path.exists():
            with suppress(FileNotFoundError):
                os.utime(path)  # so that the one that was not used for longest goes first
                return path
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and self.folder.stat().st_uid != os.getuid():
            raise RunError(
                f"the folder of fetched shards {self.folder} is another user's; VIDEOFUSION_SHARDS names one"
            )
        for left in reversed(range(_TRIES)):
            try:
                with replacing(path) as new:
                    self._fetch(self.how, new)
                    self._make_room(new.stat().st_size)
                break
            except (OSError, ValueError, HTTPException) as error:  # of a socket, a server, a command
                if not left:
                    raise RunError(f"shard {self.url} cannot be fetched: {error}") from error
                time.sleep(1)
        return path

    def _fetch(self, how: Fetch, new: Path) -> None:
        with new.open("xb") as file, how.open(self.url) as shard:
            while block := shard.read(_BLOCK):
                file.write(block)
                if file.tell() > (self.size or self.limit):
                    raise OSError(f"it has more than {self.size or self.limit:,} bytes")
            if file.tell() != self.size if self.size else file.tell() == 0:
                raise OSError(f"{file.tell()} bytes came" + (f" of {self.size}" if self.size else ""))

    def read_bytes(self) -> bytes:
        return self.local().read_bytes()

    def _make_room(self, needed: int) -> None:
        there = []
        for file in self.folder.glob("*.tar"):
            with suppress(FileNotFoundError):  # another process makes room too
                there.append((file.stat().st_mtime, file.stat().st_size, file))
        kept = sum(size for _, size, _ in there)
        for _, size, file in sorted(there):
            if kept + needed <= self.limit:
                return
            file.unlink(missing_ok=True)
            kept -= size


@dataclass(frozen=True)
class _Missing:
    reason: str

    def open(self) -> Footage:
        raise Unreadable(self.reason)


@dataclass
class Streamed:
    """The clips of streamed shards, by number.

    Args:
        shards: each with the numbers of its clips that belong here.
        words: all that occur in captions, where the index names them.
    """

    shards: list[tuple[Fetched, range]]
    words: tuple[str, ...] = ()
    _read: dict[str, list[Item]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._ends = list(accumulate(len(numbers) for _, numbers in self.shards))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Item:
        if not 0 <= index < len(self):
            raise IndexError(index)
        place = bisect_right(self._ends, index)
        shard, numbers = self.shards[place]
        number = numbers[index - (self._ends[place] - len(numbers))]
        items = self._items(shard)
        if number < len(items):
            return items[number]
        reason = f"shard {shard.url} holds {len(items)} clips that can be used, its index says more"
        return Item(f"{shard.name}, clip {number}", _Missing(reason))

    def __iter__(self) -> Iterator[Item]:
        return (self[number] for number in range(len(self)))

    def _items(self, shard: Fetched) -> list[Item]:
        if shard.url not in self._read:
            if len(self._read) >= 16:  # a shard's list may be long
                self._read.pop(next(iter(self._read)))
            self._read[shard.url] = list(read_shard(shard.local(), shard, shard.name, {}))
        return self._read[shard.url]

    def part(self, split: str, holdout: float | int) -> Streamed:
        """Whole shards are held out, by a hash of their names; of a single shard, its last clips.

        Raises:
            InputError: the split "test", which nothing names before the shards are read.
        """
        if split == "all":
            return self
        if split == "test":
            raise InputError('split is "test", but streamed shards name no test part; it must be all, train or val')
        if len(self.shards) == 1:
            shard, numbers = self.shards[0]
            cut = len(numbers) - min(max(1, round(holdout * len(numbers))), len(numbers) - 1)
            return Streamed([(shard, numbers[cut:] if split == "val" else numbers[:cut])], self.words)
        ranked = sorted((shard.url for shard, _ in self.shards), key=lambda url: hashlib.sha256(url.encode()).digest())
        held_out = set(ranked[: min(max(1, round(holdout * len(ranked))), len(ranked) - 1)])
        return Streamed([each for each in self.shards if (each[0].url in held_out) == (split == "val")], self.words)

    def order(self, epoch: int, seed: int) -> NDArray[np.int64]:
        """The order of an epoch: shard by shard, so that each is fetched once."""
        of_shards = uniforms(keys(seed, epoch, np.arange(len(self.shards)), Stream.SHARD_ORDER), 1)[:, 0]
        of_clips = uniforms(keys(seed, epoch, np.arange(len(self)), Stream.CLIP_ORDER), 1)[:, 0]
        shard_of = np.repeat(np.arange(len(self.shards)), [len(numbers) for _, numbers in self.shards])
        return np.lexsort((of_clips, of_shards[shard_of])).astype(np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {"shards": self.shards, "words": self.words, "_read": {}, "_ends": self._ends}


def streamed(shards: list[tuple[str, int, int]], index: Path, words: tuple[str, ...] = ()) -> Streamed:
    """The clips of the shards that an index names; those without an address lie beside it.

    Raises:
        InputError: an address that may not be fetched.
    """
    default = Path(tempfile.gettempdir()) / f"videofusion-shards-{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder = Path(os.environ.get("VIDEOFUSION_SHARDS", default)).expanduser()
    found = []
    for url, count, size in shards:
        how = allowed(url, str(index)) if scheme_of(url) else None
        found.append((Fetched(url if how else str(index.parent / url), folder, how, size), range(count)))
    return Streamed(found, words)


def list_shards(path: str | Path, fold: int = 1) -> Source:
    """List the clips of a tar, of a folder of them, or of an `index.json` that says where they are.

    Shards of an index that are addresses (https://...) are streamed where the user allows it; see `addresses`.

    Raises:
        InputError: no shard, or one that cannot be opened.
    """
    place = Path(path).expanduser()
    if fold != 1:
        raise InputError(f"fold is {fold}; it must be 1, as shards name the split of each clip")
    if place.is_file() and place.suffix.lower() == ".json":
        shards, words = read_index(place)
        if any(scheme_of(url) for url, *_ in shards):
            return Source(root=place.parent, files=streamed(shards, place, words), told="the shards' own texts")
        paths = [place.parent / url for url, *_ in shards]
    else:
        paths = [place] if place.is_file() else sorted(place.rglob("*.tar"))
    if not paths:
        raise InputError(f'data "{path}" contains no .tar shard')
    root = place if place.is_dir() else place.parent
    items: dict[str, Item] = {}
    problems: dict[str, str] = {}
    for shard in paths:
        name = shard.relative_to(root).as_posix() if shard.is_relative_to(root) else str(shard)
        for item in read_shard(shard, shard, name, problems):
            if item.name in items:
                problems[f"{name}: {item.name}"] = "a second clip with this name; the first one counts"
            items.setdefault(item.name, item)
    told = "the shards' own texts" if any(item.captions for item in items.values()) else "none"
    return Source(root=root, files=list(items.values()), problems=problems, told=told)
