"""Clips from the `datasets` package: a table with a video column, local or from the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videofusion.data.items import Item, Source, split_called
from videofusion.data.layouts.metadata import text_of, texts_of
from videofusion.data.layouts.tables import CAPTIONS, LABELS
from videofusion.errors import InputError, require
from videofusion.files import check_regular
from videofusion.video.decode import VideoFile

_VIDEOS = ("video", "clip", "mp4")


@dataclass(frozen=True, eq=False)
class Cell:
    """The video of one row, as bytes."""

    table: Any
    number: int
    name: str

    def read_bytes(self) -> bytes:
        return _bytes(self.table[self.number]["video"])


def list_dataset(path: str | Path, fold: int = 1) -> Source:
    """The rows of a dataset that `save_to_disk` wrote, or of one on the Hub by its name.

    Raises:
        InputError: no such dataset, or no video in it.
    """
    datasets = require("datasets", extra="datasets")
    if fold != 1:
        raise InputError(f"fold is {fold}; it must be 1, as a dataset names its splits")
    try:
        local = Path(path).expanduser().exists()
        loaded = datasets.load_from_disk(str(path)) if local else datasets.load_dataset(str(path))
    except (OSError, ValueError, ConnectionError) as error:
        raise InputError(f'dataset "{path}" cannot be loaded: {" ".join(str(error).split())}') from error
    return of_dataset(loaded, Path(path))


def of_dataset(loaded: Any, path: Path = Path(".")) -> Source:
    """The rows of a `datasets.Dataset`, or of all splits of a `DatasetDict`.

    Args:
        loaded: with a column "video" (or "clip", "mp4") of videos, or of their bytes or paths.
        path: where it is from, for messages.

    Raises:
        InputError: no such column.
    """
    datasets = require("datasets", extra="datasets")
    items: list[Item] = []
    problems: dict[str, str] = {}
    for split, table in loaded.items() if isinstance(loaded, dict) else [("", loaded)]:
        column = next((name for name in _VIDEOS if name in table.column_names), None)
        if column is None:
            raise InputError(f'dataset "{path}" has the columns {", ".join(table.column_names)}; a "video" is needed')
        if column != "video":
            table = table.rename_column(column, "video")
        if isinstance(table.features["video"], datasets.Video):  # we decode, and name what is damaged
            table = table.cast_column("video", datasets.Video(decode=False))
        told = [name for name in (*CAPTIONS, *LABELS) if name in table.column_names]
        said = table.select_columns(told) if told else None
        features, videos = table.features, table.select_columns(["video"])
        for number in range(len(table)):
            row = said[number] if said is not None else {}
            label = next((_class(features[name], row[name]) for name in LABELS if row.get(name) is not None), "")
            name = f"{split or 'row'}[{number}]"
            try:
                captions = texts_of(next((row[each] for each in CAPTIONS if row.get(each)), None)) or texts_of(label)
            except ValueError as error:
                problems[name] = str(error)
                continue
            origin = VideoFile(Cell(videos, number, name + ".mp4"))
            items.append(Item(name, origin, captions, label, split=split_called(split)))
    if not items:
        raise InputError(f'dataset "{path}" has no row')
    return Source(root=path, files=items, problems=problems, told="the dataset's columns")


def _class(feature: Any, value: Any) -> str:
    """A class by its name, where the dataset stores its number."""
    return str(feature.int2str(value)) if hasattr(feature, "int2str") else text_of(value)


def _bytes(video: Any) -> bytes:
    if isinstance(video, bytes):
        return video
    if isinstance(video, str):
        check_regular(video)
        return Path(video).read_bytes()
    if isinstance(video, dict) and video.get("bytes"):
        return bytes(video["bytes"])
    if isinstance(video, dict) and video.get("path"):
        check_regular(video["path"])
        return Path(video["path"]).read_bytes()
    raise OSError("the row has no video")
