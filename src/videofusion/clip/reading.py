"""Reading a clip from any video file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from videofusion.clip.check import from_uint8
from videofusion.errors import InputError
from videofusion.video.decode import Unreadable, decode, open_video
from videofusion.video.footage import Footage
from videofusion.video.frames import ROUNDING, fit, frames_at


def read_clip(
    path: str | Path,
    *,
    start: float | int = 0.0,
    frames: int | None = None,
    fps: float | int | None = None,
    size: tuple[int, int] | None = None,
    what: str = "video",
) -> Tensor:
    """Read a clip, or a part of it.

    Args:
        path: a video that FFmpeg knows, an animated GIF or WebP.
        start: where to begin, in seconds.
        frames: how many frames to read; all that follow if None.
        fps: frames per second to read; each of the file's frames if None.
        size: (height, width) to resize and crop to around the centre; the file's own if None. An enlargement by a whole
            number, as `write_clip` makes one, is undone exactly.
        what: how messages call it.

    Returns:
        `t c h w`, float32 in [-1, 1].

    Raises:
        InputError: the file is missing, no video, damaged or too short.
    """
    path = Path(path).expanduser()
    if frames is not None and frames < 1:
        raise InputError(f"frames is {frames}; it must be a whole number of at least 1")
    if fps is not None and fps <= 0:
        raise InputError(f"fps is {fps}; it must be above 0")
    if start < 0:
        raise InputError(f"start is {start}; it must be at least 0 seconds")
    try:
        video = open_video(path)
        if fps is None:
            first = int(np.searchsorted(video.times, start - ROUNDING))
            wanted = np.arange(first, len(video))
        else:
            wanted = frames_at(video, np.arange(start, video.seconds - ROUNDING, 1 / fps))
        if len(wanted) < (frames or 1):
            raise Unreadable(f"too short: {len(wanted)} frames from {start} s on, {frames or 1} asked for")
        pictures = [
            torch.from_numpy(frame) if size is None else fit(torch.from_numpy(frame), size)
            for frame in decode(video, wanted[:frames].tolist(), size)
        ]
        if any(picture.shape != pictures[0].shape for picture in pictures):
            raise Unreadable("its frames differ in size, so it needs a size to be brought to")
    except Unreadable as error:
        raise InputError(f'the {what} "{path}" cannot be read: {error}') from error
    return from_uint8(torch.stack(pictures))


def read_mask(path: str | Path, size: tuple[int, int], what: str = "mask") -> Tensor:
    """Read a mask [t 1 h w] from a picture or a video: 1 where it is brighter than grey, else 0.

    Args:
        path: the file.
        size: (height, width) to resize and crop to, as `read_clip` does.
        what: how messages call it.

    Raises:
        InputError: the file cannot be read.
    """
    return (read_clip(path, size=size, what=what).mean(dim=1, keepdim=True) > 0).to(torch.float32)


def open_footage(path: Path, what: str) -> Footage:
    """Open a video; messages call it `what`.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return open_video(path.expanduser())
    except Unreadable as error:
        raise InputError(f'the {what} "{path}" cannot be read: {error}') from error
