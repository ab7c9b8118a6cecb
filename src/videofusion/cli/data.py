"""`videofusion data make`, `data check` and `data report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

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
    fps: int = 8,
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

    with tqdm(total=count, unit="clip", desc=dataset, leave=False) as bar:
        metadata = write_folder(
            folder,
            count,
            seed=seed,
            frames=frames,
            size=size,
            split=split,
            two_digits=two_digits,
            fps=fps,
            progress=lambda done, _: bar.update(done - bar.n),
        )
    print(f"{count} clips and {metadata}")
