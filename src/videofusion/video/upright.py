"""Decoded frames as players show them: rotated and mirrored by the display matrix, with square pixels, in RGB."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.reformatter import Interpolation, VideoReformatter

from videofusion.video.footage import Frame, on_ground
from videofusion.video.frames import resized

# Without them swscale rounds down and takes one chroma sample for two pixels: all colours come out about a level too
# dark, and a clip that is read and written again and again darkens.
_EXACT = Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


def upright(
    frame: av.VideoFrame,
    converter: VideoReformatter,
    aspect: Fraction = Fraction(1),
    cover: tuple[int, int] | None = None,
) -> Frame:
    """Return a frame as RGB.

    Args:
        frame: as it came out of the decoder.
        converter: to be used again for the next frame.
        aspect: width of a stored pixel by its height.
        cover: (height, width) that the result is to cover, of the same proportions; as many pixels as there are if
            None.
    """
    transposed, across, down = _display(frame)
    if any(component.is_alpha for component in frame.format.components):  # before colours that are not seen can mix
        rgba = converter.reformat(frame, format="rgba", interpolation=_EXACT | Interpolation.BILINEAR).to_ndarray()
        frame = av.VideoFrame.from_ndarray(on_ground(np.asarray(rgba, np.uint8)), format="rgb24")
    height, width = square_size(frame.height, frame.width, aspect)
    if cover is not None:
        height, width = resized(height, width, cover[::-1] if transposed else cover)
    shown = converter.reformat(
        frame, width=width, height=height, format="rgb24", interpolation=_EXACT | _filter(frame, height, width)
    )
    picture = np.asarray(shown.to_ndarray(), np.uint8)
    picture = picture.transpose(1, 0, 2) if transposed else picture
    return np.ascontiguousarray(picture[:: -1 if down else 1, :: -1 if across else 1])


def shown_size(frame: av.VideoFrame, aspect: Fraction) -> tuple[int, int]:
    """Height and width of what `upright` returns."""
    height, width = square_size(frame.height, frame.width, aspect)
    return (width, height) if _display(frame)[0] else (height, width)


def square_size(height: int, width: int, aspect: Fraction) -> tuple[int, int]:
    """Height and width in square pixels."""
    return height, max(1, round(width * aspect))


def _filter(frame: av.VideoFrame, height: int, width: int) -> Interpolation:
    """How to resize."""
    if (height, width) == (frame.height, frame.width):
        return Interpolation.BILINEAR
    # To a whole part of the size, the mean of each block undoes an enlargement as `write_clip` makes one.
    times = frame.height // height
    whole = times > 1 and (times * height, times * width) == (frame.height, frame.width)
    return Interpolation.AREA if whole else Interpolation.BICUBIC


def _display(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """Whether rows and columns are to change places, then whether to mirror left to right, then top to bottom."""
    try:
        data = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    except ValueError:  # side data of a kind that PyAV does not know stand beside it
        quarters = round(frame.rotation / 90) % 4  # counterclockwise
        return quarters % 2 == 1, quarters in (2, 3), quarters in (1, 2)
    if data is None:
        return False, False, False
    # x' = a x + c y, y' = b x + d y, with y downwards (ISO 14496-12, 6.2.2), to the nearest of the eight.
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0
