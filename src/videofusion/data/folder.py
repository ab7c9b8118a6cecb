"""A folder of one's own videos as training data."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from videofusion.clip.check import from_uint8
from videofusion.data.batch import BadClip, Sample
from videofusion.data.counter import keys, uniforms
from videofusion.data.decode import Unreadable, Video, decode, open_video
from videofusion.data.frames import crop, resized, stack_resized, window
from videofusion.data.listing import list_videos
from videofusion.errors import InputError

_SPLITS = ("all", "train", "val")
_CROPS = ("center", "random")
_LONGEST_KEPT = 1024  # frames


class VideoFolder:
    """Clips from the videos below a folder, of any size, rate and length.

    Which part of a video a clip shows (and, with `crop="random"`, which part of its frames)
    depends on (seed, epoch, index) only. A file that is broken or too short raises `BadClip`.

    Args:
        path: the folder; captions from metadata.jsonl, metadata.csv or class folders.
        frames: frames per clip, at least 1.
        size: (height, width) in pixels, or one number for both; frames are resized to cover it
            and cut.
        fps: frames per second of the clips, whatever the files' are; None for the files' own.
        stride: every how many of a file's frames, where `fps` is None.
        crop: "center" or "random".
        split: "all", or "train" and "val", which share no file.
        holdout: part of the files that are in "val".
        cache_bytes: videos are kept in memory, decoded and resized, up to this many bytes in
            all; 0 for none.

    Raises:
        InputError: a value outside of what is said above, or a folder without videos.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        frames: int = 16,
        size: int | tuple[int, int] = 64,
        fps: float | int | None = None,
        stride: int = 1,
        crop: str = "center",
        split: str = "all",
        holdout: float | int = 0.1,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        if frames < 1:
            raise InputError(f"frames is {frames}; allowed are whole numbers from 1")
        if min(self.size) < 1:
            raise InputError(f"size is {size}; allowed are whole numbers from 1")
        if fps is not None and (fps <= 0 or stride != 1):
            raise InputError(f"fps is {fps} and stride {stride}; allowed are an fps above 0, or a stride, not both")
        if stride < 1:
            raise InputError(f"stride is {stride}; allowed are whole numbers from 1")
        if crop not in _CROPS:
            raise InputError(f'crop is "{crop}"; allowed are {", ".join(_CROPS)}')
        if split not in _SPLITS:
            raise InputError(f'split is "{split}"; allowed are {", ".join(_SPLITS)}')
        if not 0 < holdout < 1:
            raise InputError(f"holdout is {holdout}; allowed are values between 0 and 1")
        listing = list_videos(path)
        self.root = listing.root
        self.names = _part(list(listing.captions), split, holdout)
        self.captions = [listing.captions[name] for name in self.names]
        self.identities = [listing.identities.get(name, "") for name in self.names]
        self.actions = [listing.actions.get(name, "") for name in self.names]
        self.problems = listing.problems
        self.frames, self.fps, self.stride, self.random_crop = frames, fps, stride, crop == "random"
        self.cache_bytes = cache_bytes
        self._forget()

    def __len__(self) -> int:
        return len(self.names)

    def sample(self, index: int, epoch: int = 0, seed: int = 0) -> Sample:
        """A clip from video number `index`.

        Raises:
            BadClip: the video is broken or too short.
        """
        name = self.names[index]
        place, *corner = uniforms(keys(seed, epoch, index), 3)[0].tolist()
        try:
            video = self._open(index)
            numbers = window(video, self.frames, place=place, stride=self.stride, fps=self.fps)
            if numbers is None:
                raise Unreadable(self._too_short(video))
            pictures = self._pictures(index, video, numbers)
        except Unreadable as error:
            raise BadClip(name, str(error)) from error
        cut = crop(pictures, self.size, (corner[0], corner[1]) if self.random_crop else (0.5, 0.5))
        return Sample(from_uint8(cut), self.captions[index], name, self.identities[index], self.actions[index])

    def _open(self, index: int) -> Video:
        known = self._videos.get(index)
        if known is None:
            try:
                known = open_video(self.root / self.names[index])
            except Unreadable as error:
                known = str(error)
            self._videos[index] = known
        if isinstance(known, str):
            raise Unreadable(known)
        return known

    def _pictures(self, index: int, video: Video, numbers: NDArray[np.int64]) -> UInt8[Tensor, "t h w 3"]:
        """Frames by number, at a size that covers the clip's."""
        kept = self._cache.get(index)
        if kept is None and self._worth_keeping(index, video):
            try:
                kept = self._decode(video, range(len(video)))
            except Unreadable:
                # Damaged somewhere; a window that misses the damage is as good as ever, so that
                # what is read does not depend on the cache.
                self._uncached.add(index)
            else:
                if not self.random_crop:
                    kept = crop(kept, self.size).contiguous()
                self._cache[index] = kept
                self._cached_bytes += kept.numel()
        if kept is not None:
            return kept[torch.from_numpy(numbers)]
        return self._decode(video, numbers.tolist())

    def _decode(self, video: Video, numbers: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
        return stack_resized(decode(video, numbers), self.size)

    def _worth_keeping(self, index: int, video: Video) -> bool:
        info = get_worker_info()
        budget = self.cache_bytes // (info.num_workers if info else 1)  # each worker has a cache of its own
        height, width = resized(video.height, video.width, self.size) if self.random_crop else self.size
        needed = len(video) * height * width * 3
        # A long video would hold up the training that meets it, and take the place of many others.
        short = len(video) <= _LONGEST_KEPT and needed <= budget // 8
        return index not in self._uncached and short and needed <= budget - self._cached_bytes

    def _too_short(self, video: Video) -> str:
        if self.fps is not None:
            needed = f"{(self.frames - 1) / self.fps:.2f} s ({self.frames} frames at {self.fps:g} per second)"
            return f"too short: {video.seconds:.2f} s, needed are more than {needed}"
        needed = f"{(self.frames - 1) * self.stride + 1}" + (f" (stride {self.stride})" if self.stride > 1 else "")
        return f"too short: {len(video)} frames, needed are {needed}"

    def _forget(self) -> None:
        self._videos: dict[int, Video | str] = {}
        self._cache: dict[int, Tensor] = {}
        self._uncached: set[int] = set()
        self._cached_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        # What a worker process gets: the list of files, not the pictures.
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


def _part(names: list[str], split: str, holdout: float) -> list[str]:
    """Split by a hash of the name, so that the order of classes in a folder plays no role."""
    if split == "all":
        return names
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    # At least one on either side, where there are two files.
    count = min(max(1, round(holdout * len(names))), len(names) - 1) if names else 0
    held_out = set(ranked[:count])
    return [name for name in names if (name in held_out) == (split == "val")]
