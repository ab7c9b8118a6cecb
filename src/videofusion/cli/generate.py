"""`videofusion generate`."""

from __future__ import annotations

import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from videofusion.errors import InputError, RunError

if TYPE_CHECKING:
    from torch import Tensor


def generate(
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")],
    model: str = "moving-digits",
    frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    size: Annotated[str | None, tyro.conf.arg(metavar="WIDTHxHEIGHT")] = None,
    steps: int = 20,
    sampler: str = "dpm++",
    guidance: float = 2.0,
    motion: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None,
    seed: int = 0,
    motion_seed: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    count: int = 1,
    fps: float = 8.0,
    sheet: tyro.conf.FlagCreatePairsOff[bool] = False,
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
) -> None:
    """Make a video from a prompt.

    Args:
        prompt: what the video shows; `videofusion models` lists the words that a model knows
        out: the file: .mp4, .gif, .webp, or .png for a contact sheet
        model: a name that `videofusion models` lists, or the folder of a model
        frames: frames of the clip; the model's own number by default
        size: in pixels, as 32 or 64x48; the model's own by default
        steps: sampler steps; more take longer
        sampler: ddim, ddpm, dpm++, heun or angular
        guidance: how closely to follow the prompt; 1 is off
        motion: from 0 (still) to 1 (free); what the training clips had, by default
        seed: the same seed gives the same clip
        motion_seed: another motion of the same content
        count: how many clips, with seeds from SEED on; the files are numbered
        fps: frames per second of the file
        sheet: also write the frames side by side, as a .png beside OUT
        device: cpu, cuda, ...; the fastest there is by default
    """
    if count < 1:
        raise InputError(f"--count is {count}, but must be at least 1")
    width, height = _size(size)
    paths = (
        [out]
        if count == 1
        else [out.with_name(f"{out.stem}-{i:0{len(str(count))}}{out.suffix}") for i in range(1, count + 1)]
    )

    from videofusion.clip import check_output
    from videofusion.models import load

    for path in paths:
        for file in {path, path.with_suffix(".png")} if sheet else {path}:
            check_output(file)
    pipe = load(model, device=device)
    for number, path in enumerate(paths):
        began = time.perf_counter()
        settings: dict[str, Any] = {
            "seed": seed + number,
            "motion_seed": None if motion_seed is None else motion_seed + number,
            "frames": frames,
            "height": height,
            "width": width,
            "steps": steps,
            "sampler": sampler,
            "guidance": guidance,
            "motion": motion,
        }
        clip = pipe(prompt, **settings)
        provenance = {"prompt": prompt, "model": model, **settings}
        _write(clip, path, fps, provenance)
        if sheet:
            _write(clip, path.with_suffix(".png"), fps, provenance)
        print(f"{path}  ({len(clip)} frames, seed {seed + number}, {time.perf_counter() - began:.1f} s)")


def _size(text: str | None) -> tuple[int | None, int | None]:
    """Width and height of "64x48", or of "32" for both."""
    if text is None:
        return None, None
    match = re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", text.strip())
    if not match:
        raise InputError(f'--size is "{text}", but must be a number of pixels or WIDTHxHEIGHT, as in 64x48')
    width = int(match[1])
    return width, int(match[2] or width)


def _write(clip: Tensor, path: Path, fps: float, provenance: dict[str, Any]) -> None:
    """Write a clip; where that fails, keep its numbers, so that what was made is not lost."""
    from videofusion.clip import write_clip

    try:
        write_clip(clip, path, fps=fps, provenance=provenance)
    except (OSError, RunError, InputError) as error:
        kept = _keep(clip, path, provenance)
        where = f"the clip is kept as raw numbers in {kept}" if kept else "nor could the clip be kept anywhere else"
        raise RunError(f"{path} could not be written: {error}; {where}") from error


def _keep(clip: Tensor, path: Path, provenance: dict[str, Any]) -> Path | None:
    """Save a clip as safetensors ("clip", t c h w in [-1, 1]) beside `path`, here, or among the temporary files."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    facts = {key: str(value) for key, value in provenance.items()}
    for folder in (path.parent, Path.cwd(), Path(tempfile.gettempdir())):
        file = folder / f"{path.stem}.safetensors"
        if file.exists():
            continue
        try:
            save_file({"clip": clip.cpu().contiguous()}, file, facts)
        except (OSError, SafetensorError):
            file.unlink(missing_ok=True)
            continue
        return file
    return None
