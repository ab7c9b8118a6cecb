"""The picture sizes that Stable Diffusion XL is conditioned on."""

from __future__ import annotations

from typing import Any

from videofusion.conditioning.condition import Condition, Request
from videofusion.conditioning.prompt_encoder import size_ids
from videofusion.diffusion.conditions import Conditions


class PictureSize(Condition):
    """The frames' own height and width, uncropped (Podell et al. 2023, sec. 2.2).

    Args:
        factor: pixels along a side of one of the places where clips are made.
    """

    name, kind = "time_ids", "embedding"

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def sample(self, value: Any, request: Request) -> Conditions:
        height, width = (side * self.factor for side in request.shape[-2:])
        return Conditions(time_ids=size_ids(height, width, clips=request.shape[0]).to(request.device))
