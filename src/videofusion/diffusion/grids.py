"""Grids of times for samplers, which matter as much as the choice of the sampler.

A new one is a function and a line of `SPACINGS`. `docs/lab/2026-11-30-grids.md` measures them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from videofusion.diffusion.schedules import RHO, Discrete, RectifiedFlow, Schedule
from videofusion.errors import InputError

FIRST = 0.001  # time of the first training step, n = 0 of 1000


def times(
    schedule: Schedule,
    steps: int,
    *,
    spacing: str = "trailing",
    start: float = 1.0,
    covariance: Tensor | None = None,
) -> Tensor:
    """A sampler's times: from `start` down to exactly 0, or to the first training step where the spacing says so.

    Args:
        schedule: of the diffusion.
        steps: number of sampler steps, at least 1.
        spacing: a key of `SPACINGS`: "trailing" (even in time), "leading" (even, last step one stride above 0 as in
            DDPM's own code), "flow" (even in sigma / (alpha + sigma), the time of rectified flow), "logsnr" (even in
            log-SNR), "karras" (Karras et al. 2022, eq. 5), "sd" (as Stable Diffusion's own schedulers: leading, one
            training step later, and ending at the first training step, which is taken for clean), "sd-trailing"
            (even, with that end) or "sd3" (as Stable Diffusion 3's: even down to the first training step, then clean).
            "sd" and "sd-trailing" are for schedules with training steps, "sd3" for rectified flow.
        start: first time, in (0, 1]; below 1 for SDEdit-like edits.
        covariance: of the noise over frames [t t], None for noise of its own in every frame; read by "flow".

    Returns:
        float32 [steps + 1], decreasing.

    Raises:
        InputError: steps < 1, a start outside (0, 1], an unknown spacing, or one that the schedule does not have.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be at least 1")
    if not 0 < start <= 1:
        raise InputError(f"start is {start}; it must lie in (0, 1]")
    check_spacing(spacing)
    if spacing == "flow":
        return _flow(schedule, steps, start, covariance)
    return SPACINGS[spacing](schedule, steps, start)


def check_spacing(spacing: object) -> None:
    """Raise InputError unless it is a key of `SPACINGS`."""
    if spacing not in SPACINGS:
        raise InputError(f"spacing is {spacing!r}; it must be one of {', '.join(SPACINGS)}")


def _trailing(schedule: Schedule, steps: int, start: float) -> Tensor:
    return torch.linspace(start, 0, steps + 1)


def _leading(schedule: Schedule, steps: int, start: float) -> Tensor:
    stride = start / steps
    first = torch.arange(steps, 0, -1) * stride - stride + FIRST
    return torch.cat([first, torch.zeros(1)])


def _logsnr(schedule: Schedule, steps: int, start: float) -> Tensor:
    # the ends may be infinite: begin just inside them
    ends = schedule.logsnr(torch.tensor([min(start, 0.999), min(FIRST, start / 10)]).double())
    return _at(schedule, torch.linspace(float(ends[0]), float(ends[1]), steps, dtype=torch.float64), start)


def _karras(schedule: Schedule, steps: int, start: float) -> Tensor:
    high, low = (-schedule.logsnr(torch.tensor([start, FIRST]).double()) / 2).exp().tolist()  # sigma / alpha
    high = high if math.isfinite(high) else 80.0
    low = min(max(low, 0.002), high / 10)
    ratio = torch.linspace(high ** (1 / RHO), low ** (1 / RHO), steps, dtype=torch.float64) ** RHO
    return _at(schedule, -2 * ratio.log(), start)


def _flow(schedule: Schedule, steps: int, start: float, covariance: Tensor | None = None) -> Tensor:
    """Even in the mean of two times of rectified flow: of what frames share of the noise, and of what each has alone.

    Along a direction in which the noise has the variance w, a clip has the noise-to-signal ratio sqrt(w) sigma / alpha,
    and stands at the time u = sqrt(w) sigma / (alpha + sqrt(w) sigma) of rectified flow. Noise with the mean
    correlation r between frames has the variance 1 + (N - 1) r in what all frames have in common and 1 - r in the rest.
    """
    common = rest = 1.0
    if covariance is not None and len(covariance) > 1:
        count, covariance = len(covariance), covariance.cpu().double()
        r = float((covariance.sum() - covariance.trace()) / (count * (count - 1)))
        common, rest = max(1 + (count - 1) * r, 1e-4), max(1 - r, 1e-4)
    a, b = math.sqrt(common), math.sqrt(rest)
    ratio = float((-schedule.logsnr(torch.tensor([start]).double()) / 2).exp())
    first = 1.0 if math.isinf(ratio) else (a * ratio / (1 + a * ratio) + b * ratio / (1 + b * ratio)) / 2
    u = torch.linspace(first, 0, steps + 1, dtype=torch.float64)[:-1].clamp_max(1 - 1e-9)
    # the ratio at which the two times have the mean u: a quadratic equation
    linear = (a + b) * (1 - 2 * u)
    ratio_at = ((linear**2 + 16 * a * b * u * (1 - u)).sqrt() - linear) / (4 * a * b * (1 - u))
    return _at(schedule, -2 * ratio_at.log(), start)


def _sd(schedule: Schedule, steps: int, start: float) -> Tensor:
    trained = _trained("sd", schedule, start)
    stride = trained // steps
    if steps >= trained:
        raise InputError(f"steps is {steps}; with the spacing 'sd' it must be less than the {trained} of training")
    numbers = torch.arange(steps - 1, -1, -1, dtype=torch.float64) * stride + 1
    return (torch.cat([numbers, torch.zeros(1, dtype=torch.float64)]) + 1).div(trained).float()


def _sd_trailing(schedule: Schedule, steps: int, start: float) -> Tensor:
    trained = _trained("sd-trailing", schedule, start)
    if steps > trained // 2:
        raise InputError(f"steps is {steps}; with the spacing 'sd-trailing' it must be at most {trained // 2}")
    numbers = torch.linspace(trained, 0, steps + 1, dtype=torch.float64).round()[:-1]
    return torch.cat([numbers, torch.ones(1, dtype=torch.float64)]).div(trained).float()


def _sd3(schedule: Schedule, steps: int, start: float) -> Tensor:
    if not isinstance(schedule, RectifiedFlow):
        raise InputError("spacing is 'sd3', which is for the schedule 'rectified_flow'")
    # their first training step has been shifted once already when the times are shifted
    low = min(float(schedule.alpha_sigma(torch.tensor(FIRST).double())[1]), start / 10)
    times = torch.linspace(start, low, steps, dtype=torch.float64)
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)]).float()


