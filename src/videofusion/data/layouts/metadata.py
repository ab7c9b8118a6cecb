"""What a `metadata.jsonl` or `metadata.csv` says of the files beside it, in the Hub's video-folder layout.

A row has a `file_name` relative to the table and a `text` (or `caption`, or `label`); in jsonl
the text may be a list of several. It may have an `identity`, an `action`, a `label` (the class),
a `split`, and for folders of frames an `fps`.
What does not fit together is listed, not guessed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from videofusion.data.items import split_called
from videofusion.files import check_regular, parse_json

METADATA = ("metadata.jsonl", "metadata.csv")
_MOST_LETTERS = 131_072  # of a cell
_CAPTION_COLUMNS = ("text", "caption", "label")
# A caption with more is a mistake: a text encoder would learn all of its words, into every checkpoint.
MOST_WORDS, MOST_CHARACTERS = 2000, 20_000
MOST_SAID = f"at most {MOST_WORDS:,} words and {MOST_CHARACTERS:,} characters are taken"


class Row(NamedTuple):
    """What a table says of a file."""

    captions: tuple[str, ...] = ()
    identity: str = ""
    action: str = ""
    label: str = ""
    split: str = ""
    fps: float | int = 0


def read_metadata(table: Path, root: Path, known: set[str], rows: dict[str, Row], problems: dict[str, str]) -> None:
    """Add what a table says to `rows` and what is wrong with it to `problems`, both by name below `root`."""
    place = table.relative_to(root)
    for number, row in rows_of(table):
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
        fps = number_in(row.get("fps"))
        if name not in known:
            problems[name] = f"there is no such file (or of another kind), but a caption for it in {line}"
        elif name in rows:
            problems[line] = f"a second row for {name}; the first one counts"
        elif caption is None:
            problems[name] = f"no caption: none of {', '.join(_CAPTION_COLUMNS)} in {line}"
        elif fps is None:
            problems[name] = f"its fps is {str(row['fps'])[:40]} in {line}; it must be a number above 0"
        else:
            split = split_called(text_of(row.get("split")))
            try:
                identity, action, label = (bounded(text_of(row.get(key))) for key in ("identity", "action", "label"))
                rows[name] = Row(texts_of(caption), identity, action, label, split, fps)
            except ValueError as error:
                problems[name] = f"{error} in {line}"


def rows_of(table: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Line number and row of a csv, tsv or jsonl file, or what is wrong with the row."""
    try:
        check_regular(table)
        text = table.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        yield 1, f"it cannot be read: {getattr(error, 'strerror', None) or error}"
        return
    if table.suffix.lower() in (".csv", ".tsv"):
        yield from _rows_of_csv(text, "\t" if table.suffix.lower() == ".tsv" else ",")
        return
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines would cut at rarer ends inside of a text
        if not line.strip():
            continue
        try:
            row = parse_json(line, nan_is_null=True)
        except ValueError as error:
            yield number, f"it is no JSON: {getattr(error, 'msg', error)}"
            continue
        yield number, row if isinstance(row, dict) else "it is no JSON object"


def _rows_of_csv(text: str, delimiter: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The number of each row's first line, and the row; after one that cannot be read, from the next line on."""
    lines = io.StringIO(text, newline="").readlines()
    header: list[str] | None = None
    begin = 0
    while begin < len(lines):
        reader = csv.reader((lines[number] for number in range(begin, len(lines))), delimiter=delimiter, strict=True)
        last = begin
        while True:
            number = last + 1
            try:
                with _long_cells():
                    cells = next(reader, None)
            except csv.Error as error:
                yield number, f"it is no csv, perhaps a quote is not closed: {error}"
                begin = number
                break
            if cells is None:
                return
            last = begin + reader.line_num
            longest = max(map(len, cells), default=0)
            if longest > _MOST_LETTERS:
                yield number, f"a cell of it has {longest:,} letters; at most {_MOST_LETTERS:,} are read"
            elif header is None:
                header = cells
            elif any(cells[len(header) :]):
                yield (
                    number,
                    f"it has {len(cells)} cells, the header {len(header)}; a text with commas needs quotes",
                )
            elif cells:
                yield number, {key: value for key, value in zip(header, cells, strict=False) if key and value}


@contextmanager
def _long_cells() -> Iterator[None]:
    """Read cells of any length; the csv module loses the rest of a row at one that is too long."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def text_of(value: Any) -> str:
    """A value of a table as one line of text."""
    nothing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if nothing else " ".join(str(value).split())


def texts_of(value: Any) -> tuple[str, ...]:
    """One text or a list of them, without repetitions and empty ones; raises `ValueError` for one that is too long."""
    values = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(bounded(text) for text in map(text_of, values) if text))


def bounded(text: str) -> str:
    """The text; raises `ValueError` for one that is too long."""
    words = text.count(" ") + 1
    if words > MOST_WORDS or len(text) > MOST_CHARACTERS:
        raise ValueError(f"its caption has {words:,} words and {len(text):,} characters; {MOST_SAID}")
    return text


def number_in(value: Any) -> float | None:
    """A rate that a table gives: 0 where it gives none, None where it is no number above 0."""
    if value in (None, ""):
        return 0.0
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number < 1e6 else None
