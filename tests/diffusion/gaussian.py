"""Clips with a normal law, whose denoiser and whose probability-flow solution are known exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from videofusion.diffusion import Conditions, Prediction, Schedule, expand


class Gaussian:
    """Frames x ~ N(mean, data), noised by alpha x + sigma eps with eps ~ N(0, noise); pixels are independent.

    Args:
        schedule: of the diffusion.
        mean: [t].
        data: covariance over frames [t t].
        noise: covariance over frames [t t].
    """

    def __init__(self, schedule: Schedule, mean: Tensor, data: Tensor, noise: Tensor) -> None:
        self.schedule = schedule
        self.mean = mean
        self.data = data
        self.noise = noise

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        """The exact denoiser, by the conditional expectation of a normal law."""
        alpha, sigma = self.schedule.alpha_sigma(t[:1].double())
        inverse = torch.linalg.inv(alpha**2 * self.data + sigma**2 * self.noise)
        mean = expand(self.mean[None], z)
        residue = over_frames(inverse, z - alpha * mean)
        x0 = mean + alpha * over_frames(self.data, residue)
        return Prediction(z, x0, sigma * over_frames(self.noise, residue), alpha, sigma)

    def flow(self, z: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """The exact solution of the probability-flow equation from time start to time end."""
        root = torch.linalg.cholesky(self.noise)
        white = torch.linalg.solve(root, torch.linalg.solve(root, self.data).mT)
        values, vectors = torch.linalg.eigh(white)
        turn = vectors.mT @ torch.linalg.inv(root)  # makes data and noise diagonal at once
        (a0, a1), (s0, s1) = self.schedule.alpha_sigma(torch.stack([start, end]).double())
        mean = expand(self.mean[None], z)
        growth = ((a1**2 * values + s1**2) / (a0**2 * values + s0**2)).sqrt()
        return a1 * mean + over_frames(torch.linalg.inv(turn) @ torch.diag(growth) @ turn, z - a0 * mean)


def over_frames(matrix: Tensor, clip: Tensor) -> Tensor:
    """A matrix [t t] applied along the frames of a clip [b t c h w]."""
    return torch.einsum("ij,bjchw->bichw", matrix, clip)


def unit_clips(frames: int) -> Tensor:
    """One clip of one pixel for every frame, 1 in that frame and 0 elsewhere: a linear map is what it does to them."""
    return torch.eye(frames, dtype=torch.float64).reshape(frames, frames, 1, 1, 1)
