"""Learning rate and progress of a run, as functions of steps and seconds."""

from __future__ import annotations

import math


def progress(step: int, steps: int, seconds: float, max_seconds: float | None) -> float:
    """How far a run has come, in [0, 1]: by steps, or by seconds where that is further.

    Args:
        step: optimiser steps taken.
        steps: the number after which the run ends.
        seconds: seconds of training spent, earlier sessions included.
        max_seconds: the budget of seconds, or None for no such limit.
    """
    by_time = 0.0 if max_seconds is None else seconds / max_seconds
    return min(1.0, max(step / steps, by_time))


def rate_factor(schedule: str, step: int, warmup: int, progress: float) -> float:
    """What the peak learning rate is multiplied by, in (0, 1].

    A linear warm-up over the first `warmup` steps, times 1 ("constant") or a half cosine over
    the whole run's progress down to 1 % ("cosine").
    """
    warm = 1.0 if step >= warmup else (step + 1) / warmup
    if schedule == "constant":
        return warm
    return warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * progress)))
