"""Clips in tar shards, as the webdataset package lays them out.

Members whose names agree up to the first dot are one clip: a video (`KEY.mp4`) or pictures
(`KEY.png`, or frames `KEY.000000.png`, ...), beside them `KEY.json` (a row with `text` and the
other columns of a metadata table), `KEY.txt` (a caption) or `KEY.cls` (a class). Videos are read
where they lie; nothing is unpacked.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from videofusion.data.items import Item, split_called
from videofusion.data.layouts.metadata import bounded, number_in, text_of, texts_of
from videofusion.errors import InputError, printable
from videofusion.files import check_regular, parse_json
from videofusion.video.decode import VideoFile
from videofusion.video.footage import PICTURE_ENDINGS, VIDEO_ENDINGS, Origin, Part, Remote
from videofusion.video.stills import Pictures, natural

INDEX = "index.json"
_TEXTS = (".json", ".txt", ".text", ".cls")
_MOST_TEXT = 16 * 2**20  # bytes of what is said of a clip
_MOST_CLIPS = 10**8  # of all shards of an index


def read_shard(path: Path, file: Path | Remote, name: str, problems: dict[str, str]) -> Iterator[Item]:
    """The clips of one shard; what is wrong with it goes to `problems`.

    Args:
        path: where it can be read now.
        file: what the clips' parts refer to.
        name: of the shard, for messages.
        problems: reason by name.
    """
    groups: dict[str, dict[str, Part]] = {}
    texts: dict[str, dict[str, bytes]] = {}
    wrong: dict[str, str] = {}
    try:
        check_regular(path)
        there = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isfile() or PurePosixPath(member.name).name.startswith("."):
                    continue
                key, field = _key(member.name)
                if member.issparse() or member.offset_data + member.size > there:
                    wrong[key] = f"{member.name} is said to have {member.size:,} bytes; the shard has {there:,}"
                elif _ending(field) in _TEXTS and member.size > _MOST_TEXT:
                    wrong[key] = f"{member.name} has {member.size:,} bytes; of a text at most {_MOST_TEXT:,} are read"
                elif _ending(field) in _TEXTS:
                    content = tar.extractfile(member)
                    texts.setdefault(key, {})[field] = content.read() if content else b""
                groups.setdefault(key, {})[field] = Part(file, member.offset_data, member.size, member.name)
        with path.open("rb") as whole:
            whole.seek(-512, 2)
            if whole.read().strip(b"\0"):
                problems[name] = "truncated: its end mark is missing; the clips that are whole count"
    except (tarfile.TarError, OSError, ValueError, MemoryError, RecursionError) as error:  # headers may say anything
        reason = getattr(error, "strerror", None) or error or type(error).__name__
        problems[name] = f"truncated, or no tar without compression ({reason}); the clips that are whole count"
    for key, parts in groups.items():
        for clip, its_parts, its_texts in _clips(key, parts, texts.get(key, {})):
            try:
                if key in wrong:
                    raise ValueError(wrong[key])
                yield _item(f"{name}/{clip}", its_parts, its_texts)
            except ValueError as error:
                problems[f"{name}/{clip}"] = str(error)


def read_index(path: Path) -> tuple[list[tuple[str, int, int]], tuple[str, ...]]:
    """The shards of an `index.json` in the format of webdataset's wids: address, number of clips, bytes (or 0).

    Beside them the words of all captions, where it names them (`convert` does).

    Raises:
        InputError: a file of another kind.
    """
    try:
        check_regular(path)
        content = parse_json(path.read_bytes())
        shards = [
            (str(shard["url"]), int(shard["nsamples"]), int(shard.get("filesize", 0))) for shard in content["shardlist"]
        ]
        words = tuple(map(str, content.get("words", ())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise InputError(f'"{path}" is not an index of shards: it needs a "shardlist" with url and nsamples') from error
    if not shards:
        raise InputError(f'"{path}" lists no shard')
    for url, count, size in shards:
        if count < 0 or size < 0 or "\0" in url:
            raise InputError(f'"{path}" says that {printable(url)[:80]} has {count:,} clips in {size:,} bytes')
    if (total := sum(count for _, count, _ in shards)) > _MOST_CLIPS:
        raise InputError(f'"{path}" lists {total:,} clips; at most {_MOST_CLIPS:,} are read')
    return shards, words


def _clips(
    key: str, parts: dict[str, Part], texts: dict[str, bytes]
) -> Iterator[tuple[str, dict[str, Part], dict[str, bytes]]]:
    """The clips of a group: several, where their names have dots (`a.1.mp4`, `a.2.mp4`), each with its own texts.

    A text belongs to the video of its name up to the last dot, else to all of the group.
    """
    videos = [field for field in parts if _ending(field) in VIDEO_ENDINGS]
    shared = {field: content for field, content in texts.items() if field in _TEXTS}
    if len(videos) < 2:
        stem = videos[0].rpartition(".")[0] if videos else ""
        own = {_ending(field): content for field, content in texts.items() if field == stem + _ending(field)}
        yield key, parts, shared | own
        return
    for video in videos:
        stem = video.rpartition(".")[0]
        own = {_ending(field): content for field, content in texts.items() if field == stem + _ending(field)}
        yield key + stem, {_ending(video): parts[video]}, shared | own


def _item(name: str, parts: dict[str, Part], texts: dict[str, bytes]) -> Item:
    """The clip of a group of members; raises `ValueError` with what is wrong."""
    row = _row(texts)
    captions = texts_of(next((row[key] for key in ("text", "caption") if row.get(key)), None))
    videos = [field for field in parts if _ending(field) in VIDEO_ENDINGS]
    pictures = sorted((field for field in parts if _ending(field) in PICTURE_ENDINGS), key=natural)
    origin: Origin
    if len(videos) == 1 and not pictures:
        origin = VideoFile(parts[videos[0]])
    elif pictures and not videos:
        fps = number_in(row.get("fps"))
        if fps is None:
            raise ValueError(f"its fps is {str(row['fps'])[:40]}; it must be a number above 0")
        origin = Pictures(tuple(parts[field] for field in pictures), fps)
    else:
        raise ValueError(f"there must be one video, or pictures, but there are {', '.join(parts)}")
    label, identity, action = (bounded(text_of(row.get(key))) for key in ("label", "identity", "action"))
    name = text_of(row.get("file_name")) or name + (videos[0] if videos else "")
    if name.startswith("/") or "\\" in name or ".." in PurePosixPath(name).parts:
        raise ValueError(f"it is called {name[:200]}, which is not a path below a folder")
    return Item(name, origin, captions, label, identity, action, split_called(text_of(row.get("split"))))


def _row(texts: dict[str, bytes]) -> dict[str, Any]:
    """What the members beside a video say."""
    row: dict[str, Any] = {}
    try:
        if ".json" in texts:
            row = parse_json(texts[".json"], nan_is_null=True)
        for field, key in ((".txt", "text"), (".text", "text"), (".cls", "label")):
            if field in texts:
                row.setdefault(key, texts[field].decode("utf-8-sig"))
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"its text cannot be read: {error}") from error
    if not isinstance(row, dict):
        raise ValueError("its json is not an object")
    return row


def _key(name: str) -> tuple[str, str]:
    """What a member's name has before and from the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    stem, dot, field = base.partition(".")
    return f"{folder}{slash}{stem}", (dot + field).lower()


def _ending(field: str) -> str:
    return "." + field.rpartition(".")[2]
