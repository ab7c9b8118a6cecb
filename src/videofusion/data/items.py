"""Sources of clips: lists of items, each of which says where its frames are and what they show."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from videofusion.data.sampler import ClipSampler
from videofusion.errors import InputError
from videofusion.video.footage import Excerpt, Footage, Origin

SPLITS = ("all", "train", "val", "test")
# An item that its data set leaves out of this division into parts (HMDB51's third group).
UNUSED = "unused"
_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What the clips of an encoded folder were made with.

    Args:
        autoencoder: fingerprint of the autoencoder; None for frames as they are.
        text: fingerprint of the text encoder, or None.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        fps: frames per second that were kept; None for all of the files'.
    """

    autoencoder: str | None = None
    text: str | None = None
    height: int
    width: int
    fps: float | int | None = None

    def check(self, sampler: ClipSampler) -> None:
        """Raise InputError unless such clips can be cut from it: what was encoded cannot be cropped or timed anew."""
        if sampler.pixels != (self.height, self.width):
            wanted = f"{sampler.pixels[0]}x{sampler.pixels[1]}"
            raise InputError(
                f"the data were encoded at size {self.height}x{self.width}, but clips of {wanted} are asked for"
            )
        if self.fps is not None and sampler.fps != self.fps:
            wanted = f"stride {sampler.stride}" if sampler.fps is None else f"fps {sampler.fps}"
            raise InputError(f"the data were encoded at fps {self.fps:g}, but {wanted} is asked for; use that fps")
        for key, value, allowed in (("crop", sampler.crop, "center"), ("flip", sampler.flip, False)):
            if value != allowed:
                raise InputError(f"{key} is {value}, but the data are encoded with {key} {allowed}")

    def to_json(self) -> dict[str, Any]:
        """It as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Item:
    """One video, or the part of one that a table names.

    Args:
        name: of it, for messages; no two items of a source share one.
        origin: where the frames are.
        captions: what is said of it; where there are several, each clip draws one.
        label: its class, "" when nothing is known.
        identity: who or what is seen, "" when nothing is known.
        action: what it does, "" when nothing is known.
        split: "train", "val" or "test" where the data say it, "unused", else "".
        span: seconds from and to, where the item is part of the origin's frames.
    """

    name: str
    origin: Origin
    captions: tuple[str, ...] = ()
    label: str = ""
    identity: str = ""
    action: str = ""
    split: str = ""
    span: tuple[float, float] | None = None

    @property
    def caption(self) -> str:
        """The first one, "" when there is none."""
        return self.captions[0] if self.captions else ""

    def open(self) -> Footage:
        """The item's frames; raises `Unreadable`."""
        whole = self.origin.open()
        return whole if self.span is None else Excerpt.between(whole, *self.span)


@runtime_checkable
class Items(Protocol):
    """Items by number. No list is asked for: shards that are elsewhere are fetched when one of their items is."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Item: ...

    def __iter__(self) -> Iterator[Item]: ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """All that a place holds.

    Args:
        root: the folder or file.
        files: all items that are there, in order.
        problems: reason by name, for what cannot be used as far as is known without opening it:
            a file without a row, a row without a file, a row that cannot be read.
        told: where captions come from, for the report.
        passed: how many files with an ending are neither clips nor say anything of them.
        made: what the clips were encoded with, where they are latents.
    """

    root: Path
    files: Items
    problems: dict[str, str] = field(default_factory=dict)
    told: str
    passed: dict[str, int] = field(default_factory=dict)
    made: Encoding | None = None

    @property
    def items(self) -> Items:
        """The items that can be used."""
        return [item for item in self.files if item.name not in self.problems] if self.problems else self.files

    @property
    def captions(self) -> dict[str, str]:
        """Caption by name."""
        return {item.name: item.caption for item in self.items}


def split_called(name: str) -> str:
    """Which split a word means ("validation", "sky_train"), "" if it is none."""
    return _SPLIT_NAMES.get(name.strip().lower().rpartition("_")[2], "")


def part(items: Items, split: str, holdout: float | int) -> Items:
    """The items of a split.

    What the data call "test" is in "test" and "all" only. Where they name no validation part,
    `holdout` of the others is "val", by a hash of the name, so that the order of classes plays no role.

    Raises:
        InputError: no such split, or a holdout outside of (0, 1).
    """
    if split not in SPLITS:
        raise InputError(f'split is "{split}"; it must be one of {", ".join(SPLITS)}')
    if not 0 < holdout < 1:
        raise InputError(f"holdout is {holdout}; it must be between 0 and 1")
    own: Callable[[str, float | int], Items] | None = getattr(items, "part", None)
    if own is not None:  # clips that are not to be looked at one by one
        return own(split, holdout)
    if split == "all":
        return items
    if split == "test":
        found = [item for item in items if item.split == "test"]
        if not found:
            raise InputError('split is "test", but the data name no test part; it must be all, train or val')
        return found
    if any(item.split == "val" for item in items):
        return [item for item in items if (item.split or "train") == split]
    pool = [item for item in items if item.split in ("", "train")]
    ranked = sorted(
        (item.name for item in pool), key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
    )
    # At least one on either side, where there are two files.
    count = min(max(1, round(holdout * len(pool))), len(pool) - 1) if pool else 0
    held_out = set(ranked[:count])
    return [item for item in pool if (item.name in held_out) == (split == "val")]


def reasons(bad: Mapping[str, str]) -> str:
    """The first three reasons why clips cannot be used, for a message that stays one sentence."""
    shown = "; ".join(f"{name}: {reason}" for name, reason in islice(bad.items(), 3))
    more = f"; and {len(bad) - 3} more" if len(bad) > 3 else ""
    return f" ({shown}{more})" if bad else ""
