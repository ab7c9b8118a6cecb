"""Moving digits as a folder of videos with captions, as one's own clips would come."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from videofusion.clip import write_clip
from videofusion.digits.drawing import render
from videofusion.digits.moving_digits import MovingDigits
from videofusion.digits.spec import DigitClipSpec
from videofusion.errors import InputError
from videofusion.files import write_whole

SETTINGS = "moving-digits.json"
METADATA = "metadata.jsonl"


def write_folder(
    path: str | Path,
    count: int,
    *,
    seed: int = 0,
    frames: int = 16,
    size: int = 32,
    split: str = "train",
    two_digits: float = 0.25,
    combinations: str = "seen",
    grounds: str = "plain",
    fps: float = 8.0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write clips of moving digits as mp4 files with a `metadata.jsonl` (file_name, text, objects).

    The same call resumes where it was stopped, and with a larger count it adds
    clips to those that are there.

    Args:
        path: the folder; new, empty, or written by a former call with the same settings.
        count: number of clips, at least 1.
        seed: chooses the clips.
        frames: frames per clip, at least 1.
        size: height and width in pixels, even and at least 8.
        split: "train", "val" or "test".
        two_digits: part of the clips that hold two digits, in [0, 1].
        combinations: "seen", or for the test split also "held_out" or "all".
        grounds: what is behind the digits, "plain" or "photos".
        fps: frames per second, above 0 and at most 240.
        progress: called with (clips done, count) after each clip.

    Returns:
        The path of the `metadata.jsonl`.

    Raises:
        InputError: a value outside of what is said above, or a folder with other things in it.
        RunError: a file cannot be written.
    """
    folder = Path(path)
    if count < 1:
        raise InputError(f"count is {count}; at least 1 clip is needed")
    if not 0 < fps <= 240:
        raise InputError(f"fps is {fps}; it must be above 0 and at most 240")
    if size % 2:
        raise InputError(f"size is {size}; an mp4 needs an even number of pixels")
    digits = MovingDigits(frames, size, split, two_digits, combinations=combinations, length=count, grounds=grounds)
    settings: dict[str, int | float | str] = {
        "seed": seed,
        "frames": frames,
        "size": size,
        "split": split,
        "two_digits": float(two_digits),
        "combinations": combinations,
        "fps": float(fps),
    }
    if grounds != "plain":  # folders of earlier versions do not say it
        settings["grounds"] = grounds
    _open_folder(folder, settings)
    if (folder / _file_name(count)).exists():
        raise InputError(
            f'count is {count}, but "{folder}" already holds more clips; ask for more, or use another folder'
        )
    specs = digits.specs(range(count), seed=seed)
    for number, spec in enumerate(specs):
        target = folder / _file_name(number)
        # A clip is whole or absent, so one that is there need not be made again.
        if not target.exists():
            clip = render([spec], frames, size)[0]
            write_clip(clip, target, fps)  # no provenance: no model made it
        if progress is not None:
            progress(number + 1, count)
    lines = [json.dumps(_line(_file_name(i), spec)) + "\n" for i, spec in enumerate(specs)]
    write_whole(folder / METADATA, "".join(lines).encode())
    return folder / METADATA


def _file_name(number: int) -> str:
    return f"clip-{number:06d}.mp4"


def _line(file_name: str, spec: DigitClipSpec) -> dict[str, object]:
    facts = asdict(spec)
    return {"file_name": file_name, "text": facts.pop("caption"), **facts}


def _open_folder(folder: Path, settings: dict[str, int | float | str]) -> None:
    """Make the folder and note its settings in it, or check that they are these."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f'path is "{folder}", which is a file; it must be a folder')
    note = folder / SETTINGS
    if note.is_file():
        try:
            former = json.loads(note.read_text())
        except ValueError as error:
            raise InputError(f'"{note}" was not written by this command; use another folder') from error
        if former != settings:
            raise InputError(
                f'path is "{folder}", whose clips were made with other settings ({former}); '
                "repeat those, or use another folder"
            )
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if next(folder.iterdir(), None) is not None:
            raise InputError(f'path is "{folder}", which holds other files; it must be new or empty')
    except OSError as error:
        raise InputError(f'path is "{folder}", which cannot be used: {error.strerror}') from error
    write_whole(note, (json.dumps(settings, indent=2) + "\n").encode())
