"""Tables of the result: `clips.parquet` with everything about all clips, `metadata.jsonl` to train on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videofusion.curation.stage import BAD, KEY, Row, Stage
from videofusion.curation.store import write_table

# What captioners said, behind what the source says: each training clip draws one of them.
SPOKEN = ("caption", "caption_video", "caption_middle")


def write_clips_table(path: Path, clips: Sequence[Row], stages: Sequence[Stage], written: bool) -> None:
    """A row for each clip, kept or not; embeddings stay in their own file.

    Raises:
        RunError: the disk is full.
    """
    types = {**KEY, "place": "string", "start": "double", "end": "double", "seconds": "double", "frames": "double"}
    types["captions"] = "list<string>"
    for stage in stages:
        types |= {name: kind for name, kind in stage.columns.items() if not kind.startswith("list<float")}
    types |= {"kept": "bool_", "why": "list<string>", BAD: "string"}
    if written:
        types["written"] = "string"
    write_table(path, types, [{name: clip[name] for name in types} for clip in clips], {})


def write_metadata(path: Path, clips: Sequence[Row], folder: str | None) -> None:
    """The clips that are kept, in the Hub's video-folder layout.

    Args:
        path: of the file.
        clips: all of them.
        folder: beside it, with a file for each; None where rows are to name parts of the source's files.

    Raises:
        RunError: the disk is full.
    """
    from videofusion.files import write_whole

    rows = [_row(clip, folder) for clip in clips if clip["kept"]]
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "replace"))


def _row(clip: Row, folder: str | None) -> dict[str, Any]:
    said = list(dict.fromkeys([*clip["captions"], *(clip[name] for name in SPOKEN if clip.get(name))]))
    row: dict[str, Any] = {"file_name": clip["place"] if folder is None else f"{folder}/{clip['written']}"}
    if folder is None:
        row |= {"start": clip["start"], "end": clip["end"]}
    return row | {"text": said if len(said) > 1 else "".join(said)}
