"""Output files: checked before work starts, and written in full or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from io import BufferedRandom
from pathlib import Path

from videofusion.errors import InputError, RunError

CLIP_ENDINGS = (".mp4", ".gif", ".webp", ".png")


def check_output(path: str | Path, *, endings: Sequence[str] = CLIP_ENDINGS, name: str = "output") -> Path:
    """Return the path that a result may be written to; meant for the border, before the work.

    The folder is made if it is missing, and a file is made in it and removed again: nothing
    less shows that a folder can be written to.

    Args:
        path: where the result is to go.
        endings: the endings that are allowed.
        name: the argument's name, for the message.

    Raises:
        InputError: another ending, a folder of that name, or a folder that cannot be written to.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in endings:
        raise InputError(f'{name} "{path}" ends in "{path.suffix}"; it must end in one of {", ".join(endings)}')
    target = path.resolve()
    if os.path.isdir(target):
        raise InputError(f'{name} "{path}" is a folder; it must be a file name')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        probe = _beside(target)
        probe.touch(exist_ok=False)
        probe.unlink()
        with contextlib.suppress(FileNotFoundError):
            target.lstat()  # refuses a name that is too long for the file system
    except OSError as error:
        raise InputError(f'{name} "{path}" cannot be written: {error.strerror or error}') from error
    return path


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a file that is there with all of its bytes, or not at all.

    The bytes go to a temporary name in the same folder, which is renamed once the disk has
    them; a file that was there before stays as it was if anything fails.

    Raises:
        RunError: the disk is full, the folder went away, ...
    """
    with whole_file(path) as file:
        file.write(data)


@contextlib.contextmanager
def whole_file(path: str | Path) -> Iterator[BufferedRandom]:
    """Open a file to be written piece by piece, that is there with all of its bytes, or not at all; see `write_whole`.

    Raises:
        RunError: the disk is full, the folder went away, ...
    """
    target = Path(path).expanduser().resolve()  # through a link, to what it points at
    temporary = _beside(target)
    try:
        with temporary.open("x+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # a full disk may show only here
        temporary.replace(target)
    except OSError as error:
        raise RunError(f'"{path}" could not be written: {error.strerror or error}') from error
    finally:
        temporary.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    return target.parent / f".{secrets.token_hex(8)}.part"
