"""Captions in text files beside the clips, as trainers of image and video models lay them out.

`a.txt` (or `a.caption`) beside `a.mp4`, or in a folder `labels` or `captions` there or beside the clips' folder; or two
lists whose lines belong together, `prompt.txt` and `videos.txt`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from videofusion.data.layouts.metadata import MOST_SAID, Row, texts_of
from videofusion.video.footage import PICTURE_ENDINGS, VIDEO_ENDINGS

_ENDINGS = (".txt", ".caption")
_FOLDERS = ("labels", "captions")
_LISTS = ("prompt.txt", "prompts.txt", "captions.txt")
_VIDEOS = "videos.txt"
# Of a text beside a clip: more than a caption has that is taken.
_MOST_BYTES = 2**20


def sidecars(files: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """The file with a clip's caption by the clip's name, for those that have one.

    Args:
        files: all that is below a folder.
        names: of the clips in it: videos, pictures or folders of frames.
    """
    there = set(files)
    found = {}
    for name in names:
        text = next((each for each in _candidates(name) if each in there), None)
        if text is not None:
            found[name] = text
    return found


def caption_in(file: Path) -> tuple[str, ...]:
    """What a text file says, as one caption; raises `ValueError` with what is wrong."""
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise ValueError(f"its caption {file.name} is no file")
        if size > _MOST_BYTES:
            raise ValueError(f"its caption {file.name} has {size:,} bytes; {MOST_SAID}")
        return texts_of(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"its caption {file.name} cannot be read: {error}") from error


def read_lists(
    root: Path, files: Iterable[str], known: set[str], rows: dict[str, Row], problems: dict[str, str]
) -> tuple[str, ...]:
    """Add to `rows` what pairs of lists say: line n of the captions belongs to line n of `videos.txt`.

    Returns:
        The lists that were read.
    """
    there = set(files)
    read = []
    for videos in sorted(name for name in there if PurePosixPath(name).name == _VIDEOS):
        folder = PurePosixPath(videos).parent
        captions = next((each for each in ((folder / name).as_posix() for name in _LISTS) if each in there), None)
        if captions is None:
            problems[videos] = f"no captions were taken: there is none of {', '.join(_LISTS)} beside it"
            continue
        try:
            clips, texts = (_lines(root / file) for file in (videos, captions))
        except (OSError, UnicodeDecodeError) as error:
            problems[videos] = f"no captions were taken: {error}"
            continue
        while clips and not clips[-1]:
            clips.pop()
        while len(texts) > len(clips) and not texts[-1]:
            texts.pop()
        if len(clips) != len(texts):
            problems[videos] = f"no captions were taken: it has {len(clips)} lines, {captions} {len(texts)}"
            continue
        read += [captions, videos]
        for number, (clip, text) in enumerate(zip(clips, texts, strict=True), start=1):
            name = (folder / clip).as_posix()
            if name not in known:
                problems[f"{videos}, line {number}"] = f'there is no video "{clip}"'
            elif name in rows:
                problems[f"{videos}, line {number}"] = f"a second caption for {name}; the first one counts"
            else:
                try:
                    rows[name] = Row(texts_of(text))
                except ValueError as error:
                    problems[name] = f"{error} in {captions}, line {number}"
    return tuple(read)


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        raise OSError(f"{file.name} is no file")
    text = file.read_text(encoding="utf-8-sig").removesuffix("\n")
    return [line.strip() for line in text.split("\n")]


def _candidates(name: str) -> Iterable[str]:
    """Where a clip's caption may be."""
    path = PurePosixPath(name)
    # A folder of frames may have a dot in its name.
    stem = path.stem if path.suffix.lower() in (*VIDEO_ENDINGS, *PICTURE_ENDINGS) else path.name
    folders = [path.parent]
    for above in (path.parent, path.parent.parent):
        folders += [above / folder for folder in _FOLDERS]
    for folder in folders:
        for ending in _ENDINGS:
            yield (folder / (stem + ending)).as_posix()
