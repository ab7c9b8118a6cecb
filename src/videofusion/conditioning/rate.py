"""Frames per second that a clip shows of its scene (MagicVideo's new FPS), for data of several rates."""

from __future__ import annotations

from typing import Any

import torch

from videofusion.conditioning.condition import Condition, Request, Step
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError
from videofusion.keys import Stream, uniform

MOST = 1000.0


class FrameRate(Condition):
    """The rate as an embedding; its null value, 0, stands for some clips in training, as captions are dropped."""

    name, kind, option = "fps", "embedding", "fps"

    def network(self, colours: int) -> dict[str, Any]:
        return {"fps": True}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        if batch.fps is None:
            return Conditions()
        kept = uniform(keys.content, Stream.RATE, step.number) >= step.dropout
        return _told((batch.fps * kept.to(batch.fps.device)).to(batch.clip.device))

    def check(self, value: float) -> tuple[()]:
        if not 0 < value <= MOST:
            raise InputError(f"fps is {value}; it must be above 0 and at most {MOST:g}")
        return ()

    def sample(self, value: float | None, request: Request) -> Conditions:
        if value is None:
            return Conditions()
        return _told(torch.full((request.shape[0],), float(value), device=request.device))


def _told(fps: torch.Tensor) -> Conditions:
    return Conditions(fps=fps, null={"fps": torch.zeros(1, device=fps.device)})
