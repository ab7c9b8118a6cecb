"""Footage stored as pictures: a folder of frames, a single image, a row of an array."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from videofusion.video.animation import PILLOW_ERRORS, rgb
from videofusion.video.footage import MOST_PIXELS, PICTURE_ENDINGS, PICTURES, Data, Frame, Unreadable, ending, readable


class _Even:
    """Frames at an even rate, 0 where nothing says it."""

    fps: float | int

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def times(self) -> NDArray[np.float64]:
        return np.arange(len(self)) / (self.fps or 1)

    @property
    def seconds(self) -> float | int:
        return len(self) / self.fps if self.fps else 0


@dataclass(frozen=True, kw_only=True)
class Stills(_Even):
    """Frames that are pictures of one size.

    Args:
        pictures: the files, in the frames' order.
        height: of each.
        width: of each.
        fps: frames per second, 0 where nothing says it.
    """

    pictures: tuple[Data, ...]
    height: int
    width: int
    fps: float | int = 0

    def __len__(self) -> int:
        return len(self.pictures)

    def decode(self, numbers: Sequence[int], cover: tuple[int, int] | None = None) -> Iterator[Frame]:
        for number in sorted(int(each) for each in numbers):
            frame = _read(self.pictures[number])
            if frame.shape[:2] != (self.height, self.width):
                size, first = f"{frame.shape[1]}x{frame.shape[0]}", f"{self.width}x{self.height}"
                raise Unreadable(f"{self.pictures[number].name} is {size} pixels large, the first frame {first}")
            yield frame


@dataclass(frozen=True)
class Pictures:
    """Where such frames are.

    Args:
        files: the pictures in order, or the folder that holds them.
        fps: frames per second, 0 where nothing says it.
    """

    files: tuple[Data, ...] | Path
    fps: float | int = 0

    def paths(self) -> tuple[Data, ...]:
        """The pictures in order; raises `Unreadable`."""
        if not isinstance(self.files, Path):
            return self.files
        try:
            return tuple(sorted((file for file in self.files.iterdir() if is_picture(file)), key=natural))
        except OSError as error:
            raise Unreadable(f"cannot be listed: {error.strerror or error}") from error

    def open(self) -> Stills:
        pictures = self.paths()
        if not pictures:
            raise Unreadable("there is no picture in it")
        height, width = _size(pictures[0])
        return Stills(pictures=pictures, height=height, width=width, fps=self.fps)


@dataclass(frozen=True)
class Rows(_Even):
    """Frames in an array in memory or on disk, n h w or n h w c of bytes."""

    frames: NDArray[np.uint8]
    fps: float | int = 0

    @property
    def height(self) -> int:
        return int(self.frames.shape[1])

    @property
    def width(self) -> int:
        return int(self.frames.shape[2])

    def __len__(self) -> int:
        return len(self.frames)

    def decode(self, numbers: Sequence[int], cover: tuple[int, int] | None = None) -> Iterator[Frame]:
        for number in sorted(int(each) for each in numbers):
            frame = np.array(self.frames[number], np.uint8)
            frame = frame[..., None] if frame.ndim == 2 else frame
            yield np.repeat(frame, 3 // frame.shape[2], axis=2)


def is_picture(file: Path) -> bool:
    """Whether a file is a picture by its name."""
    return ending(file) in PICTURE_ENDINGS and not file.name.startswith(".")


def natural(file: Data | str) -> list[tuple[int, str]]:
    """The order of names with numbers of any length: frame 10 after frame 9."""
    name = file if isinstance(file, str) else str(file) if isinstance(file, Path) else file.name
    parts = re.split(r"([0-9]+)", name)  # every second one is a number
    numbers = (part.lstrip("0") for part in parts[1::2])
    keys = [(-1, part) for part in parts]
    keys[1::2] = [(len(digits), digits) for digits in numbers]
    return [key for key in keys if key != (-1, "")]


def _size(picture: Data) -> tuple[int, int]:
    """Height and width, upright, without decoding."""
    try:
        with _opened(picture) as image:
            turned = image.getexif().get(0x0112, 1) >= 5  # orientations that swap the sides
            return (image.width, image.height) if turned else (image.height, image.width)
    except PILLOW_ERRORS as error:
        raise Unreadable(f"{picture.name} is no picture that can be read{_why(error)}") from error


def _read(picture: Data) -> Frame:
    try:
        with _opened(picture) as image:
            return rgb(ImageOps.exif_transpose(image))
    except PILLOW_ERRORS as error:
        raise Unreadable(f"damaged: {picture.name} cannot be read{_why(error)}") from error


@contextmanager
def _opened(picture: Data) -> Iterator[Image.Image]:
    """A picture whose header was read; its size is looked at before anything is decoded."""
    with Image.open(readable(picture), formats=PICTURES) as image:
        if image.width * image.height > MOST_PIXELS:
            size = f"{image.width}x{image.height}"
            raise Unreadable(f"{picture.name} is {size} pixels large; at most {MOST_PIXELS:,} are read")
        yield image


def _why(error: Exception) -> str:
    told = getattr(error, "strerror", None)
    return f": {told}" if told else ""
