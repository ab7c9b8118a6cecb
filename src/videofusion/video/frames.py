"""Which frames of a video make a clip, and how frames are resized."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from videofusion.video.footage import Footage, Unreadable

# Seconds by which a time stamp may be off: Matroska keeps whole milliseconds.
ROUNDING = 0.002
# Bytes of frames that are resized at once: of small ones, each for itself costs twice the time.
_TOGETHER = 4 * 2**20


def frames_at(video: Footage, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the number of the frame that is on screen at each time (whatever the frame rate does)."""
    return (np.searchsorted(video.times, seconds + ROUNDING, side="right") - 1).clip(0, len(video) - 1)


def window(
    video: Footage, frames: int, *, place: float, stride: int = 1, fps: float | int | None = None
) -> NDArray[np.int64] | None:
    """Return the numbers of a clip's frames, None where the video is too short for it.

    Args:
        video: the video.
        frames: how many.
        place: which of the possible windows, from 0 (the first) up to, not including, 1 (the last).
        stride: every how many of the file's frames, where `fps` is None.
        fps: frames per second of the clip, whatever the file's are.
    """
    if fps is None:
        span = (frames - 1) * stride + 1
        starts = len(video) - span + 1
        return int(place * starts) + stride * np.arange(frames) if starts > 0 else None
    # Windows begin with a frame of the file, so that at the file's own rate none is left out or doubled.
    last = (frames - 1) / fps
    starts = int(np.searchsorted(video.times, video.seconds - last - ROUNDING))
    return frames_at(video, video.times[int(place * starts)] + np.arange(frames) / fps) if starts > 0 else None


def resized(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest size of the same proportions that covers `size` (all height, width)."""
    scale = max(size[0] / height, size[1] / width)
    return max(size[0], round(height * scale)), max(size[1], round(width * scale))


def resize(frames: UInt8[Tensor, "*t h w 3"], size: tuple[int, int]) -> UInt8[Tensor, "*t h2 w2 3"]:
    """Resize frames so that they cover `size`, antialiased; nothing is cut off yet.

    To a whole part of their height and width, each pixel becomes the mean of its block: that undoes an enlargement.
    """
    *t, height, width, _ = frames.shape
    to = resized(height, width, size)
    if to == (height, width):
        return frames
    times = height // to[0]
    if times > 1 and (times * to[0], times * to[1]) == (height, width):
        blocks = frames.reshape(*t, to[0], times, to[1], times, 3)
        return ((blocks.sum((-4, -2), dtype=torch.int32) * 2 + times**2) // (2 * times**2)).to(torch.uint8)
    planes = rearrange(frames.reshape(-1, height, width, 3), "t h w c -> t c h w")
    planes = F.interpolate(planes, to, mode="bicubic", antialias=True, align_corners=False)
    return rearrange(planes, "t c h w -> t h w c").reshape(*t, *to, 3).contiguous()


def crop(
    frames: UInt8[Tensor, "*t h w 3"], size: tuple[int, int], place: tuple[float, float] = (0.5, 0.5)
) -> UInt8[Tensor, "*t h2 w2 3"]:
    """Cut out `size`; `place` says where, from (0, 0) top left to (1, 1) bottom right."""
    top = round(place[0] * (frames.shape[-3] - size[0]))
    left = round(place[1] * (frames.shape[-2] - size[1]))
    return frames[..., top : top + size[0], left : left + size[1], :]


def fit(frame: UInt8[Tensor, "h w 3"], size: tuple[int, int]) -> UInt8[Tensor, "h2 w2 3"]:
    """Resize a frame to cover `size` and cut it to it around the centre."""
    return crop(resize(frame, size), size)


def stack_resized(frames: Iterable[NDArray[np.uint8]], size: tuple[int, int]) -> UInt8[Tensor, "t h w 3"]:
    """Resize frames, a few at a time (a long video at full size need not be in memory), and stack them.

    Raises:
        Unreadable: their proportions differ.
    """
    done: list[Tensor] = []
    waiting: list[NDArray[np.uint8]] = []

    def finish() -> None:
        if waiting:
            done.append(resize(torch.from_numpy(np.stack(waiting)), size))
            waiting.clear()
        if done[-1].shape[1:] != done[0].shape[1:]:
            raise Unreadable("its frames differ in their proportions")

    for frame in frames:
        if waiting and (frame.shape != waiting[0].shape or len(waiting) * frame.nbytes >= _TOGETHER):
            finish()
        waiting.append(frame)
    finish()
    return torch.cat(done)
