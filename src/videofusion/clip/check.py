"""The check of clips at every public entry, and conversion to bytes and back."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from videofusion.errors import InputError

# A sampler may end a rounding error outside of [-1, 1], bfloat16 some more.
_TOLERANCE = 0.02


def check_clip(clip: object, *, name: str = "clip", axes: str = "t c h w") -> Tensor:
    """Return `clip` if it is one, else say what is wrong with it.

    Args:
        clip: anything.
        name: the argument's name, for the message.
        axes: "t c h w" for one clip, "b t c h w" for several.

    Raises:
        InputError: not a floating-point tensor with these axes, 1 or 3 channels, at least one
            frame and finite values in [-1, 1].
    """
    if not isinstance(clip, Tensor):
        raise InputError(f"{name} is a {type(clip).__name__}; it must be a torch tensor with the axes {axes}")
    if clip.ndim != len(axes.split()):
        raise InputError(f"{name} has the shape {_shape(clip)}; it must have the axes {axes}")
    if 0 in clip.shape:
        raise InputError(f"{name} has the shape {_shape(clip)}, which is empty; every axis of {axes} is at least 1")
    if clip.shape[-3] not in (1, 3):
        raise InputError(f"{name} has {clip.shape[-3]} channels (shape {_shape(clip)} as {axes}); it must be 1 or 3")
    if not clip.is_floating_point():
        raise InputError(f"{name} holds {clip.dtype}; it must hold floating-point values in [-1, 1]")
    low, high = (float(bound) for bound in clip.detach().aminmax())
    if not -1 - _TOLERANCE <= low <= high <= 1 + _TOLERANCE:  # false for values that are no number, too
        raise InputError(f"{name} holds values from {low:.4g} to {high:.4g}; they must be finite and in [-1, 1]")
    return clip


def to_uint8(clip: Float[Tensor, "*batch c h w"]) -> UInt8[Tensor, "*batch h w 3"]:
    """Turn values in [-1, 1] into RGB bytes, channels last, as pictures are stored."""
    colour = clip.detach().float().cpu().expand(*clip.shape[:-3], 3, *clip.shape[-2:])
    return rearrange((colour * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8), "... c h w -> ... h w c")


def from_uint8(frames: UInt8[Tensor, "*batch h w 3"]) -> Float[Tensor, "*batch 3 h w"]:
    """Turn RGB bytes, channels last, into values in [-1, 1]; the inverse of `to_uint8`."""
    return rearrange(frames, "... h w c -> ... c h w").contiguous().float().div_(127.5).sub_(1)


def _shape(clip: Tensor) -> str:
    return "x".join(str(size) for size in clip.shape) or "of a single number"
