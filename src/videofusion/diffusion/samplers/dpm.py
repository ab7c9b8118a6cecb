"""DPM-Solver++ of second order, multistep."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.samplers.loop import Step, StepNoise, walk
from videofusion.diffusion.schedules import Schedule


def dpmpp_2m(
    denoiser: Denoiser, z: Tensor, times: Tensor, *, schedule: Schedule, noise: StepNoise | None = None, **rest: Any
) -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), data prediction, second order at one evaluation a step.

    Written as the DDIM step plus the change of x0 since the last step, which is the same and stays finite where the
    log-SNR does not: no signal at t = 1, no noise at t = 0. There, and at the first step, it is the DDIM step alone.
    The x0 kept from the last step is the one that `on_prediction` gave back.

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
    last: tuple[Tensor, Tensor] | None = None

    def update(step: Step, z: Tensor, prediction: Prediction) -> Tensor:
        nonlocal last
        width = -step.decay.log()  # h, of half the log-SNR
        z = step.alpha_s * prediction.x0 + step.sigma_s * prediction.eps
        if last is not None and width.isfinite() and last[1].isfinite():
            slope = (prediction.x0 - last[0]) * (width / (2 * last[1]))
            z = z + step.alpha_s * (1 - step.decay) * slope
        last = (prediction.x0, width)
        return z

    return walk(update, denoiser, z, times, schedule=schedule, **rest)
