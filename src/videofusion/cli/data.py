"""`videofusion data make`, `data check`, `data report` and `data convert`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from videofusion.errors import printable

if TYPE_CHECKING:
    from tqdm import tqdm

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
Place = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
Fetch = Annotated[str | None, tyro.conf.arg(metavar="HOW")]


def make(
    dataset: tyro.conf.Positional[Literal["moving-digits", "digits-over-photos"]],
    folder: Folder,
    *,
    count: int,
    frames: int = 16,
    size: int = 32,
    seed: int = 0,
    split: Literal["train", "val", "test"] = "train",
    two_digits: float = 0.25,
    fps: float = 8.0,
) -> None:
    """Write a folder of built-in clips: mp4 files and a metadata.jsonl with their captions.

    Args:
        dataset: which built-in clips
        folder: a new folder, or one that the same command started
        count: how many clips
        frames: frames per clip
        size: height and width in pixels
        seed: selects the clips
        split: whose handwriting; train and test share none
        two_digits: share of the clips with two digits, from 0 to 1
        fps: frames per second
    """
    from tqdm import tqdm

    from videofusion.digits.clip_files import write_folder
    from videofusion.digits.domain import GROUNDS_OF

    with tqdm(unit="clip", desc=dataset, leave=False) as bar:
        metadata = write_folder(
            folder,
            count,
            seed=seed,
            frames=frames,
            size=size,
            split=split,
            two_digits=two_digits,
            grounds=GROUNDS_OF[dataset],
            fps=fps,
            progress=show_on(bar),
        )
    print(f"{count} clips and {metadata}")


def check(folder: Folder, *, layout: str = "auto", frames: int = 2, fetch: Fetch = None) -> int:
    """Decode every video of a folder, and name each file that cannot be used, with the reason.

    The exit code is 1 if there are any.

    Args:
        folder: your folder of videos
        layout: how it is laid out; docs/data.md shows each
        frames: a video with fewer is too short
        fetch: allow an index.json to name shards elsewhere: https, or a command such as "aws s3 cp {} -"
    """
    from tqdm import tqdm

    from videofusion.data.addresses import fetching
    from videofusion.data.checking import check_folder

    with fetching(fetch), tqdm(unit="file", leave=False) as bar:
        bad = check_folder(folder, layout=layout, frames=frames, progress=show_on(bar))
    for name, reason in bad:
        print(printable(f"{name}: {reason}", line=True))
    return 1 if bad else 0


def report(folder: Folder, *, layout: str = "auto", fetch: Fetch = None) -> None:
    """Summarise a folder of videos: sizes, rates, lengths, codecs, captions, and files that cannot be opened.

    Args:
        folder: your folder of videos
        layout: how it is laid out; docs/data.md shows each
        fetch: allow an index.json to name shards elsewhere: https, or a command such as "aws s3 cp {} -"
    """
    from videofusion.data.addresses import fetching
    from videofusion.data.statistics import folder_report

    with fetching(fetch):
        print(printable(folder_report(folder, layout)))


def convert(
    source: Place, target: Folder, *, layout: str = "auto", shard_megabytes: float = 512.0, fetch: Fetch = None
) -> None:
    """Write tar shards from a folder or a table of clips, or a folder with a metadata.jsonl from shards.

    Files are copied byte for byte. Those that cannot be used are named and left out.

    Args:
        source: your clips
        target: a new folder
        layout: how the source is laid out; docs/data.md shows each
        shard_megabytes: size at which a new shard is started
        fetch: allow an index.json to name shards elsewhere: https, or a command such as "aws s3 cp {} -"
    """
    from tqdm import tqdm

    from videofusion.data.addresses import fetching
    from videofusion.data.convert import convert as convert_data

    with fetching(fetch), tqdm(unit="clip", leave=False) as bar:
        count, problems = convert_data(
            source, target, layout=layout, shard_bytes=int(shard_megabytes * 2**20), progress=show_on(bar)
        )
    for name, reason in sorted(problems.items()):
        print(printable(f"left out: {name}: {reason}", line=True))
    print(f"{count} clips in {target}")


def show_on(bar: tqdm[Any]) -> Callable[[int, int], None]:
    """A callback (done, total) that moves a progress bar."""

    def show(done: int, of: int) -> None:
        bar.total = of
        bar.update(done - bar.n)

    return show
