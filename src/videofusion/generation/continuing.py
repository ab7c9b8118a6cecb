"""Extends a video from file to file; neither is ever in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videofusion.clip import from_uint8, to_uint8, write_frames
from videofusion.errors import InputError
from videofusion.generation.keeping import write
from videofusion.systems.pipeline import VideoPipeline
from videofusion.tasks.extend import Window, windows
from videofusion.video.footage import Footage
from videofusion.video.frames import fit

_Frame = NDArray[np.uint8]  # h w 3

_MOST_IN_SHEET = 2**28  # bytes of frames that are laid out on one sheet


def continued(
    pipe: VideoPipeline,
    footage: Footage,
    told: Mapping[str, Any],
    files: Sequence[Path],
    *,
    frames: int,
    overlap: int,
    size: tuple[int, int],
    fps: float | int,
    scale: int,
    weight: float | int = 0.0,
    on_window: Window | None = None,
    **sampling: Any,
) -> None:
    """Write a video's frames and what the model makes of them, as it makes it.

    Nothing is written before the first window is there; where a later one fails, what was made is kept
    (`clip.write_frames`).

    Args:
        pipe: the model.
        footage: the video.
        told: provenance, with the prompt.
        files: where to write; a .png is a sheet of all frames.
        frames: of the whole.
        overlap: frames that each window is given, as `check_windows` says.
        size: (height, width) of what the model makes.
        fps: of the files.
        scale: pixels of the files for each that is made.
        weight: of reconstruction guidance.
        on_window: called before each window.
        sampling: as the model takes it.

    Raises:
        InputError: a sheet of more frames than one holds.
        Unreadable: the video is damaged.
        RunError: a file cannot be written.
    """
    had = len(footage)
    sheets = [file for file in files if file.suffix.lower() == ".png"]
    if sheets and frames * size[0] * size[1] * 3 > _MOST_IN_SHEET:
        most = _MOST_IN_SHEET // (size[0] * size[1] * 3)
        raise InputError(f"a sheet holds at most {most} frames of {size[1]}x{size[0]}; {frames} go into a video only")
    last = torch.stack(list(_given(footage, range(had - overlap, had), size)))
    new = windows(
        pipe,
        pipe.space.encode(from_uint8(last)[None].to(pipe.where).float()),
        [str(told["prompt"])],
        had=had,
        frames=frames,
        weight=weight,
        on_window=on_window,
        **sampling,
    )
    first = next(new)
    coming = itertools.chain([first], new)
    pictures: Iterable[_Frame] = (
        picture.numpy() for picture in itertools.chain(_given(footage, range(had), size), _decoded(pipe, coming))
    )
    for_sheets: list[_Frame] = []

    def also_for_sheets() -> Iterator[_Frame]:
        for picture in pictures:
            for_sheets.append(picture)
            yield picture

    if sheets:
        shown: Iterable[_Frame] = also_for_sheets()
    else:
        shown = pictures
    for file in files:
        if file not in sheets:
            write_frames(shown, file, fps, told, count=frames, scale=scale, given=had)
    for file in sheets:
        for_sheets += pictures  # where there is no video
        write(from_uint8(torch.from_numpy(np.stack(for_sheets))), file, fps, scale, told)


def _given(footage: Footage, numbers: Sequence[int], size: tuple[int, int]) -> Iterator[Tensor]:
    """Frames of the video, h w 3, at the model's size."""
    return (fit(torch.from_numpy(frame), size) for frame in footage.decode(numbers, size))


def _decoded(pipe: VideoPipeline, made: Iterable[Tensor]) -> Iterator[Tensor]:
    """Frames of windows, h w 3."""
    for window in made:
        yield from to_uint8(pipe.decode(window[0]))
