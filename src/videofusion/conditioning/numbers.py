"""What Stable Video Diffusion is told in numbers: rate, motion, and noise on the first picture.

Each is one column of `Conditions.numbers`, in the order in which a system lists them (Blattmann et al. 2023, sec. 4).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from videofusion.conditioning.condition import Condition, Request, Step
from videofusion.conditioning.motion import measured_share
from videofusion.conditioning.rate import MOST
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError
from videofusion.keys import Stream, uniform

BUCKETS = 255  # the largest number of motion


class Number(Condition):
    """A number of each clip that a network is told; none is ever dropped.

    Attributes:
        usual: the user's value where none is given.
        most: the largest that there is.
    """

    name, kind = "numbers", "embedding"
    usual: float
    most: float

    def network(self, colours: int) -> dict[str, Any]:
        return {"numbers": 1}

    def check(self, value: float | int) -> tuple[()]:
        if not (math.isfinite(value) and 0 <= value <= self.most):
            raise InputError(f"{self.option} is {value}; it must lie in [0, {self.most:g}]")
        return ()

    def number(self, value: Any) -> Any:
        """What the network is told for a value."""
        return value

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        return Conditions(numbers=self.number(self.of(batch, keys, step))[:, None].to(batch.clip))

    def of(self, batch: Batch, keys: Keys, step: Step) -> Tensor:
        """The values of training clips [b]."""
        raise NotImplementedError

    def sample(self, value: float | int | None, request: Request) -> Conditions:
        told = float(self.number(self.usual if value is None else value))
        return Conditions(numbers=torch.full((request.shape[0], 1), told, device=request.device))


class RateNumber(Number):
    """Frames per second less one, as the network was trained; 7 frames where nobody says it."""

    option, usual, most = "fps", 7.0, MOST

    def number(self, value: Any) -> Any:
        return value - 1

    def of(self, batch: Batch, keys: Keys, step: Step) -> Tensor:
        given = torch.zeros(len(batch)) if batch.fps is None else batch.fps
        return torch.where(given > 0, given, self.usual)


class MotionNumber(Number):
    """How much moves, from 0 to 1, told as 0 to 255: half (127) where nobody says it.

    Published models were trained with the optical flow of their clips, which is not told exactly. Here it is how unlike
    the middle frame the others are, 1 less their mean `measured_share`.
    """

    option, usual, most = "motion", 127 / BUCKETS, 1.0

    def number(self, value: Any) -> Any:
        return BUCKETS * value

    def of(self, batch: Batch, keys: Keys, step: Step) -> Tensor:
        frames = batch.clip.shape[1]
        return 1 - (measured_share(batch.clip).sum(dim=1) - 1) / max(1, frames - 1)


class PictureNoise(Number):
    """The deviation of the noise on the first picture, in pixels of [-1, 1]; 0.02 where nobody says it.

    Args:
        mean: of its logarithm in training, which is normal.
        deviation: likewise.
    """

    option, usual, most = "image_noise", 0.02, 10.0

    def __init__(self, mean: float = -3.0, deviation: float = 0.5) -> None:
        self.mean, self.deviation = mean, deviation

    def of(self, batch: Batch, keys: Keys, step: Step) -> Tensor:
        return self.drawn(keys, step.number)

    def drawn(self, keys: Keys, step: int) -> Tensor:
        """Those of a training step's clips [b]."""
        place = 0.001 + 0.998 * uniform(keys.content, Stream.PICTURE_AMOUNT, step)
        return (self.mean + self.deviation * torch.special.ndtri(place)).exp().float()
