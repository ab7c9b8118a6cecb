"""A clip beside the noisy one, frame by frame: the condition of image models that edit pictures (InstructPix2Pix)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from videofusion.clip.check import check_clip
from videofusion.conditioning.condition import Condition, Request
from videofusion.diffusion.conditions import Conditions
from videofusion.errors import InputError
from videofusion.networks.autoencoder import Latents, Pixels


class PictureBeside(Condition):
    """The frames that are edited, as latents without their scale (Brooks et al. 2023); null is nothing.

    Args:
        space: where clips are made.
    """

    name, kind, option = "beside", "beside", "beside"

    def __init__(self, space: Latents | Pixels) -> None:
        self.space = space

    def check(self, value: Any) -> Sequence[str]:
        if not isinstance(value, Tensor) or value.ndim not in (4, 5):
            raise InputError("beside must be a clip, t 3 h w or b t 3 h w in [-1, 1]")
        check_clip(value, name="beside", axes="t c h w" if value.ndim == 4 else "b t c h w")
        return ()

    def sample(self, value: Tensor | None, request: Request) -> Conditions:
        if value is None:
            raise InputError("beside is not given; this image model edits pictures, and needs a clip of them")
        clips = (value[None] if value.ndim == 4 else value).to(request.device).float()
        clips = clips.expand(request.shape[0], -1, -1, -1, -1)
        found = self.space.unscaled(self.space.encode(clips))
        if found.shape != request.shape:
            raise InputError(
                f"beside has {clips.shape[1]} frames of {clips.shape[-1]}x{clips.shape[-2]}; it must be of the clip's "
                f"size, {request.shape[1]} of {request.shape[-1] * self.space.factor}x"
                f"{request.shape[-2] * self.space.factor}"
            )
        return Conditions(beside=found, null={"beside": torch.zeros_like(found[:1])})
