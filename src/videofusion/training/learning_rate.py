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
    """How fast a session goes, what holds it up, and how long the run will still take.

    Args:
        progress: of the run when the session starts, see `progress`.
    """

    def __init__(self, progress: float) -> None:
        self._start, self._seconds = progress, 0.0
        self.rate = 0.0  # clips a second, averaged over about the last 30 steps
        self._recent = {"spent": 0.0, "waited": 0.0, "used": 0.0, "read": 0.0}  # seconds of about as many steps

    def add(self, clips: int, seconds: float, waited: float = 0.0, used: float = 0.0, read: float = 0.0) -> None:
        """Count a step.

        Args:
            clips: in it.
            seconds: that it took.
            waited: of these, until its clips were there.
            used: CPU seconds of it, of the processes that read for it too.
            read: of these, spent on reading clips.
        """
        now = clips / max(seconds, 1e-9)
        self.rate = now if self._seconds == 0 else self.rate + (now - self.rate) / 30
        self._seconds += seconds
        for name, value in (("spent", seconds), ("waited", waited), ("used", used), ("read", read)):
            self._recent[name] += value - self._recent[name] / 30

    @property
    def waiting(self) -> float:
        """The share of the time that goes into waiting for clips, in [0, 1]."""
        return min(1.0, self._recent["waited"] / max(self._recent["spent"], 1e-9))

    @property
    def reading(self) -> float:
        """The share of the run's CPU seconds that goes into reading clips, in [0, 1]."""
        return min(1.0, self._recent["read"] / max(self._recent["used"], 1e-9))

    @property
    def numbers(self) -> dict[str, float]:
        """What the log keeps of it."""
        return {"clips_per_second": self.rate, "waiting": self.waiting, "reading": self.reading}

    def left(self, progress: float) -> float:
        """Seconds of training still to go, at the session's pace so far."""
        return self._seconds * (1 - progress) / max(progress - self._start, 1e-9)
