"""`videofusion edit`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import tyro

from videofusion.cli.image_models import PLAIN, ImageModels
from videofusion.cli.option_groups import (
    EDITED_CLIP,
    OUTPUT,
    SHIPPED_MODEL,
    ModelOptions,
    OutputOptions,
    SamplerOptions,
    load_quietly,
)
from videofusion.cli.tuned import TUNED, needs_tuning, tune, tuned_on
from videofusion.errors import InputError, printable, unknown
from videofusion.registry import TRAINING_FREE

if TYPE_CHECKING:
    from torch import Tensor

    from videofusion.video.footage import Footage


@dataclass(frozen=True, kw_only=True)
class EditOptions:
    """How the video is edited.

    Args:
        method: sdedit (noise it, and take the noise away under the prompt), inversion (find its own noise, and sample
            from that under the prompt) or vary (find its own noise, keep what its frames share, exchange the rest);
            with image models also controlvideo (by ControlNets), text2video-zero (by ControlNets or InstructPix2Pix)
            or tune-a-video (one that is tuned on the video first)
        strength: how much of it is given up, above 0 and up to 1; the method's own by default
        source: what the video shows, for inversion and vary, and for tune-a-video where a model is to be tuned
        mask: picture or video of VIDEO's size, white where it may change; what is black is kept
        weight: of reconstruction guidance by what is kept, 1 to 4, two to three times as slow; 0 is without
        refinements: of each step of inversion, which then comes back to the video more closely; each takes as long as
            the inversion without
        run: for tune-a-video on an image model, the folder of the run that tunes it on the video; as --model, it edits
            again without a training
        tuning_steps: of that run, instead of the recipe's
    """

    method: Annotated[str, tyro.conf.arg(metavar="NAME")] = "sdedit"
    strength: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    source: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None
    mask: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    weight: Annotated[float, tyro.conf.arg(metavar="N")] = 0.0
    refinements: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    tuning_steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None

    def settings(self) -> dict[str, Any]:
        """What `tasks.edit` takes of them as they are."""
        return {name: getattr(self, name) for name in ("method", "strength", "source", "weight", "refinements")}


SDEDIT = EditOptions()


def edit(
    video: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")],
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")],
    start: Annotated[float | None, tyro.conf.arg(metavar="SECONDS")] = None,
    frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    editing: Annotated[EditOptions, tyro.conf.OmitArgPrefixes] = SDEDIT,
    model: Annotated[ModelOptions, tyro.conf.OmitArgPrefixes] = SHIPPED_MODEL,
    sampling: Annotated[SamplerOptions, tyro.conf.OmitArgPrefixes] = EDITED_CLIP,
    output: Annotated[OutputOptions, tyro.conf.OmitArgPrefixes] = OUTPUT,
    image: Annotated[ImageModels, tyro.conf.OmitArgPrefixes] = PLAIN,
) -> int:
    """Edit a video: have it show something else, move otherwise, or change in one part only.

    It is resized and cut to the model's size; of a longer one, as many frames as the model makes at once are edited.

    Args:
        video: mp4, gif, webp or what else FFmpeg reads
        prompt: what it is to show
        out: the file: .mp4, .gif, .webp, or .png for a contact sheet
        start: where to begin in the video, in seconds; for tune-a-video where the model's clip begins, by default
        frames: how many of its frames are edited; as many as the model makes at once by default
        editing: what is done
        model: the model
        sampling: sampling
        output: the file
        image: options for image models
    """
    if not prompt.strip():
        raise InputError(f"prompt is {prompt!r}; it must have at least one word")
    for group in (output, sampling, image, model):
        group.check()
    if frames is not None and frames < 1:
        raise InputError(f"frames is {frames}; it must be at least 1")

    files = output.files(out)

    from videofusion import tasks

    if editing.method not in tasks.METHODS:
        raise unknown("method", editing.method, tasks.METHODS)
    video, name = video.expanduser(), str(model.model)
    footage, pixels = _look(video, "video")
    if needs_tuning(editing.method, name, editing.run, editing.tuning_steps, editing.source):
        assert editing.run is not None
        asked = {"start": start, "frames": frames, "caption": editing.source}
        keys = {f"clips.{key}": value for key, value in asked.items()} | {"budget.steps": editing.tuning_steps}
        code = tune(name, video, editing.run, model.device, keys)
        if code:
            return code
        name, editing = str(editing.run), replace(editing, source=None)
    model, selection = replace(model, model=name), _Selection(video, footage, pixels, start, frames)
    return _edited(selection, prompt, files, editing, model, sampling, output, image)


class _Selection(NamedTuple):
    """A video, and which part of it is edited."""

    video: Path
    footage: Footage
    pixels: tuple[int, int]
    start: float | None
    frames: int | None


def _edited(
    selection: _Selection,
    prompt: str,
    files: Sequence[Path],
    editing: EditOptions,
    model: ModelOptions,
    sampling: SamplerOptions,
    output: OutputOptions,
    image: ImageModels,
) -> int:
    from tqdm import tqdm

    from videofusion import tasks
    from videofusion.clip import read_clip
    from videofusion.generation.image_options import call_of
    from videofusion.generation.keeping import decoded, write

    video, footage, pixels, start, frames = selection
    began = time.perf_counter()
    tuned = {**model.tuned(), "precision": model.precision}
    if image.system is None and editing.method in TRAINING_FREE:
        image = replace(image, system=editing.method)
    pipe = load_quietly(str(model.model), **image.load(), **tuned, device=model.device)
    size = (int(pipe.config.height), int(pipe.config.width))
    tuned_at, tuned_rate = tuned_on(pipe)
    start = tuned_at if start is None else start
    if frames is None and tuned_rate is None:
        left = int((footage.times >= start).sum())
        if left < 2:
            raise InputError(f'video "{video}" has {left} frames from {start:g} s on; at least 2 are edited')
        frames = min(left, int(pipe.config.frames))
    frames = int(pipe.config.frames) if frames is None else max(frames, 1)
    clip = read_clip(video, start=start, frames=frames, fps=tuned_rate, size=size)
    rate = output.fps or tuned_rate or footage.fps
    settings = sampling.settings() | ({"fps": rate} if pipe.takes_fps else {}) | editing.settings()
    told = {"prompt": prompt, "model": model.model, **tuned, **settings, **sampling.given(), **image.told()}
    told["edited"] = video.name
    back: list[Tensor] = []
    bar: Any = lambda steps: tqdm(steps, unit="step", leave=False)  # noqa: E731
    made = tasks.edit(
        pipe,
        clip,
        prompt,
        mask=None if editing.mask is None else _mask(editing.mask.expanduser(), video, pixels, size, len(clip)),
        output="latent",
        progress=bar,
        sampler_options=sampling.given(),
        back=back.append if editing.method == TUNED else None,
        **settings,
        **call_of(pipe, vars(image)),
    )
    if back:
        from videofusion.evaluation.metrics.reconstruction import clip_psnr

        told["reconstruction"] = round(float(clip_psnr(back[0][None].cpu(), clip[None], value_range=(-1, 1))), 2)
        print(f"inverted and sampled again, the video comes back with a PSNR of {told['reconstruction']:.1f} dB")
    clip = decoded(pipe, made, files[0], rate, told)
    seconds = time.perf_counter() - began
    for file in files:
        write(clip, file, rate, output.enlarged(*clip.shape[-2:]), told)
    made_of = f"{len(clip)} of {len(footage)} frames, seed {sampling.seed}, {seconds:.1f} s"
    print(f"{printable(', '.join(map(str, files)))}  ({made_of})")
    return 0


def _look(path: Path, what: str) -> tuple[Footage, tuple[int, int]]:
    """A video, with its height and width; raises InputError where it is none."""
    from videofusion.clip import open_footage
    from videofusion.video.decode import Unreadable

    footage = open_footage(path, what)
    try:
        (first,) = footage.decode([0])
    except Unreadable as error:
        raise InputError(f'the {what} "{path}" cannot be read: {error}') from error
    return footage, (first.shape[0], first.shape[1])


def _mask(path: Path, video: Path, pixels: tuple[int, int], size: tuple[int, int], frames: int) -> Tensor:
    """A mask [t 1 h w] from a file, brought to the model's size as the video is; t is 1 for a picture.

    Raises:
        InputError: no picture or video, another size than the video's, another number of frames, nothing white.
    """
    from videofusion.clip import read_mask

    footage, found = _look(path, "mask")
    if found != pixels:
        raise InputError(
            f'mask "{path}" is {found[1]}x{found[0]}; it must be of the size of "{video}", {pixels[1]}x{pixels[0]}'
        )
    if len(footage) not in (1, frames):
        raise InputError(f'mask "{path}" has {len(footage)} frames; it must have 1, or as many as are edited, {frames}')
    mask = read_mask(path, size)
    if not mask.any():
        raise InputError(f'mask "{path}" is black everywhere; what is white in it is edited')
    return mask
