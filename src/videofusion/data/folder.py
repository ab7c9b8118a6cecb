"""A folder of one's own videos, or any other layout that `layouts` knows, as training data."""

from __future__ import annotations

from pathlib import Path

from videofusion.data.clips import Clips
from videofusion.data.layouts.detection import open_source
from videofusion.data.sampler import ClipSampler


class VideoFolder(Clips):
    """Clips from what lies at a path; see `Clips` for what a clip depends on.

    Args:
        path: the folder or file.
        layout: how it is laid out, a key of `layouts.LAYOUTS`; "auto" looks at it.
        fold: which of the data's numbered divisions into training and test (UCF101 and HMDB51 have three).
        frames: frames per clip, at least 1.
        size: (height, width) in pixels, or one number for both; frames are resized to cover it
            and cut.
        fps: frames per second of the clips, or a pair between which it is drawn; see `ClipSampler`.
        stride: every how many of a file's frames, or several numbers from which it is drawn.
        start: second of a file at which its clips begin; anywhere in it when None.
        caption: what every clip shows, in place of what the data say; None for that.
        crop: "center" or "random".
        flip: mirror every other clip.
        clips: clips per video and epoch.
        split: "all", or "train", "val" and "test", which share no file.
        holdout: part of the files that are in "val", where the data name no such part.
        cache_bytes: videos are kept in memory, decoded and resized, up to this many bytes in
            all; 0 for none.

    Raises:
        InputError: a value outside of what is said above, or a path without videos.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        layout: str = "auto",
        fold: int = 1,
        frames: int = 16,
        size: int | tuple[int, int] = 64,
        fps: float | int | tuple[float | int, float | int] | None = None,
        stride: int | tuple[int, ...] = 1,
        start: float | int | None = None,
        caption: str | None = None,
        crop: str = "center",
        flip: bool = False,
        clips: int = 1,
        split: str = "all",
        holdout: float | int = 0.1,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        sampler = ClipSampler(
            frames=frames, size=size, fps=fps, stride=stride, start=start, crop=crop, flip=flip, clips=clips
        )
        super().__init__(
            open_source(path, layout, fold),
            sampler,
            split=split,
            holdout=holdout,
            caption=caption,
            cache_bytes=cache_bytes,
        )
