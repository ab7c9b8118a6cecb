"""Tables of clips with their paths or numbers and captions, as large sets come: WebVid, HD-VILA, MSR-VTT, Kinetics.

A row names its clip by a path below the table's folder, by an absolute path, or by an id that some file below the
folder is called by. One row may hold several clips by time (HD-VILA), and one clip several rows, each with a caption.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from videofusion.data.items import Item, Source, split_called
from videofusion.data.layouts.listing import files_below, spoken
from videofusion.data.layouts.metadata import bounded, rows_of, text_of, texts_of
from videofusion.errors import InputError, require
from videofusion.files import check_regular, parse_json
from videofusion.video.decode import VideoFile
from videofusion.video.footage import VIDEO_ENDINGS

TABLE_ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
PATHS = ("file_name", "path", "video_path", "filename", "file", "video", "clip_path")
IDS = ("clip_id", "video_id", "videoid", "youtube_id", "id")
CAPTIONS = ("caption", "text", "captions", "name", "title", "sentence", "description")
LABELS = ("label", "class", "category")
_SPANS = (("start", "end"), ("start_time", "end_time"), ("time_start", "time_end"))


def list_table(path: str | Path, fold: int = 1) -> Source:
    """Read a table of clips; their files lie below its folder.

    Args:
        path: a csv, tsv, json, jsonl or parquet file.
        fold: 1; tables have a column for the split.

    Raises:
        InputError: a file that cannot be read, or no row in it names a clip.
    """
    table = Path(path).expanduser()
    if fold != 1:
        raise InputError(f"fold is {fold}; it must be 1, as tables have a column for the split")
    if not table.is_file():
        raise InputError(f'data "{path}" is not a file; layout "table" needs one of {", ".join(TABLE_ENDINGS)}')
    _, files = files_below(table.parent)
    videos = _Files(name for name in files if PurePosixPath(name).suffix.lower() in VIDEO_ENDINGS)
    items: dict[str, Item] = {}
    problems: dict[str, str] = {}
    found = 0
    for number, row in _rows(table):
        line = f"{table.name}, row {number}"
        if isinstance(row, str):
            problems[line] = row
            continue
        if not names_a_clip(row):
            problems[line] = f"it names no clip: none of {', '.join(PATHS + IDS)}"
            continue
        found += 1
        for part in _parts(row):
            try:
                item = _item(table.parent, part, videos)
            except ValueError as error:
                problems[line] = str(error)
                continue
            before = items.get(item.name)
            captions = dict.fromkeys((*(before.captions if before else ()), *item.captions))
            items[item.name] = replace(before or item, captions=tuple(captions))
    if not found:
        reason = "; ".join(f"{line}: {problem}" for line, problem in list(problems.items())[:1]) or "it has no row"
        raise InputError(f'data "{path}" is not a table of clips ({reason})')
    return Source(root=table.parent, files=list(items.values()), problems=problems, told=table.name)


def names_a_clip(row: Mapping[str, Any]) -> bool:
    """Whether a row has a column that says which clip it is about."""
    return any(row.get(column) not in (None, "") for column in PATHS + IDS)


def is_table(file: Path) -> bool:
    """Whether the first row of a file names a clip."""
    try:
        first = next(iter(_rows(file)), None)
    except InputError:
        return False
    return first is not None and isinstance(first[1], dict) and names_a_clip(first[1])


class _Files:
    """Video files by name, and by what they are called without folder and ending."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = set(names)
        self.stems: dict[str, list[str]] = {}
        for name in self.names:
            base = PurePosixPath(name)
            for key in {base.stem, base.name}:
                self.stems.setdefault(key, []).append(name)

    def called(self, word: str) -> str | None:
        """The file with this name, None if there is none; raises `ValueError` where there are several."""
        if word in self.names:
            return word
        found = sorted(self.stems.get(word, []))
        if len(found) > 1:
            raise ValueError(f"{len(found)} files are called {word}: {found[0]}, {found[1]}")
        return found[0] if found else None


