"""Animated GIF and WebP, by Pillow.

FFmpeg has no decoder for an animated WebP, and says nothing about a GIF that breaks off. What a header says
of sizes is looked at before Pillow makes a picture of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from videofusion.video.footage import (
    MOST_PIXELS,
    PICTURES,
    Data,
    Frame,
    Unreadable,
    byte_count,
    head,
    on_ground,
    readable,
)

PILLOW_ERRORS = (OSError, EOFError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)
# Pillow holds several copies of a canvas and paints all of it for each picture, whatever little the file says of it.
_MOST_CANVAS = 4096 * 2304
_MOST_PAINTED, _PAINTED_BY_BYTE = 3 * 10**8, 500  # pixels of all pictures: some, and more in large files
_MOST_FRAMES = 10**6  # a picture that is shown for long counts as many
_IMAGE, _EXTENSION, _CONTROL, _END = 0x2C, 0x21, 0xF9, 0x3B  # how a GIF's blocks begin


def is_animation(data: Data) -> bool:
    """Whether a file is a GIF or a WebP, by its first bytes: names lie."""
    start = head(data, 12)
    return start[:4] == b"GIF8" or (start[:4], start[8:]) == (b"RIFF", b"WEBP")


def frames_of(data: Data) -> tuple[str, int, int, NDArray[np.int64], NDArray[np.float64]]:
    """Look at an animated image.

    Returns:
        Its format, width and height, then for each frame which stored picture it shows, and when it ends (seconds from
        the begin of the first).
    """
    kind = "gif" if head(data, 4) == b"GIF8" else "webp"
    width, height, milliseconds = (_blocks_of_gif if kind == "gif" else _pictures_of_webp)(data)
    lengths = np.array([each or 100.0 for each in milliseconds])  # 0: as browsers do
    # Writers merge equal neighbours into one long frame: undo that where the shortest goes into all of them, and few
    # are long. Else the times are the file's own.
    tick = float(lengths.min())
    counts = (lengths / tick).astype(np.int64)
    if (lengths % tick).any() or (counts > 1).sum() > 1 + len(lengths) / 4:
        counts = np.ones(len(lengths), np.int64)
    if counts.sum() > _MOST_FRAMES:
        raise Unreadable(f"its shortest picture is shown for {tick:g} ms, all of them for {lengths.sum() / 1000:g} s")
    ends = np.cumsum(np.repeat(lengths / counts, counts)) / 1000
    repeats = np.repeat(np.arange(len(lengths)), counts)
    return kind, width, height, repeats, ends


def decode_pictures(data: Data, pictures: NDArray[np.int64]) -> Iterator[Frame]:
    """Stored pictures by number, in rising order."""
    with Image.open(readable(data), formats=PICTURES) as image:
        current, frame = -1, np.empty(0, np.uint8)
        for number in pictures:
            if number != current:
                image.seek(int(number))
                current, frame = int(number), rgb(image)
            yield frame


def rgb(image: Image.Image) -> Frame:
    """A picture's bytes, on white where it is transparent."""
    if image.has_transparency_data:
        return on_ground(np.asarray(image.convert("RGBA"), np.uint8))
    return np.array(image.convert("RGB"))


def _blocks_of_gif(data: Data) -> tuple[int, int, list[float]]:
    """Width, height, and how long each picture is shown, from the blocks alone (GIF89a, section 12 on)."""
    stored = data.read_bytes()
    width, height = (int.from_bytes(stored[place : place + 2], "little") for place in (6, 8))
    _check_size(width, height)
    times: list[float] = []
    time = 0.0
    place = 13 + _colours(stored[10:11])
    while stored[place : place + 1] != bytes([_END]):
        start, block = stored[place : place + 1], stored[place + 1 : place + 10]
        if start == bytes([_EXTENSION]):
            if block[:1] == bytes([_CONTROL]):
                time = 10.0 * int.from_bytes(block[3:5], "little")
            place += 2
        elif start == bytes([_IMAGE]):
            left, top, wide, high = (int.from_bytes(block[at : at + 2], "little") for at in (0, 2, 4, 6))
            if left + wide > width or top + high > height:
                raise Unreadable(f"damaged: picture {len(times) + 1} of the GIF reaches out of its {width}x{height}")
            times.append(time)
            time = 0.0
            place += 11 + _colours(block[8:9])
        elif start:
            raise Unreadable("damaged: a block of the GIF is of no known kind")
        while stored[place : place + 1] > b"\0":
            place += stored[place] + 1
        place += 1
        if place >= len(stored):
            raise Unreadable("truncated: the end mark of the GIF is missing")
    if not times:
        raise Unreadable("there is no frame in it")
    _check_size(width, height, len(times), len(stored))
    return width, height, times


def _colours(flags: bytes) -> int:
    """Bytes of the table of colours that follows."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


def _pictures_of_webp(data: Data) -> tuple[int, int, list[float]]:
    start = head(data, 30)
    if start[12:16] == b"VP8X":  # else it is a single picture, of at most 16383 x 16383
        _check_size(*(int.from_bytes(start[place : place + 3], "little") + 1 for place in (24, 27)))
    with Image.open(readable(data), formats=PICTURES) as image:
        _check_size(image.width, image.height, getattr(image, "n_frames", 1), byte_count(data))
        milliseconds = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()  # it knows a frame's duration only now
            milliseconds.append(float(image.info.get("duration") or 0))
        return image.width, image.height, milliseconds


def _check_size(width: int, height: int, pictures: int = 1, size: int = 0) -> None:
    most = MOST_PIXELS if pictures == 1 else _MOST_CANVAS
    if width * height > most:
        raise Unreadable(f"its frames are {width}x{height}; at most {most:,} pixels are read")
    painted = width * height * pictures
    if pictures > 1 and painted > _MOST_PAINTED + _PAINTED_BY_BYTE * size:
        raise Unreadable(
            f"it has {pictures} pictures of {width}x{height} in {size:,} bytes, which take too long to paint"
        )
