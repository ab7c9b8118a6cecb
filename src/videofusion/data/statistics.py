"""What a folder of videos holds, in some lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from videofusion.data.checking import for_each_file
from videofusion.data.items import Item, Source
from videofusion.data.layouts.detection import open_source
from videofusion.video.decode import Video, VideoFile
from videofusion.video.footage import Data, Excerpt, Footage, Unreadable, byte_count

_MOST = 8  # lines of a histogram


def folder_report(path: str | Path, layout: str = "auto") -> str:
    """Count a folder's videos: sizes, rates, lengths, codecs, captions, and what cannot be opened.

    One picture of each is decoded; `check_folder` decodes all.

    Raises:
        InputError: nothing that can be read as clips.
    """
    source = open_source(path, layout)
    items = list(source.files)
    opened = dict(zip((item.name for item in items), for_each_file(items, _open), strict=True))
    videos = [footage for footage in opened.values() if not isinstance(footage, str)]
    bad = source.problems | {name: reason for name, reason in opened.items() if isinstance(reason, str)}
    files = {item.origin.data for item in items if isinstance(item.origin, VideoFile)}
    size = sum(map(_bytes, files))
    lines = [f"{source.root}: {len(items)} videos" + (f", {size / 1e6:.1f} MB" if files else "")]
    if videos:
        lines += [
            f"length    {_spread([len(video) for video in videos], 'frames', '.0f')}",
            f"          {_spread([float(video.seconds) for video in videos], 's', '.2f')}",
            f"          {sum(video.seconds for video in videos):.1f} s in all",
            *_histogram("size", (f"{video.width}x{video.height}" for video in videos)),
            *_histogram("rate", (f"{video.fps:.3g} per second" if video.fps else "not said" for video in videos)),
            *_histogram("codec", (video.codec if isinstance(video, Video) else "pictures" for video in videos)),
            *_histogram("unusual", (each for video in videos for each in _traits(video))),
        ]
    lines += _captions(source)
    if source.passed:
        by_ending = ", ".join(f"{count} {ending}" for ending, count in source.passed.items())
        lines.append(f"not read  {sum(source.passed.values())} files of other kinds: {by_ending}")
    lines += [f"bad       {len(bad)}", *(f"          {name}: {reason}" for name, reason in sorted(bad.items()))]
    return "\n".join(lines)


def _bytes(file: Data) -> int:
    try:
        return byte_count(file)
    except OSError:  # it is among those that cannot be opened
        return 0


def _open(item: Item) -> Footage | str:
    try:
        return item.open()
    except Unreadable as error:
        return str(error)


def _traits(footage: Footage) -> tuple[str, ...]:
    whole = footage.whole if isinstance(footage, Excerpt) else footage
    return whole.traits if isinstance(whole, Video) else ()


def _spread(values: list[int] | list[float], unit: str, form: str) -> str:
    low, middle, high = (format(value, form) for value in (min(values), float(np.median(values)), max(values)))
    return f"{low} to {high} {unit}, median {middle}"


def _histogram(title: str, values: Iterable[str]) -> list[str]:
    counts = Counter(values).most_common()
    lines = [f"{count:6d}  {value}" for value, count in counts[:_MOST]]
    if len(counts) > _MOST:
        lines.append(f"{sum(count for _, count in counts[_MOST:]):6d}  {len(counts) - _MOST} others")
    return [f"{title if number == 0 else '':<10}{line}" for number, line in enumerate(lines)]


def _captions(source: Source) -> list[str]:
    captions = [caption for caption in source.captions.values() if caption]
    if not captions:
        return ["captions  none"]
    words = Counter(word.strip('.,;:!?"').lower() for caption in captions for word in caption.split())
    lengths = [len(caption.split()) for caption in captions]
    return [
        f"captions  for {len(captions)} videos, {len(set(captions))} different, from {source.told}",
        f"          {_spread(lengths, 'words', '.0f')}; {len(words)} different words",
        *_histogram("", captions),
    ]
