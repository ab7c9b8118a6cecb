"""The picture sizes that Stable Diffusion XL is conditioned on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from videofusion.conditioning.condition import Condition, Request, Step
from videofusion.conditioning.prompt_encoder import size_ids
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys


class PictureSize(Condition):
    """The frames' own height and width, uncropped (Podell et al. 2023, sec. 2.2).

    Args:
        factor: pixels along a side of one of the places where clips are made.
    """

    name, kind = "time_ids", "embedding"

    def __init__(self, factor: int) -> None:
        self.factor = factor

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        return self._told(batch.clip.shape, batch.clip.device)

    def sample(self, value: Any, request: Request) -> Conditions:
        return self._told(request.shape, request.device)

    def _told(self, shape: Sequence[int], device: torch.device) -> Conditions:
        height, width = (side * self.factor for side in shape[-2:])
        return Conditions(time_ids=size_ids(height, width, clips=shape[0]).to(device))
