"""Animated GIF and WebP, by Pillow.

FFmpeg has no decoder for an animated WebP, and says nothing about a GIF that breaks off.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from videofusion.data.footage import Data, Frame, Unreadable, ending, readable

ANIMATED_IMAGES = (".gif", ".webp")
PILLOW_ERRORS = (OSError, EOFError, SyntaxError, Image.DecompressionBombError)


def frames_of(data: Data) -> tuple[str, int, int, NDArray[np.int64], float]:
    """The format, width and height of an animated image, which stored picture each frame shows, and its rate."""
    if ending(data) == ".gif" and not data.read_bytes().rstrip(b"\0").endswith(b"\x3b"):
        raise Unreadable("truncated: the end mark of the GIF is missing")
    with Image.open(readable(data)) as image:
        milliseconds = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            image.load()  # a WebP knows a frame's duration only now
            milliseconds.append(float(image.info.get("duration") or 0) or 100.0)  # 0: as browsers do
        # Writers merge equal neighbours into one long frame: undo that, on the grid of the shortest.
        tick = min(milliseconds)
        repeats = np.repeat(np.arange(len(milliseconds)), [max(1, round(each / tick)) for each in milliseconds])
        fps = 1000 * len(repeats) / sum(milliseconds)
        return (image.format or "image").lower(), image.width, image.height, repeats, fps


def decode_pictures(data: Data, pictures: NDArray[np.int64]) -> Iterator[Frame]:
    """Stored pictures by number, in rising order."""
    with Image.open(readable(data)) as image:
        current, frame = -1, np.empty(0, np.uint8)
        for number in pictures:
            if number != current:
                image.seek(int(number))
                current, frame = int(number), np.array(image.convert("RGB"))
            yield frame
