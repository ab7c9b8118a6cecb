"""Learning rate, progress and pace of a run, as functions of steps and seconds."""

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


class Pace:
    """How fast a session goes, and how long the run will still take.

    Args:
        progress: of the run when the session starts, see `progress`.
    """

    def __init__(self, progress: float) -> None:
        self._start, self._seconds = progress, 0.0
        self.rate = 0.0  # clips a second, averaged over about the last 30 steps

    def add(self, clips: int, seconds: float) -> None:
        """Count a step."""
        now = clips / max(seconds, 1e-9)
        self.rate = now if self._seconds == 0 else self.rate + (now - self.rate) / 30
        self._seconds += seconds

    def left(self, progress: float) -> float:
        """Seconds of training still to go, at the session's pace so far."""
        return self._seconds * (1 - progress) / max(progress - self._start, 1e-9)
