"""What sampling begins from when there is a clip already: the clip noised, inverted, or inverted and varied.

A `Beginning` is asked once for each denoiser that is sampled, so also for a base generator that makes the middle frame
first, which begins from the middle frame of the clip.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.noise import base_frame
from videofusion.diffusion.samplers.ddim import ddim
from videofusion.diffusion.samplers.inversion import invert
from videofusion.diffusion.samplers.loop import Progress, StepNoise
from videofusion.diffusion.schedules import Schedule
from videofusion.errors import InputError

_OWN = ("text", "text_mask", "pooled_text", "image_embedding")  # conditions that a clip has of its own


class Start(NamedTuple):
    """Where sampling begins.

    Args:
        z: noisy clip at times[0] [b t c h w].
        times: [steps + 1], decreasing.
    """

    z: Tensor
    times: Tensor


@runtime_checkable
class Beginning(Protocol):
    """Anything that says where sampling begins."""

    def __call__(
        self,
        denoiser: Denoiser,
        conditions: Conditions,
        noise: StepNoise,
        times: Tensor,
        schedule: Schedule,
        covariance: Tensor,
    ) -> Start:
        """Where it begins.

        Args:
            denoiser: that is sampled, without guidance.
            conditions: it is sampled with.
            noise: of the clips, from step to [b t c h w]; 0 is what sampling begins from otherwise.
            times: of the whole sampling.
            schedule: of the denoiser.
            covariance: of the noise over frames, [b t t] or [1 t t].
        """


def last_steps(times: Tensor, strength: float) -> Tensor:
    """The last steps of a grid, so many of them as `strength` says, in [0, 1], and at least one.

    Raises:
        InputError: a strength outside (0, 1].
    """
    if not 0 < strength <= 1:
        raise InputError(f"strength is {strength}; it must be above 0 and at most 1")
    steps = max(1, round(strength * (len(times) - 1)))
    return times[-steps - 1 :]


@dataclass(frozen=True)
class Noised:
    """The clip, noised as far as it is to be changed (SDEdit, Meng et al. 2022), with the model's own noise.

    Args:
        clip: where clips are made [b t c h w].
        strength: part of the sampler's steps that are taken, in (0, 1]: 1 keeps next to nothing of the clip.
    """

    clip: Tensor
    strength: float

    def __call__(
        self,
        denoiser: Denoiser,
        conditions: Conditions,
        noise: StepNoise,
        times: Tensor,
        schedule: Schedule,
        covariance: Tensor,
    ) -> Start:
        """See `Beginning`."""
        times, eps = last_steps(times, self.strength), noise(0)
        alpha, sigma = schedule.alpha_sigma(times[0].cpu().double())
        return Start(alpha * frames_of(self.clip, eps) + sigma * eps, times)


@dataclass(frozen=True)
class Inverted:
    """The noise that DDIM would make the clip of, told what it shows; see `invert`.

    Args:
        clip: where clips are made [b t c h w].
        strength: part of the sampler's steps that are inverted, and taken again, in (0, 1].
        source: the clip's own text and embedding; None for no text.
        refinements: of every step of the inversion.
        fresh: part of the power of the frames' own noise that is exchanged for the model's noise of another seed, in
            [0, 1]; see `vary_noise`.
        progress: wraps the steps of the inversion.
        back: is given what DDIM makes of that noise under the conditions of the inversion, at the price of as many
            steps once more: how much of the clip survives.
    """

    clip: Tensor
    strength: float = 1.0
    source: Conditions | None = None
    refinements: int = 0
    fresh: float = 0.0
    progress: Progress | None = None
    back: Callable[[Tensor], None] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.fresh <= 1:
            raise InputError(f"fresh is {self.fresh}; it must lie in [0, 1]")

    def __call__(
        self,
        denoiser: Denoiser,
        conditions: Conditions,
        noise: StepNoise,
        times: Tensor,
        schedule: Schedule,
        covariance: Tensor,
    ) -> Start:
        """See `Beginning`."""
        times, eps = last_steps(times, self.strength), noise(0)
        clip = frames_of(self.clip, eps)
        shown = self._shown(conditions, clip)
        z = invert(
            denoiser,
            clip,
            times.flip(0),
            schedule=schedule,
            conditions=shown,
            refinements=self.refinements,
            progress=self.progress,
        )
        if self.back is not None:
            self.back(ddim(denoiser, z, times, schedule=schedule, conditions=shown, progress=self.progress))
        if not self.fresh:
            return Start(z, times)
        power = torch.hypot(*schedule.alpha_sigma(times[0].cpu().double()))
        return Start(vary_noise(z, power * eps, self.fresh, covariance), times)

    def _shown(self, conditions: Conditions, clip: Tensor) -> Conditions:
        """The conditions under which the clip is inverted: its own text, and its own middle frame."""
        if self.source is None:
            told = conditions.without("text")
        else:
            told = replace(conditions, **{name: getattr(self.source, name) for name in _OWN})
        if told.middle_frame is None:
            return told
        middle = base_frame(clip.shape[1])
        return replace(told, middle_frame=clip[:, middle : middle + 1])


def vary_noise(z: Tensor, other: Tensor, fresh: float, covariance: Tensor) -> Tensor:
    """Keep the base frame's noise and what it tells of the others', and exchange a part of the rest.

    With Σ the covariance over frames and m the base frame, z^i = Σ_im z^m + r^i, where r is uncorrelated with z^m, and
    the other noise alike: Σ_im z^m + sqrt(1 - fresh) r^i + sqrt(fresh) r'^i has the covariance Σ again. Of decomposed
    noise z^m is the base noise b, Σ_im = sqrt(λ^i), and r the residual noise: the same content moves otherwise
    (VideoFusion, eq. 7 and sec. 4.7).

    Args:
        z: noise of the clip [b t c h w].
        other: noise of the same covariance, of its shape.
        fresh: part of the power that is exchanged, in [0, 1].
        covariance: Σ, 1 on its diagonal, [b t t] or [1 t t].
    """
    at = base_frame(z.shape[1])
    told = covariance[:, :, at].to(z)[:, :, None, None, None]
    base = told * z[:, at : at + 1]
    own, others = z - base, other - told * other[:, at : at + 1]
    return base + (1 - fresh) ** 0.5 * own + fresh**0.5 * others


def frames_of(clip: Tensor, noise: Tensor) -> Tensor:
    """A clip's frames where all are made, and its middle one where one is [b t c h w].

    Raises:
        InputError: a clip of another size than the noise.
    """
    if noise.shape[1] == 1 < clip.shape[1]:
        at = base_frame(clip.shape[1])
        clip = clip[:, at : at + 1]
    if clip.shape != noise.shape:
        raise InputError(f"clip has the shape {tuple(clip.shape)}; what is made has {tuple(noise.shape)}")
    return clip.to(noise)
