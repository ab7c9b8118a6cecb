"""Ancestral sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.samplers.loop import Step, StepNoise, check_fraction, need_noise, walk
from videofusion.diffusion.schedules import Schedule


def ddpm(
    denoiser: Denoiser,
    z: Tensor,
    times: Tensor,
    *,
    schedule: Schedule,
    noise: StepNoise | None = None,
    gamma: float = 0.0,
    **rest: Any,
) -> Tensor:
    """Ancestral sampler (Ho et al. 2020), its variance between the two bounds as in Video Diffusion Models.

    The mean is that of q(z_s | z_t, x0); the noise comes from the clip's source, so decomposed noise stays decomposed
    at every step (VideoFusion, appendix A). A step that ends at no noise adds none.

    Args:
        denoiser: predicts clean clip and noise.
        z: noisy clip at times[0], [b t c h w].
        times: [steps + 1] in [0, 1], decreasing.
        schedule: of the denoiser.
        noise: step to noise, [b t c h w]; step i asks for noise(i + 1).
        gamma: variance = lower^(1 - gamma) upper^gamma, in [0, 1], where lower is the variance of q(z_s | z_t, x0) and
            upper that of q(z_t | z_s), both at the scale of z_s.
        rest: conditions, on_prediction, on_state and progress, as in `walk`.

    Returns:
        the clip at times[-1].

    Raises:
        InputError: no noise, times that increase, or gamma outside [0, 1].
    """
    check_fraction("gamma", gamma)
    source = need_noise("ddpm", noise, times)

    def update(step: Step, z: Tensor, prediction: Prediction) -> Tensor:
        return ancestral(step, z, prediction, lambda: source(step.index + 1), gamma)

    return walk(update, denoiser, z, times, schedule=schedule, **rest)


def ancestral(step: Step, z: Tensor, prediction: Prediction, draw: Callable[[], Tensor], gamma: float) -> Tensor:
    """The rule for one step; `draw` makes its noise, and is called where there is any."""
    fresh = (1 - step.decay**2).clamp_min(0)
    mean = step.decay * step.sigma_s / step.sigma_t * z + fresh * step.alpha_s * prediction.x0
    if step.sigma_s == 0:
        return mean
    deviation = fresh.sqrt() * step.sigma_s ** (1 - gamma) * (step.growth * step.sigma_t) ** gamma
    return mean + deviation * draw().to(z)
