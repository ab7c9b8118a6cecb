"""`videofusion generate`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from videofusion.cli.first_picture import NO_PICTURE, FirstPicture
from videofusion.cli.image_models import PLAIN_NEW, NewClips
from videofusion.cli.option_groups import (
    NEW_CLIP,
    OUTPUT,
    SHIPPED_MODEL,
    ModelOptions,
    OutputOptions,
    SamplerOptions,
    load_quietly,
)
from videofusion.errors import InputError
from videofusion.generation.rows import FILE_FPS, parse_size


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    """A folder of clips from a file of prompts.

    Args:
        prompts: make a clip for each row of this JSONL file
        batch: with --prompts, rows of equal settings made together (4)
        format: with --prompts, file format: mp4, gif, webp or png (mp4)
        engine: with --prompts, where to run: here (this process), or ray (actors with a model each, also on a cluster)
        workers: with --engine ray, number of actors (1)
    """

    prompts: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    batch: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    format: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    engine: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    workers: Annotated[int | None, tyro.conf.arg(metavar="N")] = None

    def check(self) -> None:
        """Raise InputError for options of a file that is not given, and for those that no file has."""
        for name, value in vars(self).items():
            if self.prompts is None and value is not None:
                raise InputError(f"--{name} is {value}, but is for --prompts only")
        if self.batch is not None and self.batch < 1:
            raise InputError(f"--batch is {self.batch}, but must be at least 1")
        if self.format not in (None, "mp4", "gif", "webp", "png"):
            raise InputError(f'--format is "{self.format}", but must be mp4, gif, webp or png')


NO_FILE = PromptFile()


def generate(
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")] = "",
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")],
    frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    size: Annotated[str | None, tyro.conf.arg(metavar="WIDTHxHEIGHT")] = None,
    count: Annotated[int, tyro.conf.arg(metavar="N")] = 1,
    low_memory: tyro.conf.FlagCreatePairsOff[bool] = False,
    model: Annotated[ModelOptions, tyro.conf.OmitArgPrefixes] = SHIPPED_MODEL,
    sampling: Annotated[SamplerOptions, tyro.conf.OmitArgPrefixes] = NEW_CLIP,
    output: Annotated[OutputOptions, tyro.conf.OmitArgPrefixes] = OUTPUT,
    file: Annotated[PromptFile, tyro.conf.OmitArgPrefixes] = NO_FILE,
    first: Annotated[FirstPicture, tyro.conf.OmitArgPrefixes] = NO_PICTURE,
    image: Annotated[NewClips, tyro.conf.OmitArgPrefixes] = PLAIN_NEW,
) -> int:
    """Make a video from a prompt or a first picture, or a folder of them from a file of prompts.

    A file of prompts has one row per line, as {"prompt": "a red three", "seed": 5}. A row may set its own seed,
    motion_seed, frames, size, steps, sampler, sampling options, guidance, negative and motion, options for image models
    (not system and controlnet), and an id that names its file (otherwise its line number does); the command's options
    are the defaults. OUT/results.jsonl records each row. The same command resumes; a finished row with other settings
    is an error until its file is deleted. A row that fails is named, the others are made, and the exit code is 1.

    Args:
        prompt: what the video shows; `videofusion models` lists the words that a model knows
        out: the file: .mp4, .gif, .webp, or .png for a contact sheet; with --prompts, the folder
        frames: frames of the clip; the model's own number by default; more are made in windows, as by `extend`
        size: pixels, as 32 or 64x48; the model's own by default
        count: how many clips, with seeds from SEED up; the files are numbered
        low_memory: keep only the network at work in memory, for models that use one after the other
        model: the model
        sampling: sampling
        output: the file
        file: a file of prompts
        first: options for image-to-video models
        image: options for image models
    """
    if file.prompts is None and not prompt.strip() and first.image is None:
        raise InputError(f"prompt is {prompt!r}; it must have at least one word, or --prompts name a file of them")
    if count < 1:
        raise InputError(f"--count is {count}, but must be at least 1")
    parse_size(size, "--size")
    for group in (first, output, sampling, image, file, model):
        group.check()
    if file.prompts is None:
        return _one_prompt(prompt, out, frames, size, count, low_memory, model, sampling, output, first, image)
    alone = {"PROMPT": prompt, "--count": count > 1, "--image": first.image, "--force": output.force}
    alone["--ip-adapter"] = image.ip_adapter
    for option, value in (alone | {"--low-memory": low_memory}).items():
        if value:
            raise InputError(f"{option} and --prompts are both given; {_INSTEAD.get(option, 'leave one out')}")
    defaults = {**sampling.settings(), **sampling.given(), **image.rows(), "frames": frames, "size": size}
    return _many_prompts(out, file, model, defaults, output, {**image.load(), **model.tuned()})


_INSTEAD = {
    "--force": "to make a row again, delete its file",
    "--low-memory": "leave one out: each batch would read the weights again",
}


def _one_prompt(
    prompt: str,
    out: Path,
    frames: int | None,
    size: str | None,
    count: int,
    low_memory: bool,
    model: ModelOptions,
    sampling: SamplerOptions,
    output: OutputOptions,
    first: FirstPicture,
    image: NewClips,
) -> int:
    jobs = [output.files(_numbered(out, number, count)) for number in range(count)]

    from tqdm import tqdm

    from videofusion import tasks
    from videofusion.generation.image_options import call_of
    from videofusion.generation.keeping import decoded, write

    width, height = parse_size(size, "--size")
    tuned = {**model.tuned(), "precision": model.precision}
    pipe = load_quietly(str(model.model), **image.load(), **tuned, device=model.device, low_memory=low_memory)
    image.add_picture(pipe)
    more = call_of(pipe, vars(image), size=(height, width), frames=frames) | first.call_of(pipe, (height, width))
    settings = sampling.settings() | {"frames": frames, "height": height, "width": width}
    settings["sampler"] = sampling.sampler or pipe.config.sampler
    settings["guidance"] = pipe.config.guidance if sampling.guidance is None else sampling.guidance
    settings["fps"] = output.fps if pipe.takes_fps else None
    fps = output.fps or FILE_FPS
    bar: Any = lambda steps: tqdm(steps, unit="step", leave=False)  # noqa: E731
    for number, files in enumerate(jobs):
        began = time.perf_counter()
        seeds = {name: settings[name] for name in ("seed", "motion_seed")}
        own = settings | {name: None if seed is None else seed + number for name, seed in seeds.items()}
        told = {"prompt": prompt, "model": model.model, **tuned, **own, **sampling.given()}
        told |= image.told() | first.told()
        made = tasks.generate(
            pipe, prompt, **own, **more, sampler_options=sampling.given(), output="latent", progress=bar
        )
        clip = decoded(pipe, made, files[0], fps, told)
        seconds = time.perf_counter() - began
        for file in files:
            write(clip, file, fps, output.enlarged(*clip.shape[-2:]), told)
        print(f"{', '.join(map(str, files))}  ({len(clip)} frames, seed {own['seed']}, {seconds:.1f} s)")
    return 0


def _many_prompts(
    out: Path,
    file: PromptFile,
    model: ModelOptions,
    defaults: Mapping[str, Any],
    output: OutputOptions,
    load: Mapping[str, Any],
) -> int:
    from videofusion.generation.many import Form, generate_many

    assert file.prompts is not None
    done = generate_many(
        file.prompts,
        out,
        model=str(model.model),
        defaults=defaults,
        batch=file.batch or 4,
        form=Form(ending=f".{file.format or 'mp4'}", sheet=output.sheet, fps=output.fps, scale=output.scale),
        device=model.device,
        precision=str(model.precision),
        load=load,
        engine=file.engine or "here",
        workers=file.workers,
    )
    parts = [(done.made, "made"), (done.before, "made before"), (len(done.failed), "failed"), (done.left, "left")]
    print(f"{out}: " + ", ".join(f"{number} {what}" for number, what in parts if number or what == "made"))
    return done.exit_code


def _numbered(out: Path, number: int, count: int) -> Path:
    """Where clip `number` goes: to `out`, or to a numbered name."""
    return out.with_name(f"{out.stem}-{number + 1:0{len(str(count))}}{out.suffix}") if count > 1 else out
