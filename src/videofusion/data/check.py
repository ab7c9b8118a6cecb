"""Which files of a folder cannot be trained on, and why."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from videofusion.data.decode import Unreadable, decode_all, open_video
from videofusion.data.listing import list_videos
from videofusion.errors import InputError

_Result = TypeVar("_Result")


def check_folder(
    path: str | Path, *, frames: int = 2, progress: Callable[[int, int], None] | None = None
) -> list[tuple[str, str]]:
    """Decode every frame of every video in a folder, and compare the captions with the files.

    Args:
        path: the folder.
        frames: a video with fewer is too short.
        progress: called with (files done, files in all) after each file.

    Returns:
        (name, reason) of what cannot be used, in the names' order; empty if all is well.

    Raises:
        InputError: no folder, no video file in it, or `frames` below 1.
    """
    if frames < 1:
        raise InputError(f"frames is {frames}; allowed are whole numbers from 1")
    listing = list_videos(path)
    reasons = for_each_file(
        [listing.root / name for name in listing.files], lambda file: check_video(file, frames), progress
    )
    bad = dict(listing.problems)
    bad.update({name: reason for name, reason in zip(listing.files, reasons, strict=True) if reason is not None})
    return sorted(bad.items())


def check_video(file: Path, frames: int = 1) -> str | None:
    """Return why a video cannot be used, None if it can."""
    try:
        video = open_video(file)
        if len(video) < frames:
            raise Unreadable(f"too short: {len(video)} frames, needed are {frames}")
        decode_all(video)
    except Unreadable as error:
        return str(error)
    return None


def for_each_file(
    files: Sequence[Path], work: Callable[[Path], _Result], progress: Callable[[int, int], None] | None = None
) -> list[_Result]:
    """Do something with many files at once, in order.

    Threads do: FFmpeg works outside of Python's lock.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    results = []
    with ThreadPoolExecutor(cores) as pool:
        try:
            for result in pool.map(work, files):
                results.append(result)
                if progress is not None:
                    progress(len(results), len(files))
        except BaseException:  # an interruption need not wait for the files that were not begun
            pool.shutdown(cancel_futures=True)
            raise
    return results
