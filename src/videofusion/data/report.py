"""What a folder of videos holds, in some lines of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from videofusion.data.check import for_each_file
from videofusion.data.decode import Unreadable, Video, open_video
from videofusion.data.listing import Listing, list_videos

_MOST = 8  # lines of a histogram


def folder_report(path: str | Path) -> str:
    """Count a folder's videos: sizes, rates, lengths, codecs, captions, and what cannot be opened.

    No picture is decoded; `check_folder` does that.

    Raises:
        InputError: no folder, or no video file in it.
    """
    listing = list_videos(path)
    opened = dict(
        zip(listing.files, for_each_file([listing.root / name for name in listing.files], _open), strict=True)
    )
    videos = [video for video in opened.values() if isinstance(video, Video)]
    bad = listing.problems | {name: video for name, video in opened.items() if isinstance(video, str)}
    size = sum((listing.root / name).stat().st_size for name in listing.files)
    lines = [f"{listing.root}: {len(listing.files)} videos, {size / 1e6:.1f} MB"]
    if videos:
        lines += [
            f"length    {_spread([len(video) for video in videos], 'frames', '.0f')}",
            f"          {_spread([video.seconds for video in videos], 's', '.2f')}",
            f"          {sum(video.seconds for video in videos):.1f} s in all",
            *_histogram("size", (f"{video.width}x{video.height}" for video in videos)),
            *_histogram("rate", (f"{video.fps:.3g} per second" for video in videos)),
            *_histogram("codec", (video.codec for video in videos)),
        ]
    lines += _captions(listing)
    lines += [f"bad       {len(bad)}", *(f"          {name}: {reason}" for name, reason in sorted(bad.items()))]
    return "\n".join(lines)


def _open(file: Path) -> Video | str:
    try:
        return open_video(file)
    except Unreadable as error:
        return str(error)


def _spread(values: list[int] | list[float], unit: str, form: str) -> str:
    low, middle, high = (format(value, form) for value in (min(values), float(np.median(values)), max(values)))
    return f"{low} to {high} {unit}, median {middle}"


def _histogram(title: str, values: Iterable[str]) -> list[str]:
    counts = Counter(values).most_common()
    lines = [f"{count:6d}  {value}" for value, count in counts[:_MOST]]
    if len(counts) > _MOST:
        lines.append(f"{sum(count for _, count in counts[_MOST:]):6d}  {len(counts) - _MOST} others")
    return [f"{title if number == 0 else '':<10}{line}" for number, line in enumerate(lines)]


def _captions(listing: Listing) -> list[str]:
    captions = [caption for caption in listing.captions.values() if caption]
    if not captions:
        return ["captions  none"]
    words = Counter(word.strip('.,;:!?"').lower() for caption in captions for word in caption.split())
    lengths = [len(caption.split()) for caption in captions]
    return [
        f"captions  for {len(captions)} videos, {len(set(captions))} different, from {listing.source}",
        f"          {_spread(lengths, 'words', '.0f')}; {len(words)} different words",
        *_histogram("", captions),
    ]
