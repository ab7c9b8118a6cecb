"""DDIM, as Song et al. 2021 write it and as a rotation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.samplers.loop import Step, StepNoise, check_fraction, need_noise, walk
from videofusion.diffusion.schedules import Schedule


def ddim(
    denoiser: Denoiser,
    z: Tensor,
    times: Tensor,
    *,
    schedule: Schedule,
    noise: StepNoise | None = None,
    eta: float = 0.0,
    **rest: Any,
) -> Tensor:
    """DDIM (Song et al. 2021, eq. 12): z_s = alpha_s x0 + sigma_s eps, first order.

    Args:
        denoiser: predicts clean clip and noise.
        z: noisy clip at times[0], [b t c h w].
        times: [steps + 1] in [0, 1]; increasing times invert (from a clip to its noise).
        schedule: of the denoiser.
        noise: step to noise, [b t c h w]; step i asks for noise(i + 1). Read only with eta > 0.
        eta: how much of each step's noise is fresh, in [0, 1]: 0 none, 1 as much as in DDPM with the lower variance.
        rest: conditions, on_prediction, on_state and progress, as in `walk`.

    Returns:
        the clip at times[-1].

    Raises:
        InputError: eta > 0 without noise or with increasing times; bad times.
    """
    check_fraction("eta", eta)
    source = need_noise("ddim", noise, times) if eta > 0 else None

    def update(step: Step, z: Tensor, prediction: Prediction) -> Tensor:
        fresh = eta * step.sigma_s * (1 - step.decay**2).clamp_min(0).sqrt() if source else torch.zeros(())
        old = (step.sigma_s**2 - fresh**2).clamp_min(0).sqrt()
        z = step.alpha_s * prediction.x0 + old * prediction.eps
        return z + fresh * source(step.index + 1).to(z) if source and step.sigma_s > 0 else z

    return walk(update, denoiser, z, times, schedule=schedule, **rest)


def angular(
    denoiser: Denoiser, z: Tensor, times: Tensor, *, schedule: Schedule, noise: StepNoise | None = None, **rest: Any
) -> Tensor:
    """DDIM in angles (Salimans & Ho 2022, appendix D): z_s = cos(φ_s - φ_t) z + sin(φ_s - φ_t) v.

    The same as `ddim` where x0 and eps agree with z; it reads v only, which is what a v-network knows best. A schedule
    that is not variance preserving is, once z and v are divided by sqrt(alpha² + sigma²).

    Args:
        denoiser: predicts clean clip and noise.
        z: noisy clip at times[0], [b t c h w].
        times: [steps + 1] in [0, 1], either way.
        schedule: of the denoiser.
        noise: not read; all samplers take it.
        rest: conditions, on_prediction, on_state and progress, as in `walk`.

    Returns:
        the clip at times[-1].

    Raises:
        InputError: bad times.
    """

    def update(step: Step, z: Tensor, prediction: Prediction) -> Tensor:
        turn = step.turn
        return step.growth * (turn.cos() * z + turn.sin() * prediction.v)

    return walk(update, denoiser, z, times, schedule=schedule, **rest)
