"""Which part of a data set a clip belongs to, from its split files or folders.

UCF101 has `trainlist01.txt` and `testlist01.txt` (to 03), whose lines are "Class/name.avi" with
or without the class's number; HMDB51 has `CLASS_test_split1.txt` (to 3), whose lines are a file
name and 1 (training), 2 (test) or 0 (neither).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from videofusion.data.items import UNUSED, split_called
from videofusion.errors import InputError
from videofusion.files import check_regular
from videofusion.video.footage import PICTURE_ENDINGS, VIDEO_ENDINGS

_UCF = re.compile(r"(train|test)list0*(\d+)\.txt")
_HMDB = re.compile(r"(.+)_test_split(\d+)\.txt")
_HMDB_PARTS = {"0": UNUSED, "1": "train", "2": "test"}


def is_split_file(name: str) -> bool:
    """Whether a file's name is one of those above."""
    return bool(_UCF.fullmatch(name) or _HMDB.fullmatch(name))


def read_splits(files: Iterable[Path], names: Iterable[str], fold: int) -> tuple[dict[str, str], dict[str, str]]:
    """What the split files say.

    Args:
        files: the split files.
        names: of the clips, class folder and name at their end.
        fold: which of the divisions.

    Returns:
        Split by name, and reason by name for what does not fit together.

    Raises:
        InputError: there are no files of this fold, or one that cannot be read.
    """
    by_fold: dict[int, list[Path]] = {}
    for file in files:
        match = _UCF.fullmatch(file.name) or _HMDB.fullmatch(file.name)
        if match:
            by_fold.setdefault(int(match.group(2)), []).append(file)
    if fold not in by_fold:
        if not by_fold and fold == 1:
            return {}, {}
        allowed = ", ".join(map(str, sorted(by_fold))) or "1, as the data have no split files"
        raise InputError(f"fold is {fold}; it must be one of {allowed}")
    at_hand = {_key(name): name for name in names}
    splits: dict[str, str] = {}
    problems: dict[str, str] = {}
    for file in sorted(by_fold[fold]):
        missing = []
        for key, split in _lines(file):
            name = at_hand.get(key)
            if name is None:
                missing.append(key)
            elif splits.setdefault(name, split) != split:
                problems[name] = f"it is in {splits[name]} and in {split} of fold {fold}"
        if missing:
            problems[file.name] = f"{len(missing)} of the clips that it names are not there, the first is {missing[0]}"
    for name in at_hand.values():
        if name not in splits:
            problems[name] = f"no split file of fold {fold} names it"
    return splits, problems


def folder_splits(names: Iterable[str]) -> dict[str, str]:
    """Split by name where all folders at the top are called train, test, sky_train, ..., else nothing."""
    tops = {name: split_called(name.split("/")[0]) if "/" in name else "" for name in names}
    return tops if all(tops.values()) else {}


def _lines(file: Path) -> list[tuple[str, str]]:
    """The key and the split of each clip that a file names."""
    try:
        check_regular(file)
        lines = [line.split() for line in file.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'split file "{file}" cannot be read: {getattr(error, "strerror", None) or error}') from error
    ucf, hmdb = _UCF.fullmatch(file.name), _HMDB.fullmatch(file.name)
    if ucf:
        return [(_key(words[0]), ucf.group(1)) for words in lines]
    assert hmdb is not None
    for words in lines:
        if len(words) != 2 or words[1] not in _HMDB_PARTS:
            raise InputError(f'split file "{file}" has the line "{" ".join(words)}"; it must be a file and 0, 1 or 2')
    return [(_key(f"{hmdb.group(1)}/{words[0]}"), _HMDB_PARTS[words[1]]) for words in lines]


def _key(name: str) -> str:
    """Class and clip, without an ending: clips may be encoded again, or be folders of frames."""
    path = PurePosixPath(name)
    known = path.suffix.lower() in VIDEO_ENDINGS + PICTURE_ENDINGS
    return f"{path.parent.name}/{path.stem if known else path.name}"
