"""`videofusion data make`, `data check` and `data report`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from tqdm import tqdm

Folder = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]


def make(
    dataset: tyro.conf.Positional[Literal["moving-digits"]],
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
        dataset: which
        folder: a new folder, or one that the same command began
        count: how many clips
        frames: frames per clip
        size: height and width in pixels
        seed: chooses the clips
        split: which digits to draw with; those of train and test never mix
        two_digits: part of the clips that hold two digits, from 0 to 1
        fps: frames per second
    """
    from tqdm import tqdm

    from videofusion.data.digits_folder import write_folder

    with tqdm(unit="clip", desc=dataset, leave=False) as bar:
        metadata = write_folder(
            folder,
            count,
            seed=seed,
            frames=frames,
            size=size,
            split=split,
            two_digits=two_digits,
            fps=fps,
            progress=_show_on(bar),
        )
    print(f"{count} clips and {metadata}")


def check(folder: Folder, *, frames: int = 2) -> int:
    """Decode every video of a folder, and name each file that cannot be used, with the reason.

    The exit code is 1 if there is any.

    Args:
        folder: your folder of videos
        frames: a video with fewer is too short
    """
    from tqdm import tqdm

    from videofusion.data.check import check_folder

    with tqdm(unit="file", leave=False) as bar:
        bad = check_folder(folder, frames=frames, progress=_show_on(bar))
    for name, reason in bad:
        print(f"{name}: {reason}")
    return 1 if bad else 0


def report(folder: Folder) -> None:
    """Say what a folder of videos holds: sizes, rates, lengths, codecs, captions, and what cannot be opened.

    Args:
        folder: your folder of videos
    """
    from videofusion.data.report import folder_report

    print(folder_report(folder))


def _show_on(bar: tqdm[Any]) -> Callable[[int, int], None]:
    """What a function calls with (done, in all) to move a progress bar."""

    def show(done: int, of: int) -> None:
        bar.total = of
        bar.update(done - bar.n)

    return show
