"""Frames that are given: a denoiser around a denoiser, which has the other frames follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction
from videofusion.errors import InputError


@dataclass(frozen=True)
class Known:
    """Frames of a clip that are given, and how the others are made to follow from them.

    Args:
        frames: [k c h w], or [b k c h w] for each clip its own; in [-1, 1].
        at: their places in the clip, k different ones from 0.
        weight: of reconstruction guidance, at least 0; VDM finds weights above 1 to be better. 0 is the replacement
            method, which costs nothing, and leaves it to the network to have the others agree with what it is shown.
        latent: whether the frames are what a model samples, its latents or pixels, rather than pixels in any case.

    Raises:
        InputError: as many places as frames are needed, different ones; numbers that are none.
    """

    frames: Tensor
    at: Sequence[int]
    weight: float = 0.0
    latent: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(int(place) for place in self.at))
        if self.frames.ndim not in (4, 5):
            raise InputError(
                f"known frames have the shape {tuple(self.frames.shape)}; they must be k c h w or b k c h w"
            )
        if len(self.at) != self.frames.shape[-4] or not self.at:
            raise InputError(
                f"known frames are {self.frames.shape[-4]}, and their places {list(self.at)}; there must be one place "
                "for each frame, and at least one"
            )
        if len(set(self.at)) < len(self.at) or min(self.at) < 0:
            raise InputError(f"places of known frames are {list(self.at)}; they must be different numbers from 0")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise InputError(f"weight of known frames is {self.weight}; it must be a number of at least 0")
        if not bool(self.frames.isfinite().all()):
            raise InputError("known frames hold numbers that are not finite")

    def one(self, place: int) -> Tensor | None:
        """The frame at a place [... 1 c h w], if it is given."""
        if place not in self.at:
            return None
        index = self.at.index(place)
        return self.frames[..., index : index + 1, :, :, :]


class Following:
    """Sampling with some frames given: replacement, and reconstruction guidance (Ho et al. 2022, sec. 3.1).

    Given frames are put into every prediction, x0 and the noise that agrees with it. So a sampler keeps them on the
    way that they would take if they were noised: at every step they are alpha x + sigma eps with the noise that they
    began with, or with what the sampler adds, drawn together with the other frames' (decomposed noise stays
    decomposed). The others are moved by how well the denoiser would have told the given ones:

        x0_b <- x0_b - (weight alpha / 2) (Σ ∇_z |x_a - x0_a(z)|²)_b

    Σ is the noise's covariance over frames. VDM's noise is independent, and has Σ = 1; Tweedie's formula,
    x0 = (z + sigma² Σ ∇ log p(z)) / alpha, asks for it.

    Args:
        denoiser: predicts clean clip and noise; with its guidance, if it has any.
        known: frames of the clips that it is called with.
        covariance: of the noise over frames [b t t]; None for noise of its own in every frame.
    """

    def __init__(self, denoiser: Denoiser, known: Known, covariance: Tensor | None = None) -> None:
        self.denoiser = denoiser
        self.known = known
        self.covariance = covariance

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        at, frames = list(self.known.at), self.known.frames.to(z)
        if self.known.weight == 0:
            prediction = self.denoiser(z, t, conditions)
            x0 = prediction.x0.clone()
        else:
            prediction, slope = self._slope(z, t, conditions, frames)
            x0 = prediction.x0 - self.known.weight * prediction.alpha / 2 * slope
        x0[:, at] = frames
        return prediction.with_x0(x0)

    def _slope(self, z: Tensor, t: Tensor, conditions: Conditions, frames: Tensor) -> tuple[Prediction, Tensor]:
        """The prediction, and Σ times the gradient of the squared error at the given frames, a sum."""
        with torch.enable_grad():
            seen = z.detach().requires_grad_()
            found = self.denoiser(seen, t, conditions)
            error = (found.x0[:, list(self.known.at)] - frames).square().sum()
            (slope,) = torch.autograd.grad(error, seen)
        if self.covariance is not None:
            slope = torch.einsum("bij,bjchw->bichw", self.covariance.to(slope), slope)
        return Prediction(z, found.x0.detach(), found.eps.detach(), found.alpha.detach(), found.sigma.detach()), slope
