"""Which videos a folder holds and what is said about them.

Captions come from `metadata.jsonl` or `metadata.csv` in the Hub's video-folder layout (a
`file_name` relative to the metadata file, and a `text`), else from the names of class
folders, else there are none. A table may name a clip's `identity` and `action` too. What does
not fit together is listed, not guessed.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from videofusion.data.decode import VIDEO_ENDINGS
from videofusion.errors import InputError

_METADATA = ("metadata.jsonl", "metadata.csv")
_CAPTION_COLUMNS = ("text", "caption", "label")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A folder's videos.

    Args:
        root: the folder.
        files: the names of all video files (paths below the root, with "/"), in order.
        captions: caption by name, in order, for the files that can be used as far as is known
            without opening them.
        problems: reason by name, for what cannot be: a file without a row, a row without a file,
            a row that cannot be read.
        identities: who or what is seen, by name, where a table says it.
        actions: what it does, by name, where a table says it.
        source: where captions come from, for the report.
    """

    root: Path
    files: list[str]
    captions: dict[str, str]
    problems: dict[str, str] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    actions: dict[str, str] = field(default_factory=dict)
    source: str


class _Row(NamedTuple):
    """What a table says of a file."""

    caption: str
    identity: str
    action: str


def list_videos(path: str | Path) -> Listing:
    """List a folder, with all that is below it, and read its captions.

    Raises:
        InputError: no folder, or no video file in it.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f'data "{path}" is not a folder; it has to be one that holds videos')
    try:
        found = sorted(file for file in root.rglob("*") if not _hidden(file, root) and file.is_file())
    except OSError as error:
        raise InputError(f'data "{path}" cannot be listed: {error.strerror or error}') from error
    videos = [file for file in found if file.suffix.lower() in VIDEO_ENDINGS]
    if not videos:
        raise InputError(f'data "{path}" holds no video; the endings that count are {", ".join(VIDEO_ENDINGS)}')
    names = sorted(file.relative_to(root).as_posix() for file in videos)
    tables = [file for file in found if file.name in _METADATA]
    if not tables:
        captions = {name: " ".join(_class_of(name).replace("_", " ").split()) for name in names}
        source = "the folders' names" if any(captions.values()) else "none"
        return Listing(root=root, files=names, captions=captions, source=source)
    rows: dict[str, _Row] = {}
    problems: dict[str, str] = {}
    known = set(names)
    for table in tables:
        _read_table(table, root, known, rows, problems)
    source = ", ".join(table.relative_to(root).as_posix() for table in tables)
    for name in names:
        if name not in rows and name not in problems:
            problems[name] = f"no caption: there is no row for it in {source}"
    listed = {name: rows[name] for name in names if name in rows}
    return Listing(
        root=root,
        files=names,
        captions={name: row.caption for name, row in listed.items()},
        problems=dict(sorted(problems.items())),
        identities={name: row.identity for name, row in listed.items() if row.identity},
        actions={name: row.action for name, row in listed.items() if row.action},
        source=source,
    )


def _read_table(table: Path, root: Path, known: set[str], rows: dict[str, _Row], problems: dict[str, str]) -> None:
    """Add what a table says to `rows` and what is wrong with it to `problems`."""
    place = table.relative_to(root)
    for number, row in _rows(table):
        line = f"{place.as_posix()}, line {number}"
        if isinstance(row, str):
            problems[line] = row
            continue
        file_name = row.get("file_name")
        if not isinstance(file_name, str) or not file_name:
            problems[line] = "it has no file_name"
            continue
        name = (place.parent / file_name).as_posix()
        caption = next((row[column] for column in _CAPTION_COLUMNS if row.get(column) is not None), None)
        if name not in known:
            problems[name] = f"there is no such file (or of another kind), but a caption for it in {line}"
        elif name in rows:
            problems[line] = f"a second row for {name}; the first one counts"
        elif caption is None:
            problems[name] = f"no caption: none of {', '.join(_CAPTION_COLUMNS)} in {line}"
        else:
            rows[name] = _Row(_text(caption), _text(row.get("identity")), _text(row.get("action")))


def _rows(table: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Line number and row, or what is wrong with the row."""
    try:
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        yield 1, f"it cannot be read: {error}"
        return
    if table.suffix == ".csv":
        reader = csv.DictReader(text.splitlines())
        for entry in reader:
            yield reader.line_num, {key: value for key, value in entry.items() if value}
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, f"it is no JSON: {error.msg}"
            continue
        yield number, row if isinstance(row, dict) else "it is no JSON object"


def _text(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())


def _class_of(name: str) -> str:
    return Path(name).parent.name


def _hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts)
