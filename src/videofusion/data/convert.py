"""From a folder to tar shards and back, with the same bytes and captions."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from videofusion.data.items import Item, reasons
from videofusion.data.layouts.detection import detect, open_source
from videofusion.data.layouts.shards import INDEX
from videofusion.errors import InputError, RunError
from videofusion.locking import FILE, locked
from videofusion.video.decode import VideoFile
from videofusion.video.footage import PICTURE_ENDINGS, Data, Unreadable, ending
from videofusion.video.stills import Pictures

Progress = Callable[[int, int], None]


def convert(
    source: str | Path,
    target: str | Path,
    *,
    layout: str = "auto",
    shard_bytes: int = 512 * 2**20,
    progress: Progress | None = None,
) -> tuple[int, dict[str, str]]:
    """Write shards from anything whose clips are files, or a folder with a metadata.jsonl from shards.

    The target is there with all that belongs in it, or not at all.

    Args:
        source: a folder, table or shards.
        target: a new folder.
        layout: of the source; see `layouts.open_source`.
        shard_bytes: a shard is closed once it holds so many.
        progress: called with (clips done, clips in all) after each clip.

    Returns:
        How many clips were written, and reason by name for those that were not.

    Raises:
        InputError: a source that is no files, or a target that is there.
        RunError: a file cannot be read or written.
    """
    place = Path(target).expanduser()
    if place.exists() and (not place.is_dir() or next(place.iterdir(), None) is not None):
        raise InputError(f'target is "{target}", which already exists; name a new folder')
    if shard_bytes < 1:
        raise InputError(f"shard_bytes is {shard_bytes}; it must be a whole number of at least 1")
    kind = detect(source)[0] if layout == "auto" else layout
    found = open_source(source, layout)
    items = list(found.items)
    for item in items:
        if not isinstance(item.origin, (VideoFile, Pictures)):
            raise InputError(f'data "{source}" contains no files to copy; a folder, a table or shards do')
        if item.span is not None:
            raise InputError(f"{item.name} is a part of a file by time; files are copied whole, so cut them first")
    if not items:
        raise InputError(f'data "{source}" contains no usable clip{reasons(found.problems)}')
    partial = place.with_name(f".{place.name}.part")
    with locked(partial, "folder"):
        try:
            for rest in partial.iterdir():  # of one that was killed
                if rest.is_dir():
                    shutil.rmtree(rest)
                elif rest.name != FILE:
                    rest.unlink()
            (_to_folder if kind == "shards" else _to_shards)(items, partial, shard_bytes, progress)
            if place.is_dir():
                place.rmdir()
            (partial / FILE).unlink()
            partial.rename(place)
        except (OSError, Unreadable) as error:
            raise RunError(f'"{target}" could not be written: {error}') from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return len(items), dict(found.problems)


def _to_shards(items: list[Item], place: Path, shard_bytes: int, progress: Progress | None) -> None:
    shards: list[dict[str, Any]] = []
    done = 0
    while done < len(items):
        path, began = place / f"{len(shards):06d}.tar", done
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            while done < len(items) and (done == began or tar.offset < shard_bytes):
                item = items[done]
                key = f"{done:09d}"
                text = json.dumps(_row(item), ensure_ascii=False).encode()
                parts = [(field, data.read_bytes()) for field, data in _fields(item)]
                for field, content in [(".json", text), *parts]:
                    member = tarfile.TarInfo(key + field)  # without times and owners: the same clips, the same bytes
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                done += 1
                if progress is not None:
                    progress(done, len(items))
        shards.append({"url": path.name, "nsamples": done - began, "filesize": path.stat().st_size})
    words = sorted({word for item in items for caption in item.captions for word in caption.split()})
    index = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": shards, "words": words}
    (place / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _to_folder(items: list[Item], place: Path, shard_bytes: int, progress: Progress | None) -> None:
    lines = []
    for number, item in enumerate(items):
        name = _safe(item.name)
        frames = isinstance(item.origin, Pictures) and not _is_image(item)
        for field, data in _fields(item):
            file = place / name / field.lstrip(".") if frames else place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data.read_bytes())
        lines.append(json.dumps({**_row(item), "file_name": name}, ensure_ascii=False) + "\n")
        if progress is not None:
            progress(number + 1, len(items))
    (place / "metadata.jsonl").write_text("".join(lines), encoding="utf-8")


def _fields(item: Item) -> list[tuple[str, Data]]:
    """The files of a clip, each with what its name ends in."""
    if isinstance(item.origin, VideoFile):
        return [(ending(item.origin.data), item.origin.data)]
    assert isinstance(item.origin, Pictures)
    pictures = item.origin.paths()
    if _is_image(item):
        return [(ending(pictures[0]), pictures[0])]
    return [(f".{number:06d}{ending(picture)}", picture) for number, picture in enumerate(pictures)]


def _is_image(item: Item) -> bool:
    """Whether a clip is a picture on its own rather than a folder of frames."""
    named = PurePosixPath(item.name).suffix.lower() in PICTURE_ENDINGS
    return named and isinstance(item.origin, Pictures) and len(item.origin.paths()) == 1


def _row(item: Item) -> dict[str, Any]:
    """What is known of a clip, as a row of a metadata table."""
    text: Any = list(item.captions) if len(item.captions) > 1 else item.caption
    row = {"file_name": item.name, "text": text, "label": item.label, "identity": item.identity}
    row |= {"action": item.action, "split": item.split, "fps": getattr(item.origin, "fps", 0)}
    return {key: value for key, value in row.items() if value or key == "text"}


def _safe(name: str) -> str:
    """A clip's name as a path below the target; shards come from anywhere."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or not path.parts:
        raise InputError(f'a clip is called "{name}", which is not a path in a folder')
    return path.as_posix()
