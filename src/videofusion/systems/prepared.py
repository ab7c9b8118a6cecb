"""What a pipeline hands from `prepare` to `run`: a batch that is ready to be sampled, and the hooks of its sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.editing import Start
from videofusion.diffusion.known import Known
from videofusion.diffusion.samplers.loop import OnPrediction, OnState, Progress
from videofusion.diffusion.schedules import Schedule


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What is called as a sampler goes along its times.

    Args:
        on_prediction: with every prediction and its time; its answer is used instead.
        on_state: with the clip after every step and its time; its answer is used instead.
        progress: wraps the iterable of step numbers, as tqdm does.
    """

    on_prediction: OnPrediction | None = None
    on_state: OnState | None = None
    progress: Progress | None = None


NO_HOOKS = Hooks()


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A batch of clips that is ready to be sampled.

    Args:
        denoiser: with guidance, and with the frames that are given.
        conditions: what it is told.
        noise: from a step to noise [b t c h w], 0 for what sampling starts from.
        times: [steps + 1] of the sampler.
        schedule: of the denoiser.
        sampler: as `SAMPLERS` has it, with its options.
        begin: where it begins; with noise at the first of the times when None.
        known: the frames that are given, if there are some.
    """

    denoiser: Denoiser
    conditions: Conditions
    noise: Callable[[int], Tensor]
    times: Tensor
    schedule: Schedule
    sampler: Callable[..., Tensor]
    begin: Callable[[], Start] | None = None
    known: Known | None = None
