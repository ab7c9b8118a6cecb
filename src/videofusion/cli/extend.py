"""`videofusion extend`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from videofusion.cli.option_groups import (
    OUTPUT,
    REMEMBERED_CLIP,
    REMEMBERED_MODEL,
    ModelOptions,
    OutputOptions,
    SamplerOptions,
    load_quietly,
)
from videofusion.errors import InputError, printable
from videofusion.models import SHIPPED

if TYPE_CHECKING:
    from videofusion.video.footage import Footage

_FASTEST = 240  # frames per second that are written
_REMEMBERED = ("prompt", "model", "lora", "lora_scale", "precision", "seed", "motion_seed", "motion")
_PATHS = ("model", "lora")  # of which a file is believed only what ships with the package


def extend(
    video: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")],
    frames: Annotated[int, tyro.conf.arg(metavar="N")],
    prompt: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None,
    overlap: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    weight: float = 0.0,
    model: Annotated[ModelOptions, tyro.conf.OmitArgPrefixes] = REMEMBERED_MODEL,
    sampling: Annotated[SamplerOptions, tyro.conf.OmitArgPrefixes] = REMEMBERED_CLIP,
    output: Annotated[OutputOptions, tyro.conf.OmitArgPrefixes] = OUTPUT,
) -> int:
    """Extend a video, window after window, each from the last frames so far.

    A video made by `videofusion generate` contains its prompt, model, seeds and motion, which are used unless you
    change them; name a model of your own with --model. Any other video needs --prompt; it is resized and cropped to the
    model's size.

    Args:
        video: mp4, gif, webp or anything that FFmpeg reads
        out: the file, with the given frames: .mp4, .gif, .webp, or .png for a contact sheet
        frames: frames of the result, including the given ones
        prompt: what the video shows
        overlap: given frames of each window; half the model's clip plus one by default
        weight: of reconstruction guidance, 1 to 4, which takes two to three times as long; 0 is off
        model: the model; moving-digits in float32 where the video does not say
        sampling: sampling; seed 0 where the video does not say
        output: the file
    """
    for group in (output, sampling, model):
        group.check()
    if not video.expanduser().exists():
        raise InputError(f'the video "{video}" cannot be read: there is no such file')
    files = output.files(out)

    from videofusion.clip import open_footage

    footage = open_footage(video, "video")
    rate = output.fps or footage.fps
    if rate > _FASTEST:
        raise InputError(
            f'the video "{video}" has {rate:.5g} frames per second; --fps gives it a rate up to {_FASTEST}'
        )
    said = {"prompt": prompt, **sampling.settings(), **model.given()}
    told = _remembered(video, {name: said[name] for name in _REMEMBERED if said.get(name) is not None})
    return _extended(video, footage, told, rate, files, frames, overlap, weight, model.device, sampling, output)


def _extended(
    video: Path,
    footage: Footage,
    told: dict[str, Any],
    rate: float,
    files: Sequence[Path],
    frames: int,
    overlap: int | None,
    weight: float,
    device: str | None,
    sampling: SamplerOptions,
    output: OutputOptions,
) -> int:
    from tqdm import tqdm

    from videofusion import tasks
    from videofusion.generation.continuing import continued
    from videofusion.video.decode import Unreadable

    began = time.perf_counter()
    tuned = {key: told[key] for key in ("lora", "lora_scale", "precision") if key in told}
    pipe = load_quietly(told.setdefault("model", "moving-digits"), **tuned, device=device)
    had = len(footage)
    given = tasks.check_windows(pipe, had, frames, overlap)
    settings = sampling.settings() | {"sampler": sampling.sampler or pipe.config.sampler}
    if pipe.takes_fps:
        settings["fps"] = rate or None
    settings |= {"seed": told.setdefault("seed", 0)} | {name: told.get(name) for name in ("motion_seed", "motion")}
    told |= settings | sampling.given()
    told |= {"frames": frames, "extended_from": had, "overlap": overlap, "weight": weight}
    size = (int(pipe.config.height), int(pipe.config.width))
    with tqdm(unit="window", leave=False) as bar:

        def count(number: int, windows: int) -> None:
            bar.reset(windows)
            bar.update(number)

        try:
            continued(
                pipe,
                footage,
                told,
                files,
                frames=frames,
                overlap=given,
                size=size,
                fps=rate,
                scale=output.enlarged(*size),
                weight=weight,
                on_window=count,
                sampler_options=sampling.given(),
                **settings,
            )
        except Unreadable as error:
            raise InputError(f'the video "{video}" cannot be read: {error}') from error
    seconds = time.perf_counter() - began
    print(f"{printable(', '.join(map(str, files)))}  ({had} frames given, {frames} in all, {seconds:.1f} s)")
    return 0


def _remembered(video: Path, said: Mapping[str, Any]) -> dict[str, Any]:
    """What the user said, and what the file remembers of the rest.

    Raises:
        InputError: a model or LoRA weights that only the file names, or no prompt in either.
    """
    from videofusion.clip import read_provenance

    own = read_provenance(video.expanduser()) or {}
    for key in _PATHS:
        if own.get(key) is not None and key not in said and str(own[key]) not in SHIPPED:
            raise InputError(
                f'"{video}" was made with the {key} {str(own[key])[:200]!r}; a file may name any folder, '
                f"so name it with --{key}"
            )
    told = {key: own[key] for key in _REMEMBERED if own.get(key) is not None} | dict(said)
    if not str(told.get("prompt", "")).strip():
        raise InputError(f'prompt is not given, and "{video}" contains none; say with --prompt what the video shows')
    return told
