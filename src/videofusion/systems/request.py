"""A request to a pipeline: its checks, all made before any work, and what of it is known then."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import max_pool2d

from videofusion.conditioning.condition import Condition
from videofusion.diffusion.editing import Beginning
from videofusion.diffusion.guidance import Term
from videofusion.diffusion.known import Known
from videofusion.diffusion.noise import Keys
from videofusion.diffusion.options import SamplingOptions
from videofusion.errors import InputError, unknown
from videofusion.networks.autoencoder import Latents, Pixels

LARGEST = 4096  # frames, or pixels of a side, of a clip
MOST_STEPS = 10_000

Shape = tuple[int, int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class SamplingRequest:
    """How a batch of clips is to be sampled, checked; what conditions them is in `Conditions`.

    Args:
        shape: of the batch where it is made, [b t c h w].
        keys: of the clips.
        start: number of the first frame in a longer video.
        steps: of the sampler.
        sampler: a key of `SAMPLERS`.
        options: of sampling.
        beginning: what sampling begins from; noise when None.
    """

    shape: Shape
    keys: Keys
    start: int
    steps: int
    sampler: str
    options: SamplingOptions
    beginning: Beginning | None


def check_size(frames: int, height: int, width: int, *, own: int, any_length: bool) -> None:
    """Raise InputError for a number of frames that a model's clips cannot have, or a size that is too large.

    Args:
        frames: asked for.
        height: in pixels.
        width: in pixels.
        own: the model's number of frames; 1 for an image model.
        any_length: whether clips may have more.
    """
    if frames < 2 and own > 1:
        raise InputError(f"frames is {frames}; a clip must have at least 2")
    if frames != 1 and own == 1:
        raise InputError(f"frames is {frames}; this is an image model, it must be 1")
    if frames > own and not any_length:
        raise InputError(
            f"frames is {frames}; this model's clips have {own}, and longer ones go on from them: "
            f"videofusion.generate(pipe, prompt, frames={frames}), or videofusion.extend"
        )
    if frames > LARGEST:
        raise InputError(f"frames is {frames}; at most {LARGEST} can be asked for")
    if max(height, width) > LARGEST:
        raise InputError(f"size is {width}x{height}; at most {LARGEST} of each can be asked for")


def guidance_terms(guidance: float | Mapping[str, float], conditions: Sequence[Condition]) -> list[Term]:
    """The terms of guidance, that of the prompt first where it is a number.

    Args:
        guidance: one scale, or scales by the names of conditions.
        conditions: of the system.

    Raises:
        InputError: a name of no condition, or a scale that is none.
    """
    terms: list[tuple[tuple[str, ...], float]]
    if isinstance(guidance, Mapping):
        names = [condition.name for condition in conditions]
        for name in guidance:
            if name not in names:
                raise unknown("condition of guidance", name, names)
        terms = [((name,), scale) for name, scale in guidance.items()] or [(("text",), 1.0)]
    else:
        terms = [(tuple(condition.name for condition in conditions if condition.guided), guidance)]
    for _, scale in terms:
        if not (math.isfinite(scale) and scale >= 0):
            raise InputError(f"guidance is {guidance}; it must be a number of at least 0 (1 is off)")
    return [Term(names, scale) for names, scale in terms]


def check_known(known: Known, shape: Shape, factor: int) -> None:
    """Raise InputError for known frames that the clips cannot have.

    Args:
        known: as the caller gave it.
        shape: of the batch where it is made, [b t c h w].
        factor: pixels of a side over where clips are made.
    """
    clips, frames, channels, *size = shape
    wanted = (channels, *size) if known.latent else (3, *(side * factor for side in size))
    if tuple(known.frames.shape[-3:]) != wanted:
        raise InputError(
            f"known frames are {_by(known.frames.shape[-3:])}; those of the clip are {_by(wanted)} (c, h, w)"
        )
    everything = len(known.at) >= frames and (known.mask is None or not bool(known.mask.any()))
    if max(known.at) >= frames or everything:
        raise InputError(
            f"places of known frames are {list(known.at)}; a clip has {frames} frames, numbered from 0, and one at "
            "least must be left to make"
        )
    if known.frames.ndim == 5 and len(known.frames) != clips:
        raise InputError(f"known frames are of {len(known.frames)} clips; they must be of each of {clips}, or of one")
    if known.mask is not None and known.mask.ndim == 5 and len(known.mask) not in (1, clips):
        raise InputError(f"mask is of {len(known.mask)} clips; it must be of each of {clips}, or of one")


def encode_known(known: Known, clips: int, space: Pixels | Latents, device: torch.device) -> Known:
    """Known frames where the batch is made, b of each.

    Args:
        known: as `check_known` accepted it.
        clips: of the batch.
        space: where clips are made.
        device: where they are made.
    """
    given = known.frames.expand(clips, *known.frames.shape) if known.frames.ndim == 4 else known.frames
    given, mask = given.to(device).float(), known.mask
    if known.latent:
        return replace(known, frames=given)
    if mask is not None:  # a place of latents is made anew where any of its pixels is
        mask = max_pool2d(mask.flatten(0, -4).float(), space.factor).unflatten(0, mask.shape[:-3]) > 0
    return replace(known, frames=space.encode(given), latent=True, mask=mask)


def keys_of(seed: int | Sequence[int], motion_seed: int | Sequence[int] | None, count: int) -> Keys:
    """The keys of so many clips, from the seeds of each or of the first; raises InputError for what is no seed."""
    content = _seeds("seed", seed, count)
    return Keys.of(content, None if motion_seed is None else _seeds("motion_seed", motion_seed, count))


def _seeds(name: str, seed: int | Sequence[int], count: int) -> list[int]:
    seeds = [seed + i for i in range(count)] if isinstance(seed, int) else list(seed)
    if len(seeds) != count:
        raise InputError(f"{name} has {len(seeds)} entries; it must have one for each of {count} prompts")
    for each in seeds:
        if not (hasattr(each, "__index__") and -(2**63) <= each < 2**64):
            raise InputError(f"{name} is {each!r:.60}; it must be a whole number of at most 64 bits")
    return seeds


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))
