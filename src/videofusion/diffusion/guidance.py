"""Guidance: denoisers around denoisers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction, expand
from videofusion.errors import InputError


class ClassifierFree:
    """Classifier-free guidance (Ho & Salimans 2021): x0 = x0_free + scale (x0_given - x0_free), and eps alike.

    It wraps a whole composite: each branch of VideoFusion subtracts its own base noise. The denoiser is called once
    with and once without the conditions, not on a batch of both: guidance then needs no more memory than none.

    Args:
        denoiser: predicts clean clip and noise.
        scale: 1 is off (one call instead of two), above 1 follows the conditions more; at least 0.
        names: the conditions that the second call goes without.
        rescale: how much of the given prediction's contrast is restored, in [0, 1] (Lin et al. 2023, sec. 3.4).
        threshold: quantile of |x0| that is brought back to 1, in (0, 1], None for no thresholding; for clips in [-1, 1]
            (dynamic thresholding; Saharia et al. 2022, sec. 2.3). One quantile a clip: brightness must not flicker.
        interval: lowest and highest time at which clips are guided, in [0, 1]; at others they are left alone, and the
            second call is saved (Kynkaanniemi et al. 2024). Without the highest times, what is decided first, such as
            a course, varies more; without the lowest, where little is left to decide, little changes.
        skip: how much of its temporal layers the second call goes without, in [0, 1]. Above 0 it is guidance away from
            frames that agree less too (spatiotemporal skip guidance, Hyung et al. 2024, which leaves out whole layers
            in a call of its own).

    Raises:
        InputError: an option out of its range.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float,
        names: Sequence[str] = ("text",),
        rescale: float = 0.0,
        threshold: float | None = None,
        interval: Sequence[float] = (0.0, 1.0),
        skip: float = 0.0,
    ) -> None:
        if not (math.isfinite(scale) and scale >= 0):
            raise InputError(f"guidance scale is {scale}; it must be a number of at least 0 (1 is off)")
        if not 0 <= rescale <= 1:
            raise InputError(f"rescale is {rescale}; it must lie in [0, 1]")
        if threshold is not None and not 0 < threshold <= 1:
            raise InputError(f"threshold is {threshold}; it must be None or lie in (0, 1]")
        check_times_and_skip(interval, skip)
        self.denoiser = denoiser
        self.scale = scale
        self.names = tuple(names)
        self.rescale = rescale
        self.threshold = threshold
        self.lowest, self.highest = interval
        self.skip = skip

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        prediction = self.denoiser(z, t, conditions)
        if self.scale != 1:
            within = (self.lowest <= t) & (t <= self.highest)
            if (self.lowest <= 0 and self.highest >= 1) or bool(within.any()):
                less = replace(conditions.without(*self.names), temporal=(1 - self.skip) * conditions.temporal)
                scale = expand(torch.where(within, self.scale, 1.0), z)
                prediction = self._guided(prediction, self.denoiser(z, t, less), scale)
        if self.threshold is not None:
            prediction = prediction.with_x0(dynamic_threshold(prediction.x0, self.threshold))
        return prediction

    def _guided(self, given: Prediction, free: Prediction, scale: Tensor) -> Prediction:
        x0 = torch.lerp(free.x0, given.x0, scale)
        guided = replace(given, x0=x0, eps=torch.lerp(free.eps, given.eps, scale))
        if self.rescale == 0:
            return guided
        # a constant clip has no contrast to restore: nothing then divides by zero
        contrast = _spread(given.x0) / _spread(x0).clamp_min(1e-8)
        return guided.with_x0(x0 * (self.rescale * contrast + 1 - self.rescale))


def check_times_and_skip(interval: Sequence[float], skip: float) -> None:
    """Raise InputError unless these are an interval of times and a share of temporal layers; see `ClassifierFree`."""
    if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
        raise InputError(f"guidance interval is {list(interval)}; it must be a lowest and a highest time in [0, 1]")
    if not 0 <= skip <= 1:
        raise InputError(f"guidance skip is {skip}; it must lie in [0, 1]")


def _spread(clip: Tensor) -> Tensor:
    return clip.std(dim=(1, 2, 3, 4), keepdim=True)


def dynamic_threshold(x0: Tensor, quantile: float) -> Tensor:
    """Clip each clip at a quantile of its absolute values and divide by it, if it is above 1.

    Args:
        x0: [b t c h w].
        quantile: in (0, 1].

    Returns:
        [b t c h w] in [-1, 1].
    """
    size = x0.flatten(1).abs()
    # kthvalue, for torch.quantile refuses more than 16 million numbers
    limit = size.kthvalue(math.ceil(quantile * size.shape[1]), dim=1).values.clamp_min(1.0)
    limit = limit.reshape(-1, 1, 1, 1, 1)
    return x0.clamp(-limit, limit) / limit
