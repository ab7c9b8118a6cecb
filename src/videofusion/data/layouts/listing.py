"""Which clips a folder holds and what is said about them: video files, folders of frames, or pictures.

Captions come from `metadata.jsonl` or `metadata.csv`, else from lists or text files beside the clips, else from the
names of class folders, else there are none. The parts for training and test come from the table's `split`, else from
split files, else from folders at the top that are called so. What does not fit together is listed, not guessed.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from videofusion.data.items import Item, Source
from videofusion.data.layouts.metadata import METADATA, Row, read_metadata
from videofusion.data.layouts.sidecars import caption_in, read_lists, sidecars
from videofusion.data.splits import folder_splits, is_split_file, read_splits
from videofusion.errors import InputError
from videofusion.video.decode import VideoFile
from videofusion.video.footage import PICTURE_ENDINGS, VIDEO_ENDINGS, Origin
from videofusion.video.stills import Pictures

# Names of folders that say what kind of files they hold.
_PLACES = {"videos", "video", "clips", "images", "pictures", "frames", "files", "data"}


def list_videos(path: str | Path, fold: int = 1) -> Source:
    """List a folder of video files, with all that is below it; or one video file, with what lies beside it.

    Raises:
        InputError: neither, no video file in it, or no such fold.
    """
    place = Path(path).expanduser()
    if place.is_file() and place.suffix.lower() in VIDEO_ENDINGS:
        return _one_video(place)
    root, files = files_below(path)
    names = [name for name in files if _ending(name) in VIDEO_ENDINGS]
    if not names:
        raise InputError(f'data "{path}" contains no video; known endings are {", ".join(VIDEO_ENDINGS)}')
    return _described(root, files, names, fold, lambda name, row: VideoFile(root / name), classes=True)


def _one_video(place: Path) -> Source:
    """A video file, which is in no part: its row in a table beside it, or the text file beside it, is its caption."""
    root, name = place.parent, place.name
    names = sorted(each.name for each in root.iterdir() if each.is_file() and not each.name.startswith("."))
    rows: dict[str, Row] = {}
    problems: dict[str, str] = {}
    tables = [each for each in names if each in METADATA]
    for table in tables:
        read_metadata(root / table, root, set(names), rows, problems)
    row, told = rows.get(name), ", ".join(tables)
    text = sidecars(names, [name]).get(name)
    if row is None and text is not None:
        try:
            row, told = Row(caption_in(root / text)), text
        except ValueError as error:
            problems[name] = str(error)
    row = row or Row()
    item = Item(name, VideoFile(place), row.captions, row.label, row.identity, row.action)
    reason = {name: problems[name]} if name in problems else {}
    return Source(root=root, files=[item], problems=reason, told=told if row.captions else "none")


def list_frames(path: str | Path, fold: int = 1) -> Source:
    """List a folder of folders of frames: each folder with pictures in it is a clip, in the order of their numbers.

    The folders' names are no captions: above a clip there is as often the video that it was cut
    from (Sky Time-lapse) or a block of numbers (BAIR) as a class.

    Raises:
        InputError: no folder, no picture in it, or no such fold.
    """
    root, files = files_below(path)
    names = sorted({_parent(name) for name in files if _ending(name) in PICTURE_ENDINGS})
    if not names:
        raise InputError(f'data "{path}" contains no picture; known endings are {", ".join(PICTURE_ENDINGS)}')

    def origin(name: str, row: Row) -> Origin:
        return Pictures(root / name, row.fps)

    return _described(root, files, names, fold, origin, classes=False)


def list_images(path: str | Path, fold: int = 1) -> Source:
    """List a folder of pictures: each is a clip of one frame.

    Raises:
        InputError: no folder, no picture in it, or no such fold.
    """
    root, files = files_below(path)
    names = [name for name in files if _ending(name) in PICTURE_ENDINGS]
    if not names:
        raise InputError(f'data "{path}" contains no picture; known endings are {", ".join(PICTURE_ENDINGS)}')
    return _described(root, files, names, fold, lambda name, row: Pictures((root / name,)), classes=True)


def files_below(path: str | Path) -> tuple[Path, list[str]]:
    """A folder, and the names (paths below it, with "/") of all files in it that are not hidden, in order.

    Raises:
        InputError: no folder, or one that cannot be listed.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise InputError(f'data "{path}" is not a folder; it must be a folder with videos')
    names = []
    try:
        for place, folders, files in os.walk(root, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            above = Path(place).relative_to(root)
            names += [(above / name).as_posix() for name in files if not name.startswith(".")]
    except OSError as error:
        raise InputError(f'data "{path}" cannot be listed: {error.strerror or error}') from error
    return root, sorted(names)


def spoken(label: str) -> str:
    """The name of a class as words: "waving_one_hand", "ApplyEyeMakeup"."""
    return " ".join(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label.replace("_", " ")).split())


def _described(
    root: Path, files: list[str], names: list[str], fold: int, origin: Callable[[str, Row], Origin], *, classes: bool
) -> Source:
    """The clips of these names, with what tables, split files and folders say of them."""
    rows: dict[str, Row] = {}
    tables = [root / name for name in files if _base(name) in METADATA]
    by_folder = folder_splits(names)
    lists = [name for name in files if is_split_file(_base(name))]
    by_file, problems = read_splits((root / name for name in lists), names, fold)
    known = set(names)
    for table in tables:
        read_metadata(table, root, known, rows, problems)
    told = [table.relative_to(root).as_posix() for table in tables] or list(
        read_lists(root, files, known, rows, problems)
    )
    if told:
        for name in names:
            if name not in rows and name not in problems:
                problems[name] = f"no caption: there is no row for it in {', '.join(told)}"
    beside = {} if told else sidecars(files, names)
    for name, text in beside.items():
        try:
            rows[name] = Row(caption_in(root / text))
        except ValueError as error:
            problems[name] = str(error)
    labels = {name: _class_of(name, below_split=name in by_folder) for name in names} if classes and not told else {}
    only = set(labels.values()) - {""}
    if len(only) == 1 and not by_folder and (only <= _PLACES or _ending(names[0]) in VIDEO_ENDINGS):
        labels = {}  # where all are in one folder, it is where they are kept, and no class
    items = []
    for name in names:
        label = labels.get(name, "")
        row = rows.get(name, Row()) if told else _with_class(rows.get(name, Row()), label)
        split = row.split or by_file.get(name) or by_folder.get(name, "")
        items.append(Item(name, origin(name, row), row.captions, row.label, row.identity, row.action, split))
    used = {*names, *told, *lists, *beside.values()}
    by = [*told, *([f"text files beside {len(beside)} of {len(names)}"] if beside else [])]
    if any(item.label for item in items) and not told:
        by.append("the folders' names")
    return Source(
        root=root,
        files=items,
        problems=dict(sorted(problems.items())),
        told=", ".join(by) or "none",
        passed=_passed(name for name in files if name not in used and _parent(name) not in used),
    )


def _with_class(row: Row, label: str) -> Row:
    return row._replace(captions=row.captions or ((spoken(label),) if label else ()), label=label)


def _passed(names: Iterable[str]) -> dict[str, int]:
    return dict(Counter(_ending(name) or "no ending" for name in names).most_common())


def _class_of(name: str, below_split: bool) -> str:
    above = PurePosixPath(name).parent.parts[1 if below_split else 0 :]
    return above[-1] if above else ""


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _parent(name: str) -> str:
    return name.rpartition("/")[0] or "."


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _raise(error: OSError) -> None:
    raise error
