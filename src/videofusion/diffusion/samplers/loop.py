"""The walk along a sampler's times, which all samplers share, and what each of them is handed at a step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.schedules import Schedule
from videofusion.errors import InputError

OnPrediction = Callable[[Prediction, Tensor], Prediction]
OnState = Callable[[Tensor, Tensor], Tensor]
StepNoise = Callable[[int], Tensor]
Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Step:
    """One step of a sampler, from time t to time s; the scales are tensors without axes.

    Args:
        index: 0 for the first step.
        alpha_t: signal scale where the step begins.
        sigma_t: noise scale where the step begins.
        alpha_s: signal scale where it ends.
        sigma_s: noise scale where it ends.
        predict: the denoiser, with conditions and hook, as a function of z at the step's end (second-order samplers).
    """

    index: int
    alpha_t: Tensor
    sigma_t: Tensor
    alpha_s: Tensor
    sigma_s: Tensor
    predict: Callable[[Tensor], Prediction]

    @property
    def decay(self) -> Tensor:
        """exp(half of logsnr_t - logsnr_s), in a form that is finite at no signal (t) and at no noise (s)."""
        return self.alpha_t * self.sigma_s / (self.sigma_t * self.alpha_s)

    @property
    def turn(self) -> Tensor:
        """φ_s - φ_t, the angles whose sine and cosine are sigma and alpha."""
        return torch.atan2(self.sigma_s, self.alpha_s) - torch.atan2(self.sigma_t, self.alpha_t)

    @property
    def growth(self) -> Tensor:
        """sqrt(alpha² + sigma²) at the step's end over that at its beginning: 1 for variance-preserving schedules."""
        return torch.hypot(self.alpha_s, self.sigma_s) / torch.hypot(self.alpha_t, self.sigma_t)


Update = Callable[[Step, Tensor, Prediction], Tensor]


def walk(
    update: Update,
    denoiser: Denoiser,
    z: Tensor,
    times: Tensor,
    *,
    schedule: Schedule,
    conditions: Conditions,
    on_prediction: OnPrediction | None = None,
    on_state: OnState | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Take the steps between the times, one prediction at the beginning of each.

    Args:
        update: the sampler's rule: (step, z, prediction at z) to the next z.
        denoiser: predicts clean clip and noise.
        z: noisy clip at times[0], [b t c h w].
        times: [steps + 1] in [0, 1], decreasing to sample, increasing to invert.
        schedule: of the denoiser.
        conditions: of the batch.
        on_prediction: called with every prediction and its time (a tensor without axes); its answer is used instead.
        on_state: called with the clip after every step and its time; its answer is used instead.
        progress: wraps the iterable of step numbers, `tqdm` for example.

    Returns:
        the clip at times[-1].

    Raises:
        InputError: times are not a list of two or more, in order, in [0, 1].
    """
    check_times(times)
    times = times.cpu()  # the arithmetic of a step is on single numbers: no reason to wait for a device
    alphas, sigmas = schedule.alpha_sigma(times.double())

    def predict(index: int, z: Tensor) -> Prediction:
        t = times[index]
        prediction = denoiser(z, t.to(z.device).expand(z.shape[0]), conditions)
        return prediction if on_prediction is None else on_prediction(prediction, t)

    numbers: Iterable[int] = range(len(times) - 1)
    for i in numbers if progress is None else progress(numbers):
        step = Step(i, alphas[i], sigmas[i], alphas[i + 1], sigmas[i + 1], partial(predict, i + 1))
        z = update(step, z, predict(i, z))
        if on_state is not None:
            z = on_state(z, times[i + 1])
    return z


def check_times(times: Tensor) -> None:
    """Refuse times that no sampler can walk along.

    Raises:
        InputError: not [steps + 1], outside [0, 1], or neither decreasing nor increasing.
    """
    if times.ndim != 1 or len(times) < 2:
        raise InputError(f"times has shape {list(times.shape)}; it must be a list of at least two times")
    if not bool(((times >= 0) & (times <= 1)).all()):
        raise InputError(f"times go from {float(times.min()):g} to {float(times.max()):g}; they must lie in [0, 1]")
    change = times.diff()
    if not bool((change < 0).all() or (change > 0).all()):
        raise InputError(f"times are {times.tolist()}; they must decrease at every step, or increase at every step")


def need_noise(sampler: str, noise: StepNoise | None, times: Tensor) -> StepNoise:
    """The noise of a sampler that injects some.

    Raises:
        InputError: there is none, or the times run towards noise.
    """
    if noise is None:
        raise InputError(f"noise is None; the sampler {sampler!r} injects noise and needs a source of it")
    check_times(times)
    if times[0] < times[-1]:
        raise InputError(f"times increase; the sampler {sampler!r} injects noise and can only go from noise to data")
    return noise


def check_fraction(name: str, value: float) -> None:
    """Refuse a number outside [0, 1].

    Raises:
        InputError: it is outside.
    """
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value}; it must lie in [0, 1]")