def _item(root: Path, row: Mapping[str, Any], files: _Files) -> Item:
    """The clip of a row; raises `ValueError` with what is wrong."""
    span = _span(row)
    words = [text_of(row[column]) for column in PATHS if isinstance(row.get(column), str)]
    ids = [text_of(row[column]) for column in IDS if row.get(column) not in (None, "")]
    # Kinetics' files are cut to the row's seconds, and called so.
    trimmed = [f"{word}_{int(span[0]):06d}_{int(span[1]):06d}" for word in ids] if span is not None else []
    for word in [*words, *trimmed, *ids]:
        name = files.called(PurePosixPath(word).as_posix())
        if name is not None:
            break
        if PurePosixPath(word).is_absolute() and Path(word).is_file():  # as `data curate` names parts of other files
            name = word
            break
    else:
        raise ValueError(f"there is no video file {(words or trimmed or ids or ['of such a name'])[0]} below {root}")
    # A clip's own id names a file that was cut already; a video's does not.
    if word in trimmed or text_of(row.get("clip_id")) in (word, PurePosixPath(name).name):
        span = None
    label = bounded(next((text_of(row[column]) for column in LABELS if row.get(column) is not None), ""))
    captions = _captions(row) or ((spoken(label),) if label else ())
    return Item(
        name if span is None else f"{name} ({span[0]:g}-{span[1]:g} s)",
        VideoFile(root / name),
        captions,
        label,
        text_of(row.get("identity")),
        text_of(row.get("action")),
        split_called(text_of(row.get("split"))),
        span,
    )


def _captions(row: Mapping[str, Any]) -> tuple[str, ...]:
    value = next((row[column] for column in CAPTIONS if row.get(column) != [] and text_of(row.get(column))), None)
    return texts_of(value)


def _span(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """Seconds from and to, None where the row says nothing; raises `ValueError`."""
    pair = row.get("span")
    if pair is None:
        pair = next(([row[a], row[b]] for a, b in _SPANS if row.get(a) is not None and row.get(b) is not None), None)
    if pair is None:
        return None
    if not isinstance(pair, (list, tuple)) or len(pair) != 2:
        raise ValueError(f"its span is {str(pair)[:60]}; it must be two times")
    start, end = (_seconds(each) for each in pair)
    if not 0 <= start < end < 1e7:
        raise ValueError(f"its span is {str(pair)[:60]}; the first time must be before the second")
    return start, end


def _seconds(value: Any) -> float:
    """Seconds of a number, "12.5" or "00:01:02.500"."""
    match = re.fullmatch(r"(?:(?:(\d{1,9}):)?(\d{1,9}):)?(\d{1,9}(?:\.\d*)?)", str(value).strip())
    if not match:
        raise ValueError(f"{str(value)[:40]!r} is not a time; it must be seconds, or hours:minutes:seconds")
    hours, minutes, seconds = match.groups()
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)


def _parts(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The clips of a row: those of its list `clip` (HD-VILA), else itself."""
    clips = row.get("clip")
    if not isinstance(clips, list):
        yield row
        return
    for clip in clips:
        yield {
            **{key: value for key, value in row.items() if key != "clip"},
            **(clip if isinstance(clip, dict) else {}),
        }


def _rows(table: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    if table.suffix.lower() == ".parquet":
        parquet = require("pyarrow.parquet", extra="datasets")
        try:
            check_regular(table)
            rows = parquet.read_table(table).to_pylist()
        except (OSError, ValueError, NotImplementedError, MemoryError) as error:  # what Arrow raises are kinds of these
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f'table "{table}" cannot be read: {getattr(error, "strerror", None) or first}') from error
        yield from enumerate(rows, start=1)
    elif table.suffix.lower() == ".json":
        try:
            check_regular(table)
            content = parse_json(table.read_bytes(), nan_is_null=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f'table "{table}" cannot be read: {reason}') from error
        yield from enumerate(_listed(content), start=1)
    else:
        yield from rows_of(table)


def _listed(content: Any) -> Iterator[dict[str, Any] | str]:
    """The rows of a json file: a list, or MSR-VTT's `videos` and `sentences`."""
    if isinstance(content, dict) and isinstance(content.get("videos"), list):
        said: dict[str, list[str]] = {}
        for sentence in content.get("sentences") or []:
            if isinstance(sentence, dict):
                said.setdefault(text_of(sentence.get("video_id")), []).append(text_of(sentence.get("caption")))
        for video in content["videos"]:
            if not isinstance(video, dict):
                yield "it is no JSON object"
                continue
            # Its start and end say where the clip was cut from; the files are the clips. Its category is a number.
            kept = {key: video[key] for key in ("video_id", "split") if key in video}
            yield {**kept, "captions": said.get(text_of(video.get("video_id")), [])}
    elif isinstance(content, list):
        yield from (row if isinstance(row, dict) else "it is no JSON object" for row in content)
