"""`videofusion generate`."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Mapping
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
    model: Annotated[str, tyro.conf.arg(metavar="NAME")] = "moving-digits",
    frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    size: Annotated[str | None, tyro.conf.arg(metavar="WIDTHxHEIGHT")] = None,
    steps: int = 20,
    sampler: Annotated[str, tyro.conf.arg(metavar="NAME")] = "dpm++",
    guidance: float = 2.0,
    motion: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None,
    seed: int = 0,
    motion_seed: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    count: int = 1,
    fps: float = 8.0,
    scale: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
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
        motion: from 0 (still) to 1 (free), for models trained with this knob
        seed: the same seed gives the same clip
        motion_seed: another one moves the same content otherwise
        count: how many clips, with seeds from SEED on; the files are numbered
        fps: frames per second of the file
        scale: pixels of the file for each of the clip's; small clips are enlarged by default
        sheet: also write the frames side by side, as a .png beside OUT
        device: cpu, cuda, ...; the fastest there is by default
    """
    if count < 1:
        raise InputError(f"--count is {count}, but must be at least 1")
    if not 0 < fps <= 240:
        raise InputError(f"--fps is {fps:g}, but must be above 0 and at most 240")
    if scale is not None and not 1 <= scale <= 64:
        raise InputError(f"--scale is {scale}, but must be from 1 to 64")
    width, height = _size(size)

    from videofusion.clip import check_output, watchable_scale

    jobs = [(seed + number, _files(check_output(out), number, count, sheet)) for number in range(count)]
    for _, files in jobs:
        for file in files:
            check_output(file)

    from diffusers.utils import logging
    from tqdm import tqdm

    from videofusion.models import load

    logging.disable_progress_bar()  # of loading, which takes a moment
    pipe = load(model, device=device)
    for number, (own_seed, files) in enumerate(jobs):
        began = time.perf_counter()
        settings: dict[str, Any] = {
            "seed": own_seed,
            "motion_seed": None if motion_seed is None else motion_seed + number,
            "frames": frames,
            "height": height,
            "width": width,
            "steps": steps,
            "sampler": sampler,
            "guidance": guidance,
            "motion": motion,
        }
        clip = pipe(prompt, **settings, progress=lambda steps: tqdm(steps, unit="step", leave=False))
        seconds = time.perf_counter() - began
        pixels = watchable_scale(*clip.shape[-2:]) if scale is None else scale
        for file in files:
            _write(clip, file, fps, pixels, {"prompt": prompt, "model": model, **settings})
        print(f"{', '.join(map(str, files))}  ({len(clip)} frames, seed {own_seed}, {seconds:.1f} s)")


def _size(text: str | None) -> tuple[int | None, int | None]:
    """Width and height of "64x48", or of "32" for both."""
    if text is None:
        return None, None
    match = re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", text.strip())
    if not match:
        raise InputError(f'--size is "{text}", but must be a number of pixels or WIDTHxHEIGHT, as in 64x48')
    width = int(match[1])
    return width, int(match[2] or width)


def _files(out: Path, number: int, count: int, sheet: bool) -> list[Path]:
    """Where clip `number` goes: to `out`, or to a numbered name; and its sheet beside it."""
    if count > 1:
        out = out.with_name(f"{out.stem}-{number + 1:0{len(str(count))}}{out.suffix}")
    return list(dict.fromkeys([out, out.with_suffix(".png")] if sheet else [out]))


def _write(clip: Tensor, path: Path, fps: float, scale: int, provenance: Mapping[str, Any]) -> None:
    """Write a clip; where that fails, keep its numbers, so that what was made is not lost."""
    from videofusion.clip import write_clip

    try:
        write_clip(clip, path, fps, provenance, scale=scale)
    except (RunError, InputError) as error:
        kept = _keep(clip, path, provenance)
        where = f"its numbers are kept in {kept} (safetensors)" if kept else "nor could its numbers be kept elsewhere"
        raise RunError(f"{error}; {where}") from error


def _keep(clip: Tensor, path: Path, provenance: Mapping[str, Any]) -> Path | None:
    """Save "clip" (t c h w in [-1, 1]) as safetensors beside `path`, here, or among the temporary files."""
    from safetensors.torch import save

    from videofusion.clip import write_whole

    data = save({"clip": clip.cpu().contiguous()}, {key: str(value) for key, value in provenance.items()})
    for folder in (path.parent, Path.cwd(), Path(tempfile.gettempdir())):
        file = folder / f"{path.stem}.safetensors"
        if file.exists():
            continue
        try:
            write_whole(file, data)
        except RunError:  # the next place may do; the caller says where it went
            continue
        return file
    return None
