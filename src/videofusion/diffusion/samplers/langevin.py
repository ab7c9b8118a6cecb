"""Ancestral steps, each corrected by Langevin steps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.samplers.ddpm import ancestral
from videofusion.diffusion.samplers.loop import Step, StepNoise, check_fraction, need_noise, walk
from videofusion.diffusion.schedules import Schedule


def langevin(
    denoiser: Denoiser,
    z: Tensor,
    times: Tensor,
    *,
    schedule: Schedule,
    noise: StepNoise | None = None,
    gamma: float = 0.0,
    delta: float = 0.1,
    **rest: Any,
) -> Tensor:
    """Predictor-corrector sampler of Video Diffusion Models (Ho et al. 2022; Song et al. 2021).

    After every step of `ddpm` some of the noise is exchanged for fresh noise from the clip's source,
    z <- z - delta/2 sigma eps + sqrt(delta) sigma eps' = alpha x0 + sigma ((1 - delta/2) eps + sqrt(delta) eps').
    It calls the denoiser twice a step, the last one aside.

    The factor is 1 - delta/2. For normal clips, in a direction in which z has the variance p and noise makes the part
    rho of it, a factor of 1 - c has corrections end at the variance q = (1 - c rho)² q + delta rho p. With c = delta/2
    that is q = p / (1 - rho delta/4): right where there is little noise (rho = 0), and too much by at most 1/3 of the
    noise's own, which later steps take away. sqrt(1 - delta) keeps the variance of noise around a known clip
    (rho = 1), but for rho = 0 its q is 2.6 % too little at delta = 0.1, in the clip itself and for good.

    Args:
        denoiser: predicts clean clip and noise.
        z: noisy clip at times[0], [b t c h w].
        times: [steps + 1] in [0, 1], decreasing.
        schedule: of the denoiser.
        noise: step to noise, [b t c h w]; step i asks for noise(2 i + 1) and noise(2 i + 2).
        gamma: as of `ddpm`.
        delta: part of the noise's power that a correction exchanges, in [0, 1].
        rest: conditions, on_prediction, on_state and progress, as in `walk`.

    Returns:
        the clip at times[-1].

    Raises:
        InputError: no noise, times that increase, gamma or delta outside [0, 1].
    """
    check_fraction("gamma", gamma)
    check_fraction("delta", delta)
    source = need_noise("langevin", noise, times)

    def update(step: Step, z: Tensor, prediction: Prediction) -> Tensor:
        z = ancestral(step, z, prediction, lambda: source(2 * step.index + 1), gamma)
        if step.sigma_s == 0:
            return z
        seen = step.predict(z)
        fresh = delta**0.5 * source(2 * step.index + 2).to(z)
        return step.alpha_s * seen.x0 + step.sigma_s * ((1 - delta / 2) * seen.eps + fresh)

    return walk(update, denoiser, z, times, schedule=schedule, **rest)
