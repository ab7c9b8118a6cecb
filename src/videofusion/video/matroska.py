"""What a Matroska or WebM file promises, by the sizes of its elements (RFC 8794 and 9559).

It counts no frames, and FFmpeg continues silently where the end or a part in the middle is lost.
"""

from __future__ import annotations

from io import BufferedIOBase, BytesIO
from pathlib import Path

from videofusion.video.footage import Data, Unreadable

_HEADER, _CLUSTER = 0x1A45DFA3, 0x1F43B675


def check_matroska(data: Data) -> str | None:
    """Walk over the elements of a file, down to the blocks with its frames; other kinds of files pass.

    Returns:
        what is missing at the end, if something is: frames, or only an index of them.

    Raises:
        Unreadable: a cluster does not hold what it says.
    """
    with data.open("rb") if isinstance(data, Path) else BytesIO(data.read_bytes()) as file:
        there = file.seek(0, 2)
        file.seek(0)
        kind, size = _element(file)
        if kind != _HEADER or size is None:
            return None
        file.seek(size, 1)
        kind, size = _element(file)
        end = there if size is None else file.tell() + size
        while file.tell() < min(end, there):
            kind, size = _element(file)
            if size is None:  # a stream that was written as it came: only FFmpeg knows where such a cluster ends
                return None
            after = file.tell() + size
            end = max(end, after)
            if kind == _CLUSTER:
                _check_children(file, min(after, there))
            file.seek(after)
    return f"truncated: {there} of its {end} bytes are there" if there < end else None


def _check_children(file: BufferedIOBase, end: int) -> None:
    while (place := file.tell()) < end:
        _, size = _element(file)
        if size is None or file.tell() + size > end:
            raise Unreadable(f"damaged: what stands at byte {place} reaches out of its cluster")
        file.seek(size, 1)


def _element(file: BufferedIOBase) -> tuple[int, int | None]:
    """An element's kind, 0 where there is none, and its size, None where the writer did not know it."""
    first = file.read(1)
    if not first or first == b"\0":
        return 0, 0
    kind = int.from_bytes(first + file.read(8 - first[0].bit_length()), "big")
    first = file.read(1)
    if not first or first == b"\0":
        return 0, 0
    length = 8 - first[0].bit_length()
    size = int.from_bytes(first + file.read(length), "big") & (1 << 7 * (length + 1)) - 1
    return kind, None if size == (1 << 7 * (length + 1)) - 1 else size
