"""`results.jsonl`: what became of each row, a whole line each; the last line of a row counts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from videofusion.errors import InputError, RunError
from videofusion.locking import locked

NAME = "results.jsonl"
_BEGINNING = b'{"row": '  # of every line, whole or cut short


class Results:
    """The record in a folder, open for more lines.

    Args:
        path: of the file.
        file: the same, open.
        lines: the last line of each row, by id.
    """

    def __init__(self, path: Path, file: Any, lines: dict[str, dict[str, Any]]) -> None:
        self.path, self._file, self.lines = path, file, lines

    def add(self, line: Mapping[str, Any]) -> None:
        """Append a line; it is on the disk when this returns.

        Args:
            line: "row" (its number, the first key), "id", "state" ("done" or "failed"), and what else is known.

        Raises:
            RunError: the disk is full.
        """
        whole = {**line, "time": round(time.time(), 3)}
        try:
            self._file.write(json.dumps(whole, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise RunError(f'"{self.path}" could not be written: {error.strerror or error}') from error
        self.lines[whole["id"]] = whole

    def is_done(self, name: str, files: Sequence[str], settings: Mapping[str, Any]) -> bool:
        """Whether a row is made: its last line says so, and its files exist.

        Args:
            name: the row's id.
            files: its files' names.
            settings: what decides them.

        Raises:
            InputError: it was made with other settings.
        """
        line = self.lines.get(name)
        if line is None or line["state"] != "done":
            return False
        if not all((self.path.parent / file).is_file() for file in files):
            return False
        differing = [
            f"{key} ({line.get(key)!r} there, {value!r} now)"
            for key, value in settings.items()
            if line.get(key) != value
        ]
        if differing:
            raise InputError(
                f'id "{name}" is already made in {self.path.parent} with other settings: {", ".join(differing)}; '
                "use another folder, or delete its file to make it again"
            )
        return True


@contextmanager
def open_results(folder: Path) -> Iterator[Results]:
    """Open the record of a folder; both are made if missing, and a last line that is not whole is cut off.

    Raises:
        InputError: the folder cannot be used, another process is at work in it, or the record is of something else.
    """
    path = folder / NAME
    with locked(folder, "folder"):
        try:
            file = path.open("a+b")
        except OSError as error:
            raise InputError(f"folder {folder} cannot be used: {error.strerror or error}") from error
        with file:
            yield Results(path, file, _whole(path, file))


def _whole(path: Path, file: IO[bytes]) -> dict[str, dict[str, Any]]:
    """The last line of each row, by id; a last line that is not whole is cut off the file."""
    file.seek(0)
    data = file.read()
    *whole, rest = data.split(b"\n")
    lines = {}
    for number, text in enumerate(whole, 1):
        line = _line(text)
        if line is None:
            raise InputError(f"{path} has a line {number} that is not a row; use another folder, or fix it")
        lines[line["id"]] = line
    if not (rest.startswith(_BEGINNING) or _BEGINNING.startswith(rest)):
        raise InputError(f"{path} has a last line that is not a row; use another folder, or fix it")
    file.truncate(len(data) - len(rest))
    return lines


def read_prompts(folder: Path) -> dict[str, str]:
    """The prompt of each file that the record of a folder names; lines that are none of a row tell nothing.

    Raises:
        InputError: it cannot be read.
    """
    path = folder / NAME
    try:
        lines = [_line(text) for text in path.read_bytes().split(b"\n")]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    return {
        file: line["prompt"]
        for line in lines
        if line is not None and isinstance(line.get("prompt"), str)
        for file in line.get("files", ())
    }


def _line(text: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get("id"), str) or line.get("state") not in ("done", "failed"):
        return None
    return line
