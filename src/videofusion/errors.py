"""The two errors that a user may see, and the import of optional parts.

Whoever reads a command's exit code can tell them apart: an `InputError` means that the
call could never have worked (exit 2), a `RunError` that it failed on the way (exit 1).
"""

from __future__ import annotations

import difflib
import importlib
import unicodedata
from collections.abc import Iterable
from types import ModuleType


class InputError(ValueError):
    """Bad input: one sentence that names the argument, its value and what is allowed."""


class RunError(RuntimeError):
    """A failure after work has started (a full disk, a loss that is not a number)."""


def printable(text: object, *, line: bool = False) -> str:
    """A text as a terminal may be shown it: what would move its cursor, colour or turn it around is spelt out.

    Names of files, members of archives and texts of metadata may hold anything. Line ends and tabs stay.

    Args:
        text: to be printed.
        line: whether it is to stay one line, so that no name can pass for another line of a report.
    """
    return "".join(
        letter
        if (letter in _PLAIN and not (line and letter == "\n")) or unicodedata.category(letter) not in _HIDDEN
        else ascii(letter)[1:-1]
        for letter in str(text)
    )


_PLAIN = "\n\t\u200c\u200d"  # the latter two join letters, or keep them apart
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # controls, marks of direction and other unseen ones, halves, line separators


def unknown(kind: str, name: str, known: Iterable[str], also: str = "") -> InputError:
    """The error for a name that is none of those there are; the nearest one stands first.

    Args:
        kind: of thing, e.g. "recipe key".
        name: as it was given.
        known: the names that there are.
        also: what is allowed beside them.
    """
    names = list(known)
    begun = [each for each in names if name and each.startswith(name)]
    close = begun or difflib.get_close_matches(name, names, n=1)
    hint = f' (did you mean "{close[0]}"?)' if close else ""
    return InputError(f'{kind} "{name}" is unknown{hint}; there are {", ".join(names)}{also}')


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra of this package brings it.

    Args:
        module: dotted name, e.g. "sklearn.datasets".
        extra: the extra of `pyproject.toml` that installs it.

    Raises:
        InputError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A module that is there but misses a part of its own is another matter: let it show.
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise InputError(
            f'this needs the package "{module.split(".")[0]}", which is not installed; '
            f'`pip install "videofusion[{extra}]"` brings it'
        ) from error
