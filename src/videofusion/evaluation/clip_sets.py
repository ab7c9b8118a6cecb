"""The clips that an evaluation compares: some of a folder's, or made on the fly; `choose_clips.py` says which."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from videofusion.data.items import Item
from videofusion.errors import RunError
from videofusion.evaluation.protocols import Preset
from videofusion.evaluation.resize import squared
from videofusion.video.footage import PICTURE_ENDINGS, VIDEO_ENDINGS, Unreadable

_KINDS = "|".join(re.escape(ending) for ending in (*VIDEO_ENDINGS, *PICTURE_ENDINGS, ".npy"))
_ENDING = re.compile(rf"({_KINDS})(?=(\[\d+\])?$)", re.IGNORECASE)  # of a file, or of the clips in one
_SHOWN = 20  # names of what was left out that go into a record


class ClipSet(Protocol):
    """Clips by number; each is the same every time it is read."""

    def __len__(self) -> int: ...

    def key(self, number: int) -> str:
        """What tells the clip from all others of the set."""
        ...

    def caption(self, number: int) -> str:
        """What the clip shows or should show, or its class; "" where nothing says it."""
        ...

    def clip(self, number: int) -> Float[Tensor, "t 3 h w"]:
        """The clip, in [-1, 1]."""
        ...

    def describe(self) -> dict[str, Any]:
        """What goes into a record."""
        ...


@dataclass(frozen=True)
class LiveClips:
    """Clips that a pipeline makes, or that are in memory.

    Args:
        make: clip number n as t 3 h w in [-1, 1]; the same each time.
        count: how many.
        origin: what goes into a record: the model, its checksum, seeds.
        captions: what each should show; empty where nothing says it.
    """

    make: Callable[[int], Float[Tensor, "t 3 h w"]]
    count: int
    origin: dict[str, Any]
    captions: Sequence[str] = ()

    def __len__(self) -> int:
        return self.count

    def key(self, number: int) -> str:
        return str(number)

    def caption(self, number: int) -> str:
        return self.captions[number] if self.captions else ""

    def clip(self, number: int) -> Float[Tensor, "t 3 h w"]:
        return self.make(number)

    def describe(self) -> dict[str, Any]:
        captions = {"captions_sha256": _digest(self.captions)}
        return {"used": self.count, "items_sha256": _digest([str(self.origin)]), **captions, **self.origin}


class Video(NamedTuple):
    """What is known of a video without decoding it."""

    item: Item
    frames: int
    height: int
    width: int

    @property
    def paired_by(self) -> str:
        """What a generated and a real video of one pair have in common: the name without its ending."""
        return without_ending(self.item.name)


class Pick(NamedTuple):
    """The clip that a video gives."""

    video: Video
    numbers: tuple[int, ...]


class FolderClips:
    """Clips of videos; `generated_clips` and `real_clips` make them.

    Args:
        place: the folder or file as it was given.
        videos: all that could be taken.
        picks: what is taken, in order.
        left_out: reason by name.
        preset: says size and resizing.
        split: which part it is, and how that is known.
    """

    def __init__(
        self,
        place: str | Path,
        videos: Sequence[Video],
        picks: Sequence[Pick],
        left_out: dict[str, str],
        preset: Preset,
        split: str,
    ) -> None:
        self.place, self.videos, self.picks, self.left_out, self.split = place, videos, picks, left_out, split
        self._size, self._resize = preset.size, preset.resize

    def __len__(self) -> int:
        return len(self.picks)

    def key(self, number: int) -> str:
        pick = self.picks[number]
        return f"{pick.video.item.name}@{pick.numbers[0]}"

    def caption(self, number: int) -> str:
        item = self.picks[number].video.item
        return item.caption or item.label

    def clip(self, number: int) -> Float[Tensor, "t 3 h w"]:
        """A clip.

        Raises:
            RunError: the video is damaged.
        """
        video, numbers = self.picks[number]
        try:
            frames = list(video.item.open().decode(numbers))
        except Unreadable as error:
            raise RunError(
                f'"{video.item.name}" of {self.place} cannot be read: {error}; videofusion data check names all such '
                "files"
            ) from error
        return torch.stack([squared(frame, self._size, self._resize) for frame in frames])

    def describe(self) -> dict[str, Any]:
        return {
            "place": str(self.place),
            "split": self.split,
            "videos": len(self.videos),
            "used": len(self.picks),
            "items_sha256": _digest(f"{v.item.name}\t{v.frames}\t{v.height}x{v.width}" for v in self.videos),
            "picks_sha256": _digest(f"{pick.video.item.name}\t{pick.numbers}" for pick in self.picks),
            "captions_sha256": _digest(self.caption(i) for i in range(len(self))),
            "left_out": len(self.left_out),
            "left_out_first": dict(itertools.islice(self.left_out.items(), _SHOWN)),
        }


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def without_ending(name: str) -> str:
    """A file's name without its ending; of a clip in an array "a.npy[3]", "a[3]"."""
    return _ENDING.sub("", name)
