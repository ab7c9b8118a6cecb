"""Heun's method of second order, in angles."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.samplers.loop import Step, StepNoise, walk
from videofusion.diffusion.schedules import Schedule


def heun(
    denoiser: Denoiser, z: Tensor, times: Tensor, *, schedule: Schedule, noise: StepNoise | None = None, **rest: Any
) -> Tensor:
    """Heun's method (as Karras et al. 2022, algorithm 1) on dz/dφ = v, second order at two evaluations a step.

    The angle φ = atan2(sigma, alpha) is finite at no signal and at no noise, where Karras's sigma and the log-SNR are
    not; a schedule that is not variance preserving is, once z and v are divided by sqrt(alpha² + sigma²). The trapezoid
    has the weight tan(Δφ/2) in place of Δφ/2, which makes it exact where x0 and eps do not change. A step that ends at
    no noise is a DDIM step: nothing is to be predicted there.

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
        guess = step.alpha_s * prediction.x0 + step.sigma_s * prediction.eps
        if step.sigma_s == 0:
            return guess
        return step.growth * z + (step.turn / 2).tan() * (step.growth * prediction.v + step.predict(guess).v)

    return walk(update, denoiser, z, times, schedule=schedule, **rest)
