"""`videofusion generate`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro

from videofusion.cli.first_picture import NO_PICTURE, FirstPicture
from videofusion.cli.image_models import PLAIN_NEW, NewClips
from videofusion.cli.options import Force, check_sampling, refuse_existing
from videofusion.cli.sampling import OWN, Turned
from videofusion.errors import InputError
from videofusion.generation.rows import FILE_FPS, check_file, parse_size
from videofusion.models import check_precision, find


def generate(
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")] = "",
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")],
    prompts: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    model: Annotated[str, tyro.conf.arg(metavar="NAME")] = "moving-digits",
    lora: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
    lora_scale: float = 1.0,
    frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    size: Annotated[str | None, tyro.conf.arg(metavar="WIDTHxHEIGHT")] = None,
    steps: int = 20,
    sampler: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    sampling: Annotated[Turned, tyro.conf.OmitArgPrefixes] = OWN,
    guidance: float | None = None,
    negative: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None,
    image: Annotated[NewClips, tyro.conf.OmitArgPrefixes] = PLAIN_NEW,
    first: Annotated[FirstPicture, tyro.conf.OmitArgPrefixes] = NO_PICTURE,
    motion: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None,
    seed: int = 0,
    motion_seed: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    count: int = 1,
    batch: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    format: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    fps: Annotated[float | None, tyro.conf.arg(metavar="N")] = None,
    scale: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    sheet: tyro.conf.FlagCreatePairsOff[bool] = False,
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    precision: str = "float32",
    low_memory: tyro.conf.FlagCreatePairsOff[bool] = False,
    engine: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    workers: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    force: Force = False,
) -> int:
    """Make a video from a prompt or a first picture, or a folder of them from a file of prompts.

    A file of prompts has one row per line, as {"prompt": "a red three", "seed": 5}. A row may set its own seed,
    motion_seed, frames, size, steps, sampler, sampling options, guidance, negative and motion, options for image models
    (not system and controlnet), and an id that names its file (otherwise its line number does); the command's options
    are the defaults. OUT/results.jsonl records each row. The
    same command resumes; a finished row with other settings is an error until its file is deleted. A row that fails is
    named, the others are made, and the exit code is 1.

    Args:
        prompt: what the video shows; `videofusion models` lists the words that a model knows
        out: the file: .mp4, .gif, .webp, or .png for a contact sheet; with --prompts, the folder
        prompts: make a clip for each row of this JSONL file
        model: a name that `videofusion models` lists, the folder of a model, or a model of diffusers (Stable Diffusion,
            ModelScope's text-to-video): its folder, or owner/name on the Hugging Face Hub; a Stable Diffusion may also
            be one file of safetensors
        lora: LoRA weights to add to the model: a file, or the run folder that trained them
        lora_scale: their strength; 1 is as trained
        frames: frames of the clip; the model's own number by default; more are made in windows, as by `extend`
        size: pixels, as 32 or 64x48; the model's own by default
        steps: sampler steps
        sampler: ddim, ddpm, dpm++, dpm++sde, heun, langevin or angular; the model's own by default
        sampling: options of sampling
        guidance: how closely to follow the prompt; 1 is off; the model's own by default
        negative: what the video is not to show
        image: options for image models
        first: options for image-to-video models
        motion: 0 (the least motion of the training clips) to 1 (the most), for models trained with this knob
        seed: the same seed gives the same clip
        motion_seed: another one gives the same content other motion
        count: how many clips, with seeds from SEED up; the files are numbered
        batch: with --prompts, rows of equal settings made together (4)
        format: with --prompts, file format: mp4, gif, webp or png (mp4)
        fps: frames per second of the file (8), and for models trained at several rates of the scene
        scale: enlarge the clip by this whole number; small clips are enlarged by default
        sheet: also write the frames side by side, as a .png beside OUT
        device: cpu, cuda, ...; the fastest available by default
        precision: of the networks: float32, or bfloat16 or float16, which need half the memory and are often faster
        low_memory: keep only the network at work in memory, for models that use one after the other
        engine: with --prompts, where to run: here (this process), or ray (actors with a model each, also on a cluster)
        workers: with --engine ray, number of actors (1)
        force: replace OUT if it exists; not with --prompts, which resumes
    """
    if prompts is None and not prompt.strip() and first.image is None:
        raise InputError(f"prompt is {prompt!r}; it must have at least one word, or --prompts name a file of them")
    first.check()
    if count < 1:
        raise InputError(f"--count is {count}, but must be at least 1")
    check_file(fps, scale)
    width, height = parse_size(size, "--size")
    check_sampling(sampler, steps, guidance, motion)
    check_precision(precision)
    image.check()
    find(model)
    tuned: dict[str, Any] = {} if lora is None else {"lora": str(lora), "lora_scale": lora_scale}
    if prompts is not None:
        defaults: dict[str, Any] = {"seed": seed, "motion_seed": motion_seed, "frames": frames, "size": size}
        defaults |= {"steps": steps, "sampler": sampler, "guidance": guidance, "motion": motion}
        defaults |= {"negative": negative, **sampling.given(), **image.rows()}
        if prompt or count > 1:
            raise InputError(f"{'PROMPT' if prompt else '--count'} and --prompts are both given; leave one out")
        if first.image is not None:
            raise InputError(f"--image is {first.image}; with --prompts it cannot be given")
        if force:
            raise InputError("--force and --prompts are both given; to make a row again, delete its file")
        if low_memory:
            raise InputError(
                "--low-memory and --prompts are both given; leave one out: each batch would read the weights again"
            )
        how: dict[str, Any] = {"device": device, "precision": precision, "load": {**image.load(), **tuned}}
        how |= {"engine": engine or "here", "workers": workers}
        return _many(prompts, out, model, defaults, batch, format, {"sheet": sheet, "fps": fps, "scale": scale}, how)
    alone = {"--batch": batch, "--format": format, "--engine": engine, "--workers": workers}
    for option, value in alone.items():
        if value is not None:
            raise InputError(f"{option} is {value}, but is for --prompts only")

    from videofusion.clip.output import check_output

    jobs = [(seed + number, _files(check_output(out), number, count, sheet)) for number in range(count)]
    for _, files in jobs:
        for file in files:
            check_output(file)
        refuse_existing(files, force)

    from diffusers.utils import logging
    from tqdm import tqdm

    from videofusion import tasks
    from videofusion.clip import watchable_scale
    from videofusion.generation.image_options import call_of
    from videofusion.generation.keeping import decoded, write
    from videofusion.models import load

    logging.disable_progress_bar()  # of loading, which takes a moment
    tuned["precision"] = precision
    pipe = load(model, **image.load(), **tuned, device=device, low_memory=low_memory)
    more = call_of(pipe, {"negative": negative, **vars(image)}, size=(height, width), frames=frames)
    more |= first.call_of(pipe, (height, width))
    for number, (own_seed, files) in enumerate(jobs):
        began = time.perf_counter()
        settings: dict[str, Any] = {
            "seed": own_seed,
            "motion_seed": None if motion_seed is None else motion_seed + number,
            "frames": frames,
            "height": height,
            "width": width,
            "steps": steps,
            "sampler": sampler or pipe.config.sampler,
            "sampler_options": sampling.given(),
            "guidance": pipe.config.guidance if guidance is None else guidance,
            "motion": motion,
            "fps": fps if pipe.hears_fps else None,
        }
        told = {"prompt": prompt, "model": model, **tuned, **settings, **sampling.given(), **image.told()}
        told |= first.told() | ({} if negative is None else {"negative": negative})
        del told["sampler_options"]
        bar: Any = lambda steps: tqdm(steps, unit="step", leave=False)  # noqa: E731
        made = tasks.generate(pipe, prompt, **settings, **more, output="latent", progress=bar)
        clip = decoded(pipe, made, files[0], fps or FILE_FPS, told)
        seconds = time.perf_counter() - began
        pixels = watchable_scale(*clip.shape[-2:]) if scale is None else scale
        for file in files:
            write(clip, file, fps or FILE_FPS, pixels, told)
        print(f"{', '.join(map(str, files))}  ({len(clip)} frames, seed {own_seed}, {seconds:.1f} s)")
    return 0


def _many(
    prompts: Path,
    out: Path,
    model: str,
    defaults: Mapping[str, Any],
    batch: int | None,
    format: str | None,
    form: Mapping[str, Any],
    how: Mapping[str, Any],
) -> int:
    if batch is not None and batch < 1:
        raise InputError(f"--batch is {batch}, but must be at least 1")
    if format not in (None, "mp4", "gif", "webp", "png"):
        raise InputError(f'--format is "{format}", but must be mp4, gif, webp or png')

    from videofusion.generation.many import Form, generate_many

    as_files = Form(ending=f".{format or 'mp4'}", **form)
    done = generate_many(prompts, out, model=model, defaults=defaults, batch=batch or 4, form=as_files, **how)
    parts = [(done.made, "made"), (done.before, "made before"), (len(done.failed), "failed"), (done.left, "left")]
    print(f"{out}: " + ", ".join(f"{number} {what}" for number, what in parts if number or what == "made"))
    return done.exit_code


def _files(out: Path, number: int, count: int, sheet: bool) -> list[Path]:
    """Where clip `number` goes: to `out`, or to a numbered name; and its sheet beside it."""
    if count > 1:
        out = out.with_name(f"{out.stem}-{number + 1:0{len(str(count))}}{out.suffix}")
    return list(dict.fromkeys([out, out.with_suffix(".png")] if sheet else [out]))
