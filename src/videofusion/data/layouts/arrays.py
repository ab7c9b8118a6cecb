"""Clips in numpy files, as Moving MNIST comes: one array of bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videofusion.data.items import Item, Source
from videofusion.errors import InputError
from videofusion.files import check_whole
from videofusion.video.footage import MOST_PIXELS, Unreadable
from videofusion.video.stills import Rows

# of a file and of its header, which numpy reads as a text of Python
_ERRORS = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    MemoryError,
    RecursionError,
    OverflowError,
    TokenError,
)
_MOST_CLIPS = 10**6  # of an array


@dataclass(frozen=True)
class ArrayClip:
    """One clip of an array on disk.

    Args:
        file: a npy file of bytes, t n h w, n t h w c or n t c h w.
        number: of the clip.
    """

    file: Path
    number: int

    def open(self) -> Rows:
        try:
            array = _array(self.file)
        except _ERRORS as error:
            raise Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
        return Rows(_clip(array, self.number))


def list_array(path: str | Path, fold: int = 1) -> Source:
    """List the clips of a npy file, or of a folder of them.

    An array of four axes is t n h w (Moving MNIST's), one of five n t h w c or n t c h w with 1 or
    3 channels. Nothing says their frame rate, nor what they show.

    Raises:
        InputError: no such file, or an array of another shape or kind.
    """
    place = Path(path).expanduser()
    files = [place] if place.is_file() else sorted(place.rglob("*.npy"))
    if fold != 1:
        raise InputError(f"fold is {fold}; it must be 1, as arrays have no split files")
    if not files:
        raise InputError(f'data "{path}" contains no .npy array')
    items, wrong = [], {}
    for file in files:
        name = file.relative_to(place).as_posix() if file != place else file.name
        try:
            items += [Item(f"{name}[{number}]", ArrayClip(file, number)) for number in range(_count(file))]
        except InputError as error:
            wrong[name] = error
    if not items:
        raise next(iter(wrong.values()))
    problems = {name: str(error) for name, error in wrong.items()}
    return Source(root=place if place.is_dir() else place.parent, files=items, problems=problems, told="none")


def _array(file: Path) -> NDArray[Any]:
    """The array of a file, still on disk."""
    check_whole(file)
    array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    return array


def _count(file: Path) -> int:
    try:
        array = _array(file)
    except _ERRORS as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f'array "{file}" cannot be read: {reason}') from error
    if array.dtype != np.uint8:
        raise InputError(f'array "{file}" holds {array.dtype}; it must hold uint8, from 0 to 255')
    shape = "x".join(map(str, array.shape))
    if array.ndim not in (4, 5) or 0 in array.shape:
        raise InputError(f'array "{file}" has the shape {shape}; it must be t n h w, n t h w c or n t c h w')
    clips, places = array.shape[1 if array.ndim == 4 else 0], math.prod(array.shape[-2:])
    if array.ndim == 5:
        places = math.prod(array.shape[2:])
    if clips > _MOST_CLIPS or places > 3 * MOST_PIXELS:
        raise InputError(
            f'array "{file}" has the shape {shape}; at most {_MOST_CLIPS:,} clips are read, and {MOST_PIXELS:,} pixels '
            "of a frame"
        )
    if array.ndim == 4:
        return int(array.shape[1])
    if (array.shape[2] in (1, 3)) == (array.shape[4] in (1, 3)):
        raise InputError(f'array "{file}" has the shape {shape}; the third or the last axis must be 1 or 3')
    return int(array.shape[0])


def _clip(array: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
    """Clip `number` as t h w or t h w c, still on disk."""
    if array.ndim == 4:
        return array[:, number]
    return array[number] if array.shape[4] in (1, 3) else array[number].transpose(0, 2, 3, 1)
