"""Editing: a clip that there is becomes another one, by one interface over any system.

A new method is a line of `METHODS`: what sampling begins from, or what else a pipeline is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from videofusion.clip.check import check_clip
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.editing import Beginning, Inverted, Noised
from videofusion.diffusion.known import Known
from videofusion.diffusion.noise import base_frame
from videofusion.diffusion.samplers.loop import Progress
from videofusion.errors import InputError, unknown
from videofusion.systems.controlvideo import ControlVideoPipeline
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.text2video_zero import Text2VideoZeroPipeline
from videofusion.systems.tune_a_video import TuneAVideoPipeline


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a method is given.

    Args:
        clip: where the model makes clips [b t c h w].
        strength: in (0, 1].
        source: makes the conditions under which the clip is what it is.
        refinements: of inversion.
        progress: wraps its steps.
        back: is given what comes back of an inversion, where the model makes clips.
    """

    clip: Tensor
    strength: float
    source: Callable[[], Conditions]
    refinements: int
    progress: Progress | None = None
    back: Callable[[Tensor], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way of editing.

    Args:
        summary: what it does, in a few words.
        strength: by default, in (0, 1]; None for a method that has none.
        begin: what sampling begins from; as the pipeline begins by itself when None.
        asked: further keywords of the pipeline's call, for a clip's pixels [b t 3 h w].
        sampler: by default; the model's own when None.
        inverts: whether it finds a clip's noise.
        takes_source: whether that is told what the clip shows.
    """

    summary: str
    strength: float | None = None
    begin: Callable[[Asked], Beginning] | None = None
    asked: Callable[[VideoPipeline, Tensor], dict[str, Any]] | None = None
    sampler: str | None = None
    inverts: bool = False
    takes_source: bool = True


def _inverted(asked: Asked, strength: float, fresh: float = 0.0) -> Inverted:
    return Inverted(
        asked.clip,
        strength,
        asked.source(),
        refinements=asked.refinements,
        fresh=fresh,
        progress=asked.progress,
        back=asked.back,
    )


def _by_controlvideo(pipe: VideoPipeline, clips: Tensor) -> dict[str, Any]:
    if not isinstance(pipe, ControlVideoPipeline) or not pipe.controls:
        raise InputError(
            "method is 'controlvideo', which takes an image model with ControlNets "
            "(--controlnet FOLDER; in Python load(model, system='controlvideo', controlnet=FOLDER))"
        )
    return {"structure": clips}


def _by_text2video_zero(pipe: VideoPipeline, clips: Tensor) -> dict[str, Any]:
    if not isinstance(pipe, Text2VideoZeroPipeline) or not (pipe.edits or pipe.controls):
        raise InputError(
            "method is 'text2video-zero', which takes a folder of InstructPix2Pix as its model, or an image model with "
            "ControlNets (--controlnet FOLDER; in Python load(model, system='text2video-zero', controlnet=FOLDER))"
        )
    return ({"beside": clips} if pipe.edits else {}) | ({"structure": clips} if pipe.controls else {})


def _by_tune_a_video(pipe: VideoPipeline, clips: Tensor) -> dict[str, Any]:
    if not isinstance(pipe, TuneAVideoPipeline):
        raise InputError(
            "method is 'tune-a-video', which takes a model that was tuned on the clip: "
            "train tune-a-video --base MODEL --data CLIP --caption TEXT"
        )
    return {}


METHODS = {
    "sdedit": Method(
        summary="noise the clip, and take the noise away under the prompt: the more strength, the less stays",
        strength=0.7,
        begin=lambda asked: Noised(asked.clip, asked.strength),
    ),
    "inversion": Method(
        summary="find the clip's own noise by DDIM, and sample from it under the prompt",
        strength=1.0,
        begin=lambda asked: _inverted(asked, asked.strength),
        sampler="ddim",
        inverts=True,
    ),
    "vary": Method(
        summary="find the clip's own noise, exchange a part of what is not shared by its frames, and sample again",
        strength=0.5,
        begin=lambda asked: _inverted(asked, 1.0, fresh=asked.strength),
        sampler="ddim",
        inverts=True,
    ),
    "tune-a-video": Method(
        summary="a model tuned on the clip samples from the clip's own noise, found by DDIM without text",
        strength=1.0,
        begin=lambda asked: _inverted(asked, asked.strength),
        asked=_by_tune_a_video,
        sampler="ddim",
        inverts=True,
        takes_source=False,
    ),
    "text2video-zero": Method(
        summary="an image model edits frame by frame, or takes over their structure, and looks at the first frame",
        asked=_by_text2video_zero,
    ),
    "controlvideo": Method(
        summary="an image model takes over the clip's structure by ControlNets, and looks at all frames",
        asked=_by_controlvideo,
    ),
}


@torch.no_grad()
def edit(
    pipe: VideoPipeline,
    clip: Tensor,
    prompt: str | Sequence[str],
    *,
    method: str = "sdedit",
    strength: float | None = None,
    source: str | Sequence[str] | None = None,
    mask: Tensor | None = None,
    weight: float = 0.0,
    refinements: int = 1,
    back: Callable[[Tensor], None] | None = None,
    output: str = "clip",
    **sampling: Any,
) -> Tensor:
    """Edit a clip.

    Args:
        pipe: the model.
        clip: [t c h w] in [-1, 1], or [b t c h w] with a list of prompts; as many frames as the model makes at once or
            fewer, of a height and width that it takes.
        prompt: what it is to show; one for each clip.
        method: a key of `METHODS`.
        strength: how much of the clip is given up, in (0, 1]; the method's own by default. For "vary", the part of the
            frames' own noise that is exchanged.
        source: what the clip shows, for methods that invert it: one text, or one for each clip; none by default.
        mask: what of the clip may change: 1 there, 0 where it is kept to the bit (of a model in latents, its latents);
            [t 1 h w] or [b t 1 h w], where t, h and w may be 1 for all.
        weight: of reconstruction guidance by what is kept, see `Known`.
        refinements: of each step of inversion, see `invert`; one brings most clips back, none costs half.
        back: is given, for methods that invert, what comes back of the clip when its noise is sampled as it was found,
            without the prompt, [t c h w] or [b t c h w]: how well the clip was inverted, at the price of as many steps.
        output: "clip", or "latent" for what the model's `decode` makes clips of.
        sampling: seed, motion_seed, steps, sampler, sampler_options, guidance, motion, fps and progress, as the model
            takes them. The samplers of methods that invert are "ddim" by default: it is what they invert.

    Returns:
        the clip's shape, or that of its latents.

    Raises:
        InputError: another method, and anything else outside what is said above.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    how = METHODS[method]
    if strength is not None and how.strength is None:
        raise InputError(f"strength is {strength}; the method {method!r} has none, leave it out")
    if source is not None and not how.takes_source:
        raise InputError(f"source is {source!r:.200}; the method {method!r} inverts without text, leave it out")
    if mask is None and weight != 0:
        raise InputError(f"weight is {weight}; it is of what a mask keeps, and no mask is given, leave it out")
    if back is not None and not how.inverts:
        raise InputError(f"back is given; the method {method!r} does not invert")
    strength = (how.strength or 1.0) if strength is None else strength
    if not 0 < strength <= 1:
        raise InputError(f"strength is {strength}; it must be above 0 and at most 1")
    if method == "vary" and bool((pipe.noise_source().covariance(frames=range(2)) == 1).all()):
        raise InputError(
            "method is 'vary', which exchanges what the noise of frames does not share; all frames of this model begin "
            "from one noise"
        )
    one = isinstance(prompt, str)
    clip = check_clip(clip, axes="t c h w" if one else "b t c h w")
    clips = clip[None] if one else clip
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if len(prompts) != len(clips):
        raise InputError(f"clip holds {len(clips)} clips; it must hold one for each of {len(prompts)} prompts")
    frames, channels, height, width = clips.shape[1:]
    if channels != 3:
        raise InputError(f"clip has {channels} channels; to be edited it must have 3")
    if frames > pipe.config.frames and not pipe.any_length:
        raise InputError(f"clip has {frames} frames; this model edits at most {pipe.config.frames} at once")
    pixels = clips.to(pipe.where).float()
    pipe.space.check_size(height, width)
    known = None if mask is None else Known(pixels, range(frames), weight, mask=mask)
    size: dict[str, Any] = {"frames": frames, "height": height, "width": width}
    texts = _texts(source, prompts)
    more = {} if how.asked is None else how.asked(pipe, pixels)
    beginning = None
    if how.begin is not None:
        encoded = pipe.space.encode(pixels)

        def shown() -> Conditions:
            asked = {name: value for name, value in sampling.items() if name != "progress"}
            return source_conditions(pipe, encoded, prompts, texts, **size, **asked)

        def came_back(made: Tensor) -> None:
            if back is not None and made.shape == encoded.shape:  # and no middle frame that is made first
                decoded = pipe.decode(pipe.space.bounded(made.float()))
                back(decoded[0] if one else decoded)

        beginning = how.begin(
            Asked(
                clip=encoded,
                strength=strength,
                source=shown,
                refinements=refinements,
                progress=sampling.get("progress"),
                back=None if back is None else came_back,
            )
        )
    sampling = {"sampler": how.sampler or pipe.config.sampler} | {
        name: value for name, value in sampling.items() if name != "sampler" or value is not None
    }
    return pipe(
        prompt,
        beginning=beginning,
        known=known,
        output=output,
        **more,
        **size,
        **sampling,
    )


def source_conditions(
    pipe: VideoPipeline, clip: Tensor, prompts: Sequence[str], texts: Sequence[str] | None, **asked: Any
) -> Conditions:
    """The conditions under which a clip is what it is: its text or none, and what follows from its middle frame.

    Args:
        pipe: the model.
        clip: where the model makes clips [b t c h w].
        prompts: for the clips that are to be made of it.
        texts: of the clip; None where nothing is said.
        asked: of those clips, as `VideoPipeline.prepare` takes it.
    """
    middle = base_frame(clip.shape[1])
    known = None if clip.shape[1] == 1 else Known(clip[:, middle : middle + 1], [middle], latent=True)
    told = pipe.prepare(prompts if texts is None else texts, known=known, **asked).conditions
    return told.without("text") if texts is None else told


def _texts(source: str | Sequence[str] | None, prompts: Sequence[str]) -> list[str] | None:
    """The texts of the clips; raises InputError for another number of them."""
    if source is None:
        return None
    texts = [source] * len(prompts) if isinstance(source, str) else list(source)
    if len(texts) != len(prompts):
        raise InputError(f"source has {len(texts)} texts; it must have one, or one for each of {len(prompts)} clips")
    return texts
