"""Files that others wrote: what is opened of them, and how their json is read."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
_EMPTY = 100  # a file with so many times the bytes that the disk holds of it is a hole


def check_regular(path: str | Path, most: int | None = None) -> None:
    """Raise `OSError` for a path that is no regular file: a pipe would never end, nor would /dev/zero.

    Args:
        path: symbolic links are followed.
        most: bytes that it may have; any number when None.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "a device")
        raise OSError(0, f"it is {kind}, not a regular file", str(path))
    if most is not None and found.st_size > most:
        raise OSError(0, f"it has {found.st_size:,} bytes, at most {most:,} are read", str(path))


def check_whole(path: str | Path) -> None:
    """Raise `OSError` for a path that is no regular file, or a sparse one: terabytes that nobody wrote."""
    check_regular(path)
    found = os.stat(path)
    stored = 512 * getattr(found, "st_blocks", 0)
    if 0 < stored * _EMPTY < found.st_size:
        raise OSError(0, f"it is sparse: {stored:,} of its {found.st_size:,} bytes are on the disk", str(path))


def parse_json(text: str | bytes, *, unique: bool = False, nan_is_null: bool = False) -> Any:
    """What a json text says; all that can be wrong with it is a `ValueError`.

    Args:
        text: in UTF-8, with or without its mark.
        unique: refuse an object that has a key twice, which readers understand in two ways.
        nan_is_null: read NaN and Infinity, which pandas writes where there is nothing, as nothing.
    """
    text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    try:
        constant = (lambda _: None) if nan_is_null else None
        value = json.loads(text, object_pairs_hook=_once if unique else None, parse_constant=constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):  # of Python's own words the second half helps nobody
            raise ValueError("it has a number of thousands of digits") from None
        raise
    if "\\u" in text or not text.isascii():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half a character (a lone surrogate)") from None
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key in values if sum(key == each for each, _ in pairs) > 1)
        raise ValueError(f"it has the key {twice!r} twice")
    return values
