"""Many short square clips from a few videos: random windows of frames, rates and crops, where something moves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

from videofusion.data.layouts.detection import open_source
from videofusion.errors import InputError
from videofusion.video.decode import VideoFile
from videofusion.video.footage import VIDEO_ENDINGS, Unreadable
from videofusion.video.frames import stack_resized

Frames = NDArray[np.uint8]  # t h w 3

SHORT = 96  # pixels: what the short side of a larger video is brought to
STRIDES = (1, 2, 3, 4)
_TRIED = 3  # windows, and crops of one, of which the one where most moves is taken
_COARSE = 4  # every how many pixels are looked at for that


class Crop(NamedTuple):
    """Where a square is cut out, in pixels of the video; `shift` is how far it moves from frame to frame."""

    top: float
    left: float
    side: float
    shift: tuple[float, float] = (0.0, 0.0)  # down, to the right


def read_videos(path: str | Path) -> list[Frames]:
    """The frames of a video file, or of all videos of a folder, the short side at most `SHORT` pixels.

    Raises:
        InputError: no video, or one that cannot be read.
    """
    place = Path(path).expanduser()
    single = place.is_file() and place.suffix.lower() in VIDEO_ENDINGS
    sources = {str(place): VideoFile(place)} if single else {item.name: item for item in open_source(path).files}
    found = []
    for name, source in sources.items():
        try:
            video = source.open()
            side = min(SHORT, video.height, video.width)
            found.append(stack_resized(video.decode(range(len(video)), (side, side)), (side, side)).numpy())
        except Unreadable as error:
            raise InputError(f'video "{name}" of {path} cannot be read: {error}') from error
    return found


class Windows:
    """Clips at random from groups of videos; each group is as likely as any other.

    Args:
        groups: videos `t h w 3`, such as those of one folder; of each group at least one is long enough.
        frames: of the longest clip that will be asked for.
        side: height and width of the clips.

    Raises:
        InputError: no group, or one without a video that is long enough.
    """

    def __init__(self, groups: Sequence[Sequence[Frames]], frames: int, side: int) -> None:
        self.groups = [[video for video in group if len(video) >= frames] for group in groups]
        if not self.groups or not all(self.groups):
            lengths = [max(map(len, group), default=0) for group in groups]
            raise InputError(
                f"the longest videos of the groups have {lengths} frames, but each needs one of {frames} or more"
            )
        self.side = side

    def window(self, random: Generator, frames: int) -> tuple[Frames, int]:
        """Frames of a clip, whole, and every how many of the video's they are."""
        group = self.groups[random.integers(len(self.groups))]
        # By length, so that each second of a group is as likely as any other.
        lengths = np.array([len(video) for video in group], float)
        tried = []
        for _ in range(_TRIED):
            video = group[random.choice(len(group), p=lengths / lengths.sum())]
            fitting = [stride for stride in STRIDES if (frames - 1) * stride < len(video)]
            stride = int(random.choice(fitting))
            start = int(random.integers(len(video) - (frames - 1) * stride))
            clip = video[start : start + (frames - 1) * stride + 1 : stride]
            tried.append((float(_moving(clip).mean()), clip, stride))
        _, clip, stride = max(tried, key=lambda each: each[0])
        return clip, stride

    def crop(self, clip: Frames, random: Generator, *, pan: float = 0.0) -> Crop:
        """A square of a clip, at least as large as the clips are if it can be, where most moves of some tried.

        Args:
            clip: the frames.
            random: decides.
            pan: how likely it is that the square moves over the frames, as a camera does.
        """
        height, width = clip.shape[1:3]
        short = min(height, width)
        moving, best = _moving(clip), (-1.0, Crop(0, 0, short))
        for _ in range(_TRIED):
            side = float(random.uniform(min(self.side, short), short))
            place = Crop(random.uniform(0, height - side), random.uniform(0, width - side), side)
            top, left = round(place.top / _COARSE), round(place.left / _COARSE)
            reach = max(1, round(side / _COARSE))
            best = max(best, (float(moving[top : top + reach, left : left + reach].mean()), place))
        crop = best[1]
        if random.random() >= pan:
            return crop
        last = (random.uniform(0, height - crop.side), random.uniform(0, width - crop.side))
        steps = len(clip) - 1
        return crop._replace(shift=((last[0] - crop.top) / steps, (last[1] - crop.left) / steps))

    def cut(self, clip: Frames, crop: Crop) -> Float[Tensor, "t 3 s s"]:
        """The square of a clip, in [-1, 1]."""
        if crop.shift == (0.0, 0.0):
            top, left, side = round(crop.top), round(crop.left), round(crop.side)
            part = _pixels(clip[:, top : top + side, left : left + side])
            return interpolate(part, (self.side, self.side), mode="bilinear", antialias=True, align_corners=False)
        pixels = _pixels(clip)
        height, width = pixels.shape[-2:]
        theta = torch.zeros(len(pixels), 2, 3)
        time = torch.arange(len(pixels))
        theta[:, 0, 0], theta[:, 1, 1] = crop.side / width, crop.side / height
        theta[:, 0, 2] = (2 * (crop.left + time * crop.shift[1]) + crop.side) / width - 1
        theta[:, 1, 2] = (2 * (crop.top + time * crop.shift[0]) + crop.side) / height - 1
        grid = affine_grid(theta, [len(pixels), 3, self.side, self.side], align_corners=False)
        return grid_sample(pixels, grid, padding_mode="border", align_corners=False)

    def clips(self, count: int, frames: int, seed: int) -> Float[Tensor, "n t 3 s s"]:
        """Clips of their own, without a camera that moves: what the network is tested with."""
        random = np.random.default_rng(seed)
        found = []
        for _ in range(count):
            clip, _ = self.window(random, frames)
            found.append(self.cut(clip, self.crop(clip, random)))
        return torch.stack(found)


def _pixels(clip: Frames) -> Float[Tensor, "t 3 h w"]:
    return rearrange(torch.from_numpy(np.ascontiguousarray(clip)), "t h w c -> t c h w").float() / 127.5 - 1


def _moving(clip: Frames) -> NDArray[np.float64]:
    """How much changes from the first to the middle and on to the last frame, at every few pixels."""
    some = clip[[0, len(clip) // 2, -1], ::_COARSE, ::_COARSE].astype(np.float64)
    return np.abs(np.diff(some, axis=0)).mean(axis=(0, 3))
