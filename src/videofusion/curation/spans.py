"""A span: the part of a file that a stage looks at, small enough to travel to any process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videofusion.data.items import Source
from videofusion.errors import InputError
from videofusion.video.decode import Video, VideoFile, open_video
from videofusion.video.footage import Excerpt, Footage, Frame


@dataclass(frozen=True, kw_only=True)
class Span:
    """Frames of a video file.

    Args:
        source: what its data call the video.
        path: of the file.
        stamp: size and time of change of the file, so that rows of a file that was replaced do not count.
        first: number of the first frame.
        count: of frames; 0 while nobody has looked: then the span goes by `start` and `end`.
        start: seconds from the file's first frame to the span's first.
        end: to the first frame after it; 0 for the file's end, while `count` is 0.
        captions: what the data say of it.
    """

    source: str
    path: str
    stamp: str
    first: int = 0
    count: int = 0
    start: float = 0.0
    end: float = 0.0
    captions: tuple[str, ...] = ()

    @property
    def caption(self) -> str:
        """The first one, "" where there is none."""
        return self.captions[0] if self.captions else ""

    @property
    def name(self) -> str:
        """The name that people read."""
        return self.source if self.count == 0 else f"{self.source} ({self.start:.2f}-{self.end:.2f} s)"

    def open(self) -> Footage:
        """Its frames, none of them decoded yet; raises `Unreadable`."""
        whole = _opened(self.path, self.stamp)
        if self.count:
            return Excerpt(whole, self.first, self.count)
        return Excerpt.between(whole, self.start, self.end) if self.end else whole

    def part(self, footage: Footage, first: int, end: int) -> Span:
        """The frames from `first` up to, not including, `end` of this span's own footage."""
        whole, offset = (footage.whole, footage.first) if isinstance(footage, Excerpt) else (footage, 0)
        first, end = first + offset, end + offset
        until = float(whole.times[end]) if end < len(whole) else float(whole.seconds)
        # Rounded as they are written: a table gives the same frames back, which are at least a thousandth apart.
        start, until = round(float(whole.times[first]), 4), round(until, 4)
        return replace(self, first=first, count=end - first, start=start, end=until)


@lru_cache(maxsize=2)  # the spans of a file come one after the other; its packets are listed once
def _opened(path: str, stamp: str) -> Video:
    return open_video(Path(path))


def videos_of(source: Source) -> tuple[list[Span], dict[str, str]]:
    """The videos of a source, each as one span, and reason by name for those that no table can name.

    Raises:
        InputError: an item is no video file of its own.
    """
    spans, problems = [], {}
    for item in source.items:
        data = item.origin.data if isinstance(item.origin, VideoFile) else None
        if not isinstance(data, Path):
            raise InputError(
                f'{item.name} is no video file; "data curate" takes a folder or a table of video files '
                "(`videofusion data convert` writes a folder from shards)"
            )
        try:
            found = data.stat()
            stamp = f"{found.st_size}-{found.st_mtime_ns}"
        except OSError:
            stamp = "missing"  # which its first stage will say
        start, end = item.span or (0.0, 0.0)
        path = str(data.resolve())
        try:
            f"{path} {item.name}".encode()
        except UnicodeEncodeError:
            problems[ascii(item.name)] = "its name is no text (not UTF-8)"
            continue
        spans.append(Span(source=item.name, path=path, stamp=stamp, start=start, end=end, captions=item.captions))
    return spans, problems


def pictures_of(footage: Footage, count: int) -> list[Frame]:
    """So many frames of some footage, evenly from the first to the last (three: first, middle, last); fewer if short.

    Raises:
        Unreadable: damaged.
    """
    numbers = np.unique(np.linspace(0, len(footage) - 1, count).round().astype(int))
    return list(footage.decode(numbers.tolist()))


def small_frames(footage: Footage, numbers: NDArray[np.int64], side: int) -> Iterator[Frame]:
    """Frames by number, at a small size; all have the same, even where the file's change.

    Args:
        footage: of which.
        numbers: rising.
        side: most pixels of the longer one; each has at least 16.
    """
    import cv2

    scale = min(1.0, side / max(footage.height, footage.width))
    size: tuple[int, int] | None = None
    for frame in footage.decode(numbers.tolist()):
        if size is None:  # of what comes out: a rotation flag may have turned it
            size = (max(16, round(frame.shape[1] * scale)), max(16, round(frame.shape[0] * scale)))
        yield np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
