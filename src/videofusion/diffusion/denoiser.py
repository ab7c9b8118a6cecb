"""The seam between networks and everything that uses them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.prediction import Prediction, expand
from videofusion.diffusion.schedules import Schedule
from videofusion.errors import InputError


@runtime_checkable
class Denoiser(Protocol):
    """From a noisy clip to a prediction of the clean one."""

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        """Predict.

        Args:
            z: noisy clip [b t c h w].
            t: time in [0, 1], [b] or [b t].
            conditions: of the same batch.
        """
        ...


class NetworkDenoiser:
    """Plain diffusion by one network: every image model, and Video Diffusion Models.

    Args:
        network: called as network(z, network_time, temporal=..., **conditions), returns a tensor of z's shape.
        schedule: of the diffusion it was trained for.
        prediction: what its output means: "eps", "x0", "v" or "flow".

    Raises:
        InputError: when called at a time where the output says nothing of x0 (eps at no signal) or of eps (x0 at no
            noise).
    """

    def __init__(self, network: nn.Module, schedule: Schedule, prediction: str = "v") -> None:
        self.network = network
        self.schedule = schedule
        self.prediction = prediction

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        alpha, sigma = self.schedule.alpha_sigma(t)
        if self.prediction == "eps" and not bool(alpha.all()):
            raise InputError("prediction is 'eps', which determines no clip where there is no signal; use v or x0")
        if self.prediction == "x0" and not bool(sigma.all()):
            raise InputError("prediction is 'x0', which determines no noise where there is none; use v or eps")
        output = self.network(z, self.schedule.network_time(t), temporal=conditions.temporal, **conditions.given())
        return Prediction.of(self.prediction, output, z, expand(alpha, z), expand(sigma, z))
