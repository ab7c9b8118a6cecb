"""Writing GIF and WebP frame by frame, each with its own time.

Pillow's writers merge equal frames into a long one, and write a WebP of equal frames as a picture without a time. Here
each frame is a block of its own: the rectangle that differs from the frame before, and one pixel where nothing does.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from io import BufferedIOBase

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from videofusion.clip.provenance import EXIF_DESCRIPTION

_Frame = NDArray[np.uint8]  # h w 3

# One pixel of colour 0, which is transparent (GIF89a, 20-22 and appendix F).
_NOTHING = b"\x2c" + bytes(4) + b"\x01\0\x01\0\0" + b"\x02\x02\x44\x01\0"
# How long a frame may be shown: hundredths of a second of a GIF, milliseconds of a WebP.
_LONGEST, _LONGEST_WEBP = 0xFFFF, 0xFFFFFF


def write_gif(file: BufferedIOBase, frames: Iterable[tuple[_Frame, int]], note: str | None) -> None:
    """Write frames, each with milliseconds (a multiple of 10), as an endless GIF of 256 colours a frame."""
    for number, (frame, top, left, milliseconds, changed) in enumerate(_changes(frames)):
        if number == 0:
            height, width = frame.shape[:2]
            size = width.to_bytes(2, "little") + height.to_bytes(2, "little")
            file.write(b"GIF89a" + size + b"\x70\0\0\x21\xff\x0bNETSCAPE2.0\x03\x01\0\0\0")
            if note is not None:
                text = note.encode()
                parts = (text[place : place + 255] for place in range(0, len(text), 255))
                file.write(b"\x21\xfe" + b"".join(bytes([len(part)]) + part for part in parts) + b"\0")
        time = min(_LONGEST, milliseconds // 10).to_bytes(2, "little")
        # A pixel on its own may get another colour of the 256 than it has in the picture: better none.
        file.write(b"\x21\xf9\x04" + (b"\x04" if changed else b"\x05") + time + b"\0\0")
        file.write(_gif_picture(frame, top, left) if changed else _NOTHING)
    file.write(b"\x3b")


def write_webp(file: BufferedIOBase, frames: Iterable[tuple[_Frame, int]], note: str | None) -> None:
    """Write frames, each with milliseconds, as an endless WebP without loss (RFC 9649, 2.7)."""
    begin = file.tell()
    exif = Image.Exif()
    if note is not None:
        exif[EXIF_DESCRIPTION] = note
    for number, (frame, top, left, milliseconds, _) in enumerate(_changes(frames)):
        if number == 0:
            height, width = frame.shape[:2]
            size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
            file.write(b"RIFF\0\0\0\0WEBP" + _chunk(b"VP8X", bytes([0x02 if note is None else 0x0A, 0, 0, 0]) + size))
            file.write(_chunk(b"ANIM", bytes(6)))
        numbers = (left // 2, top // 2, frame.shape[1] - 1, frame.shape[0] - 1, min(_LONGEST_WEBP, milliseconds))
        head = b"".join(each.to_bytes(3, "little") for each in numbers) + b"\x02"  # nothing shows through
        file.write(_chunk(b"ANMF", head + _webp_picture(frame)))
    if note is not None:
        file.write(_chunk(b"EXIF", exif.tobytes().removeprefix(b"Exif\0\0")))
    end = file.tell()
    file.seek(begin + 4)
    file.write((end - begin - 8).to_bytes(4, "little"))
    file.seek(end)


def _changes(frames: Iterable[tuple[_Frame, int]]) -> Iterator[tuple[_Frame, int, int, int, bool]]:
    """The part of each frame that differs from the one before, its top and left, the time, and whether any does.

    Where none does, the part is one pixel.
    """
    before: _Frame | None = None
    for frame, milliseconds in frames:
        if before is None:
            yield frame, 0, 0, milliseconds, True
        else:
            differs = (frame != before).any(-1)
            rows, columns = (np.flatnonzero(differs.any(axis)) for axis in (1, 0))
            if len(rows):
                top, left = (int(each[0]) // 2 * 2 for each in (rows, columns))  # a WebP counts places in twos
                yield frame[top : rows[-1] + 1, left : columns[-1] + 1], top, left, milliseconds, True
            else:
                yield frame[:1, :1], 0, 0, milliseconds, False
        before = frame


def _gif_picture(frame: _Frame, top: int, left: int) -> bytes:
    """A picture's block, with a table of colours of its own."""
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame)).save(data, "GIF")
    coded = data.getvalue()
    bits = coded[10] & 7
    place = 13 + (3 << bits + 1)
    colours, descriptor = coded[13:place], coded[place : place + 10]
    places = left.to_bytes(2, "little") + top.to_bytes(2, "little")
    flags = bytes([descriptor[9] & 0x40 | 0x80 | bits])  # interlaced or not, and a table of its own
    return b"\x2c" + places + descriptor[5:9] + flags + colours + coded[place + 10 : -1]


def _webp_picture(picture: _Frame) -> bytes:
    """A picture's chunk, without loss."""
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(data, "WEBP", lossless=True)
    coded = data.getvalue()
    place = coded.index(b"VP8L")
    return coded[place : place + 8 + int.from_bytes(coded[place + 4 : place + 8], "little") + 1 & ~1]


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)
