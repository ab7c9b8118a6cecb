"""DPM-Solver++ of second order, multistep: of the flow, and of the SDE."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.samplers.ddpm import ancestral
from videofusion.diffusion.samplers.loop import Step, StepNoise, need_noise, walk
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
    change = _Change()

    def update(step: Step, z: Tensor, prediction: Prediction) -> Tensor:
        z = step.alpha_s * prediction.x0 + step.sigma_s * prediction.eps
        return z + step.alpha_s * (1 - step.decay) * change(step, prediction.x0)

    return walk(update, denoiser, z, times, schedule=schedule, **rest)


def dpmpp_2m_sde(
    denoiser: Denoiser, z: Tensor, times: Tensor, *, schedule: Schedule, noise: StepNoise | None = None, **rest: Any
) -> Tensor:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022), second order in x0 where `ddpm` is of first.

    Written as the step of `ddpm` with the lower variance, which is this solver of first order, plus the change of x0
    since the last step. The noise comes from the clip's source, so decomposed noise stays decomposed at every step.

    Args:
        denoiser: predicts clean clip and noise.
        z: noisy clip at times[0], [b t c h w].
        times: [steps + 1] in [0, 1], decreasing.
        schedule: of the denoiser.
        noise: step to noise, [b t c h w]; step i asks for noise(i + 1).
        rest: conditions, on_prediction, on_state and progress, as in `walk`.

    Returns:
        the clip at times[-1].

    Raises:
        InputError: no noise, or times that increase.
    """
    source = need_noise("dpm++sde", noise, times)
    change = _Change()

    def update(step: Step, z: Tensor, prediction: Prediction) -> Tensor:
        z = ancestral(step, z, prediction, lambda: source(step.index + 1), gamma=0.0)
        return z + step.alpha_s * (1 - step.decay**2) * change(step, prediction.x0)

    return walk(update, denoiser, z, times, schedule=schedule, **rest)


class _Change:
    """How much x0 changes in half a step, by what it did since the last one; nothing next to an infinite log-SNR."""

    def __init__(self) -> None:
        self._last: tuple[Tensor, Tensor] | None = None

    def __call__(self, step: Step, x0: Tensor) -> Tensor:
        width = -step.decay.log()  # h, of half the log-SNR
        last, self._last = self._last, (x0, width)
        if last is None or not (width.isfinite() and last[1].isfinite()):
            return torch.zeros((), dtype=x0.dtype, device=x0.device)
        return (x0 - last[0]) * (width / (2 * last[1]))