def _trained(spacing: str, schedule: Schedule, start: float) -> int:
    """Training steps of a schedule that has some; raises InputError where there are none, or where it begins later."""
    if not isinstance(schedule, Discrete):
        raise InputError(f"spacing is {spacing!r}, which is for schedules with training steps, such as 'scaled_linear'")
    if start != 1:
        raise InputError(f"start is {start}; with the spacing {spacing!r} it must be 1")
    return schedule.steps


def _at(schedule: Schedule, logsnr: Tensor, start: float) -> Tensor:
    """Times of log-SNRs, the first of them put at `start` exactly, and 0."""
    inner = schedule.time_at(logsnr).float()
    inner[0] = start
    return torch.cat([inner, torch.zeros(1)])


SPACINGS: dict[str, Callable[[Schedule, int, float], Tensor]] = {
    "trailing": _trailing,
    "leading": _leading,
    "flow": _flow,
    "logsnr": _logsnr,
    "karras": _karras,
    "sd": _sd,
    "sd-trailing": _sd_trailing,
    "sd3": _sd3,
}


def shifted(times: Tensor, shift: float) -> Tensor:
    """Times of rectified flow, sigma after sigma' = shift sigma / (1 + (shift - 1) sigma) (Esser et al. 2024).

    Args:
        times: [steps + 1], where the schedule has no shift of its own.
        shift: multiplies the noise-to-signal ratio.
    """
    return RectifiedFlow(shift).alpha_sigma(times.double())[1].to(times.dtype)


def shift_at(patches: int, least: float, most: float, few: float, many: float) -> float:
    """The shift of pictures of so many patches: its logarithm grows evenly with their number (Flux, SD3).

    Args:
        patches: of a picture.
        least: that logarithm at `few` patches.
        most: at `many`.
        few: number of patches.
        many: likewise.
    """
    return math.exp(least + (most - least) * (patches - few) / (many - few))
