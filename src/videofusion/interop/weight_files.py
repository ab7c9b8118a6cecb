"""What a file of safetensors holds, read from its header alone: no weight is touched."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from videofusion.errors import InputError
from videofusion.files import PICKLES, check_regular, parse_json

_MOST_HEADER = 100_000_000  # bytes; safetensors' own bound
_LENGTH = 8  # bytes that say how long the header is
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A tensor in a file.

    Args:
        dtype: as the file names it, for example "F16".
        shape: of it.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def count(self) -> int:
        """Numbers in it."""
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors of a file of safetensors by name.

    Raises:
        InputError: no such file, one of another format, or one that ends before its tensors do.
    """
    if path.suffix in PICKLES:
        raise InputError(
            f"{path} is a pickle, which can run code when it is read and is refused; expected were safetensors, which "
            'safetensors.torch.save_file(torch.load(file, weights_only=True), "x.safetensors") makes where you trust it'
        )
    try:
        check_regular(path)
        with path.open("rb") as file:
            begin = file.read(_LENGTH)
            if begin + file.read(len(_POINTER) - _LENGTH) == _POINTER:
                raise InputError(f"{path} is a pointer of git-lfs, not the weights; `git lfs pull` fetches them")
            length = struct.unpack("<Q", begin)[0] if len(begin) == _LENGTH else 0
            file.seek(_LENGTH)
            header = file.read(length) if length <= _MOST_HEADER else b""
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(begin) < _LENGTH or length > _MOST_HEADER:
        raise InputError(f"{path} is no file of safetensors, which is what was expected")
    if len(header) < length:
        raise InputError(_cut(path, size, _LENGTH + length, "its header alone"))
    try:
        told = parse_json(header)
        if not isinstance(told, dict):
            raise ValueError("its header is no object")
        found = {name: _stored(entry) for name, entry in told.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no file of safetensors, which is what was expected: {error}") from error
    whole = _LENGTH + length + max((end for _, end in found.values()), default=0)
    if size < whole:
        raise InputError(_cut(path, size, whole, "its tensors"))
    return {name: stored for name, (stored, _) in found.items()}


def _stored(entry: Mapping[str, object]) -> tuple[Stored, int]:
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        raise ValueError("a tensor in its header has no shape or no place")
    return Stored(dtype=str(entry["dtype"]), shape=tuple(map(int, shape))), int(offsets[1])


def _cut(path: Path, size: int, whole: int, what: str) -> str:
    return (
        f"{path} is cut short: it has {size:,} bytes, but {what} must end at {whole:,}; "
        "most likely its download was interrupted, so fetch it again"
    )
