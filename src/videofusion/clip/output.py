"""Output files: checked before work starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from videofusion.errors import InputError
from videofusion.files import beside

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
        probe = beside(target)
        probe.touch(exist_ok=False)
        probe.unlink()
        with contextlib.suppress(FileNotFoundError):
            target.lstat()  # refuses a name that is too long for the file system
    except OSError as error:
        raise InputError(f'{name} "{path}" cannot be written: {error.strerror or error}') from error
    return path
