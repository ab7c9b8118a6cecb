"""`videofusion edit`."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from videofusion.cli.image_models import PLAIN, ImageModels
from videofusion.cli.options import Force, check_sampling, refuse_existing
from videofusion.cli.sampling import OWN, Turned
from videofusion.cli.tuned import TUNED, needs_tuning, tune, tuned_on
from videofusion.errors import InputError, printable
from videofusion.generation.rows import check_file
from videofusion.models import check_precision, find
from videofusion.registry import TRAINING_FREE

if TYPE_CHECKING:
    from torch import Tensor

    from videofusion.video.footage import Footage


def edit(
    video: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")],
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")],
    method: Annotated[str, tyro.conf.arg(metavar="NAME")] = "sdedit",
    strength: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None,
    source: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None,
    mask: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    weight: float = 0.0,
    refinements: Annotated[int, tyro.conf.arg(metavar="N")] = 1,
    start: Annotated[float | None, tyro.conf.arg(metavar="SECONDS")] = None,
    frames: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    model: Annotated[str, tyro.conf.arg(metavar="NAME")] = "moving-digits",
    run: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None,
    tuning_steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    lora: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None,
    lora_scale: float = 1.0,
    steps: int = 50,
    sampler: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    sampling: Annotated[Turned, tyro.conf.OmitArgPrefixes] = OWN,
    guidance: float | None = None,
    negative: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None,
    image: Annotated[ImageModels, tyro.conf.OmitArgPrefixes] = PLAIN,
    motion: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None,
    seed: Annotated[int, tyro.conf.arg(metavar="N")] = 0,
    motion_seed: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    fps: Annotated[float | None, tyro.conf.arg(metavar="N")] = None,
    scale: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    sheet: tyro.conf.FlagCreatePairsOff[bool] = False,
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    precision: Annotated[str, tyro.conf.arg(metavar="NAME")] = "float32",
    force: Force = False,
) -> int:
    """Edit a video: have it show something else, move otherwise, or change in one part only.

    It is resized and cut to the model's size; of a longer one, as many frames as the model makes at once are edited.

    Args:
        video: mp4, gif, webp or what else FFmpeg reads
        prompt: what it is to show
        out: the file: .mp4, .gif, .webp, or .png for a contact sheet
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
        start: where to begin in the video, in seconds; for tune-a-video where the model's clip begins, by default
        frames: how many of its frames are edited; as many as the model makes at once by default
        model: a name that `videofusion models` lists, the folder of a model, or an image model of diffusers (Stable
            Diffusion): its folder, or owner/name on the Hugging Face Hub
        run: for tune-a-video on an image model, the folder of the run that tunes it on the video; as --model, it edits
            again without a training
        tuning_steps: of that run, instead of the recipe's
        lora: LoRA weights that are added to the model's: a file, or the folder of the run that trained them
        lora_scale: how much of them; 1 is as trained
        steps: sampler steps of a whole way from noise, of which sdedit takes the part that strength says
        sampler: ddim, ddpm, dpm++, dpm++sde, heun, langevin or angular; ddim for methods that invert by default
        sampling: options of sampling
        guidance: how closely to follow the prompt; 1 is off; as the model is made for by default
        negative: what the video is not to show
        image: options for image models
        motion: from 0 (as little as the training clips had) to 1 (as much), for models trained with this knob
        seed: the same seed edits in the same way
        motion_seed: another one moves the same content otherwise
        fps: frames per second of the file, and of what happens in it, for models trained at several rates; the video's
            own by default
        scale: pixels of the file for each of the clip's; small clips are enlarged by default
        sheet: also write the frames side by side, as a .png beside OUT
        device: cpu, cuda, ...; the fastest there is by default
        precision: of the networks: float32, or bfloat16 or float16, which take half of the memory and often less time
        force: replace OUT if it exists
    """
    if not prompt.strip():
        raise InputError(f"prompt is {prompt!r}; it must have at least one word")
    check_file(fps, scale)
    check_sampling(sampler, steps, guidance, motion)
    check_precision(precision)
    image.check()
    find(model)
    if frames is not None and frames < 1:
        raise InputError(f"frames is {frames}; it must be at least 1")

    from videofusion.clip.output import check_output

    files = [check_output(file) for file in dict.fromkeys([out, *[out.with_suffix(".png")] * sheet])]
    refuse_existing(files, force)

    from diffusers.utils import logging
    from tqdm import tqdm

    from videofusion import tasks
    from videofusion.clip import read_clip, watchable_scale
    from videofusion.errors import unknown
    from videofusion.generation.image_options import call_of
    from videofusion.generation.keeping import decoded, write
    from videofusion.models import load

    if method not in tasks.METHODS:
        raise unknown("method", method, tasks.METHODS)
    video = video.expanduser()
    footage, pixels = _look(video, "video")
    if needs_tuning(method, model, run, tuning_steps, source):
        assert run is not None
        asked = {"clips.start": start, "clips.frames": frames, "clips.caption": source, "budget.steps": tuning_steps}
        code = tune(model, video, run, device, asked)
        if code:
            return code
        model, source = str(run), None
    logging.disable_progress_bar()  # of loading, which takes a moment
    began = time.perf_counter()
    tuned: dict[str, Any] = {} if lora is None else {"lora": str(lora), "lora_scale": lora_scale}
    tuned["precision"] = precision
    if image.system is None and method in TRAINING_FREE:
        image = dataclasses.replace(image, system=method)
    pipe = load(model, **image.load(), **tuned, device=device)
    size = (int(pipe.config.height), int(pipe.config.width))
    tuned_at, tuned_rate = tuned_on(pipe)
    start = tuned_at if start is None else start
    if frames is None and tuned_rate is None:
        frames = min(int((footage.times >= start).sum()), int(pipe.config.frames))
    frames = int(pipe.config.frames) if frames is None else max(frames, 1)
    clip = read_clip(video, start=start, frames=frames, fps=tuned_rate, size=size)
    rate = fps or tuned_rate or footage.fps
    settings: dict[str, Any] = {"steps": steps, "sampler": sampler, "guidance": guidance, "motion": motion}
    settings |= {"seed": seed, "motion_seed": motion_seed}
    if pipe.hears_fps:
        settings["fps"] = rate
    how: dict[str, Any] = {"method": method, "strength": strength, "source": source, "weight": weight}
    how["refinements"] = refinements
    more = call_of(pipe, {"negative": negative, **vars(image)})
    told = {"prompt": prompt, "model": model, **tuned, **settings, **sampling.given(), **how, **image.told()}
    told |= {"edited": video.name} | ({} if negative is None else {"negative": negative})
    back: list[Tensor] = []
    bar: Any = lambda steps: tqdm(steps, unit="step", leave=False)  # noqa: E731
    made = tasks.edit(
        pipe,
        clip,
        prompt,
        mask=None if mask is None else _mask(mask.expanduser(), video, pixels, size, len(clip)),
        output="latent",
        progress=bar,
        sampler_options=sampling.given(),
        back=back.append if method == TUNED else None,
        **how,
        **settings,
        **more,
    )
    if back:
        from videofusion.evaluation.metrics.reconstruction import clip_psnr

        told["reconstruction"] = round(float(clip_psnr(back[0][None].cpu(), clip[None], value_range=(-1, 1))), 2)
        print(f"inverted and sampled again, the video comes back with a PSNR of {told['reconstruction']:.1f} dB")
    clip = decoded(pipe, made, files[0], rate, told)
    seconds = time.perf_counter() - began
    for file in files:
        write(clip, file, rate, watchable_scale(*clip.shape[-2:]) if scale is None else scale, told)
    print(
        f"{printable(', '.join(map(str, files)))}  ({len(clip)} of {len(footage)} frames, seed {seed}, {seconds:.1f} s)"
    )
    return 0


def _look(path: Path, what: str) -> tuple[Footage, tuple[int, int]]:
    """A video, with its height and width; raises InputError where it is none."""
    from videofusion.video.decode import Unreadable, open_video

    try:
        footage = open_video(path)
        (first,) = footage.decode([0])
    except Unreadable as error:
        raise InputError(f'the {what} "{path}" cannot be read: {error}') from error
    return footage, (first.shape[0], first.shape[1])


def _mask(path: Path, video: Path, pixels: tuple[int, int], size: tuple[int, int], frames: int) -> Tensor:
    """A mask [t 1 h w] from a file, brought to the model's size as the video is; t is 1 for a picture.

    Raises:
        InputError: no picture or video, another size than the video's, another number of frames.
    """
    import torch

    from videofusion.clip import read_clip

    footage, found = _look(path, "mask")
    if found != pixels:
        raise InputError(
            f'mask "{path}" is {found[1]}x{found[0]}; it must be of the size of "{video}", {pixels[1]}x{pixels[0]}'
        )
    if len(footage) not in (1, frames):
        raise InputError(f'mask "{path}" has {len(footage)} frames; it must have 1, or as many as are edited, {frames}')
    mask = read_clip(path, size=size)
    return (mask.mean(dim=1, keepdim=True) > 0).to(torch.float32)
