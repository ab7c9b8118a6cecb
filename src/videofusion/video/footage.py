"""Footage: the frames that clips are cut from, wherever they are.

An `Origin` says where frames are (a file, a folder of pictures, a part of an archive, an array)
and is all that travels to a worker process; opened, it is `Footage`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from videofusion.files import check_regular

VIDEO_ENDINGS = (
    *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx", ".gif", ".webp", ".flv", ".f4v"),
    *(".wmv", ".asf", ".mpg", ".mpeg", ".m2v", ".m1v", ".vob", ".ts", ".mts", ".m2ts", ".mxf", ".ogv", ".ogg", ".y4m"),
)
# A frame with more is refused: a broken header must not take gigabytes. 8K is 7680x4320.
MOST_PIXELS = 8192 * 4608
# What Pillow opens, whatever a file is called: others of its readers start programs (EPS) or parse what nobody sends.
PICTURES = ("PNG", "JPEG", "BMP", "PPM", "GIF", "WEBP")
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".ppm")

Frame = NDArray[np.uint8]  # h w 3, upright


class Unreadable(ValueError):
    """A file is no video, or a damaged one; the message is the reason, without the file's name."""


@runtime_checkable
class Footage(Protocol):
    """Frames by number, none of them decoded yet.

    `times` are seconds from the first frame to each frame, increasing [n]; `fps` is frames per
    second on average, and 0 where nothing says it: then `times` only count.
    """

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def times(self) -> NDArray[np.float64]: ...
    @property
    def fps(self) -> float | int: ...
    @property
    def seconds(self) -> float | int:
        """Length, the last frame's own share included; 0 where the rate is not known."""
        ...

    def __len__(self) -> int: ...

    def decode(self, numbers: Sequence[int], cover: tuple[int, int] | None = None) -> Iterator[Frame]:
        """Frames by number, in rising order; raises `Unreadable`.

        What can resize while it decodes brings them to the size that covers `cover` (height, width), see
        `frames.resized`; from others they come as they are stored.
        """
        ...


@runtime_checkable
class Origin(Protocol):
    """Where frames are; small, and the same in every process."""

    def open(self) -> Footage:
        """Look at it without decoding; raises `Unreadable`."""
        ...


@runtime_checkable
class Data(Protocol):
    """The bytes of one file: a `Path`, or what lies in an archive or a table."""

    @property
    def name(self) -> str: ...
    def read_bytes(self) -> bytes: ...


@runtime_checkable
class Remote(Protocol):
    """An archive that comes over a network."""

    def local(self) -> Path:
        """It as a file, fetched where it is not there."""
        ...


@dataclass(frozen=True)
class Part:
    """A file that is a stretch of another one, as in a tar.

    Args:
        file: the archive.
        start: of its first byte.
        length: in bytes.
        name: what it is called in the archive.
    """

    file: Path | Remote
    start: int
    length: int
    name: str

    def read_bytes(self) -> bytes:
        local = self.file if isinstance(self.file, Path) else self.file.local()
        with local.open("rb") as file:
            file.seek(self.start)
            data = file.read(self.length)
        if len(data) < self.length:
            raise OSError("the archive ends too early")
        return data


def readable(data: Data) -> str | BytesIO:
    """What FFmpeg and Pillow read from: a file by its name, so that they need not hold all of it.

    Raises:
        OSError: there is no such file, or one that is none such as a pipe, which would never end.
    """
    if not isinstance(data, Path):
        return BytesIO(data.read_bytes())
    check_regular(data)
    # Absolute: FFmpeg takes what stands before a colon ("12:30.mp4", "http:/x.mp4") for a protocol.
    return str(data.absolute())


def on_ground(picture: NDArray[np.uint8]) -> Frame:
    """Lay a picture with transparency (h w 4) on white: what is stored where nothing is to be seen is anything."""
    colour, seen = picture[..., :3].astype(np.uint16), picture[..., 3:].astype(np.uint16)
    return ((colour * seen + 255 * (255 - seen) + 127) // 255).astype(np.uint8)


def byte_count(data: Data) -> int:
    """How many bytes a file has."""
    if isinstance(data, Path):
        check_regular(data)
        return data.stat().st_size
    return data.length if isinstance(data, Part) else len(data.read_bytes())


def head(data: Data, count: int) -> bytes:
    """The first bytes of a file."""
    if isinstance(data, Path):
        check_regular(data)
        with data.open("rb") as file:
            return file.read(count)
    return data.read_bytes()[:count]


def ending(data: Data) -> str:
    """The ending of a file's name, with its dot, in small letters."""
    return Path(data.name).suffix.lower()


@dataclass(frozen=True)
class Excerpt:
    """Part of some footage by time, such as a row of a table names it.

    Args:
        whole: the footage.
        first: number of its first frame here.
        count: of frames.
    """

    whole: Footage
    first: int
    count: int

    @staticmethod
    def between(whole: Footage, start: float | int, end: float | int) -> Excerpt:
        """The frames from `start` up to, not including, `end` (seconds).

        Raises:
            Unreadable: there is no frame in between, or the footage has no rate.
        """
        if whole.fps == 0:
            raise Unreadable("a part by time is asked for, but nothing says its frame rate")
        first, last = (int(each) for each in np.searchsorted(whole.times, [start - 1e-3, end - 1e-3]))
        if last <= first:
            raise Unreadable(f"there is no frame from {start:g} to {end:g} s; it has {whole.seconds:.2f} s")
        return Excerpt(whole, first, last - first)

    @property
    def height(self) -> int:
        return self.whole.height

    @property
    def width(self) -> int:
        return self.whole.width

    @property
    def fps(self) -> float | int:
        return self.whole.fps

    @property
    def times(self) -> NDArray[np.float64]:
        times = self.whole.times[self.first : self.first + self.count]
        return times - times[0]

    @property
    def seconds(self) -> float | int:
        return float(self.times[-1]) + 1 / self.fps

    def __len__(self) -> int:
        return self.count

    def decode(self, numbers: Sequence[int], cover: tuple[int, int] | None = None) -> Iterator[Frame]:
        return self.whole.decode([self.first + int(number) for number in numbers], cover)
