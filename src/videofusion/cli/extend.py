"""`videofusion extend`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from videofusion.cli.options import Force, check_sampling, refuse_existing
from videofusion.cli.sampling import OWN, Turned
from videofusion.errors import InputError, printable
from videofusion.generation.rows import check_file
from videofusion.models import SHIPPED, check_precision, find

_FASTEST = 240  # frames per second that are written
_REMEMBERED = ("prompt", "model", "lora", "lora_scale", "precision", "seed", "motion_seed", "motion")
_PATHS = ("model", "lora")  # of which a file is believed only what ships with the package


def extend(
    video: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")],
    frames: Annotated[int, tyro.conf.arg(metavar="N")],
    prompt: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None,
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    lora: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
    lora_scale: float | None = None,
    overlap: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    weight: float = 0.0,
    steps: int = 20,
    sampler: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    sampling: Annotated[Turned, tyro.conf.OmitArgPrefixes] = OWN,
    guidance: float | None = None,
    motion: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None,
    seed: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    motion_seed: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    fps: Annotated[float | None, tyro.conf.arg(metavar="N")] = None,
    scale: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    sheet: tyro.conf.FlagCreatePairsOff[bool] = False,
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    precision: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    force: Force = False,
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
        model: a name that `videofusion models` lists, or the folder of a model (moving-digits)
        lora: LoRA weights to add to the model: a file, or the run folder that trained them
        lora_scale: their strength; 1 is as trained
        overlap: given frames of each window; half the model's clip plus one by default
        weight: of reconstruction guidance, 1 to 4, which takes two to three times as long; 0 is off
        steps: sampler steps
        sampler: ddim, ddpm, dpm++, dpm++sde, heun, langevin or angular; the model's own by default
        sampling: options of sampling
        guidance: how closely to follow the prompt; 1 is off; the model's own by default
        motion: 0 (the least motion of the training clips) to 1 (the most), for models trained with this knob
        seed: the same seed gives the same frames (0)
        motion_seed: another one gives other motion
        fps: frames per second of the file, and for models trained at several rates of the scene; the video's own by
            default
        scale: enlarge the clip by this whole number; small clips are enlarged by default
        sheet: also write the frames side by side, as a .png beside OUT
        device: cpu, cuda, ...; the fastest available by default
        precision: of the networks: float32, or bfloat16, which needs half the memory and is often faster (float32)
        force: replace OUT if it exists
    """
    check_file(fps, scale)
    check_sampling(sampler, steps, guidance, motion)
    if precision is not None:
        check_precision(precision)
    if model is not None:
        find(model)
    if not video.expanduser().exists():
        raise InputError(f'the video "{video}" cannot be read: there is no such file')

    from videofusion.clip.output import check_output

    files = [check_output(file) for file in dict.fromkeys([out, *[out.with_suffix(".png")] * sheet])]
    refuse_existing(files, force)

    from videofusion.clip import read_provenance, watchable_scale
    from videofusion.video.decode import Unreadable, open_video

    try:
        footage = open_video(video.expanduser())
    except Unreadable as error:
        raise InputError(f'the video "{video}" cannot be read: {error}') from error
    rate = fps or footage.fps
    if rate > _FASTEST:
        raise InputError(
            f'the video "{video}" has {rate:.5g} frames per second; --fps gives it a rate up to {_FASTEST}'
        )
    said = {"prompt": prompt, "model": model, "lora": lora and str(lora), "lora_scale": lora_scale}
    said |= {"precision": precision, "seed": seed, "motion_seed": motion_seed, "motion": motion}
    told: dict[str, Any] = {key: value for key, value in said.items() if value is not None}
    own = read_provenance(video.expanduser()) or {}
    for key in _PATHS:
        if own.get(key) is not None and key not in told and str(own[key]) not in SHIPPED:
            raise InputError(
                f'"{video}" was made with the {key} {str(own[key])[:200]!r}; a file may name any folder, '
                f"so name it with --{key}"
            )
    told = {key: own[key] for key in _REMEMBERED if own.get(key) is not None} | told
    if not str(told.get("prompt", "")).strip():
        raise InputError(f'prompt is not given, and "{video}" contains none; say with --prompt what the video shows')

    from diffusers.utils import logging
    from tqdm import tqdm

    from videofusion import tasks
    from videofusion.generation.continuing import continued
    from videofusion.models import load

    logging.disable_progress_bar()  # of loading, which takes a moment
    began = time.perf_counter()
    tuned = {key: told[key] for key in ("lora", "lora_scale", "precision") if key in told}
    pipe = load(told.setdefault("model", "moving-digits"), **tuned, device=device)
    had = len(footage)
    given = tasks.check_windows(pipe, had, frames, overlap)
    settings: dict[str, Any] = {"steps": steps, "sampler": sampler or pipe.config.sampler}
    settings |= {"guidance": guidance, "motion": told.get("motion")}
    if pipe.hears_fps:
        settings["fps"] = rate or None
    settings |= {"seed": told.setdefault("seed", 0), "motion_seed": told.get("motion_seed")}
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
                scale=watchable_scale(*size) if scale is None else scale,
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
