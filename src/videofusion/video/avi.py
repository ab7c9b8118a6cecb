"""The chunks of an AVI file, by their sizes (RIFF, and OpenDML's further parts): FFmpeg says nothing of empty ones."""

from __future__ import annotations

from io import BufferedIOBase, BytesIO
from pathlib import Path

from videofusion.video.footage import Data

_LISTS = (b"RIFF", b"LIST")


def empty_chunks(data: Data, stream: int) -> int:
    """Count a stream's chunks without bytes: each shows the frame before it once more.

    The walk ends where the file does, or where something stands that is no chunk.
    """
    marks = tuple(f"{stream:02d}{kind}".encode() for kind in ("dc", "db"))
    with data.open("rb") if isinstance(data, Path) else BytesIO(data.read_bytes()) as file:
        there = file.seek(0, 2)
        file.seek(0)
        return _count(file, there, marks)


def _count(file: BufferedIOBase, end: int, marks: tuple[bytes, ...]) -> int:
    found = 0
    while file.tell() + 8 <= end:
        header = file.read(8)
        kind, size = header[:4], int.from_bytes(header[4:], "little")
        if not kind.strip(b" ").isalnum():
            break
        if kind in _LISTS:
            file.seek(4, 1)  # what kind of list; what is in it follows
        else:
            found += kind in marks and size == 0
            file.seek(size + size % 2, 1)
    return found
