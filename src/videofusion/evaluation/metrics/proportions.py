"""Rates with their confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from videofusion.errors import InputError

Z = 1.959963984540054  # the 97.5 % point of the normal distribution


@dataclass(frozen=True, kw_only=True)
class Rate:
    """`hits` of `count` trials came out well."""

    hits: int
    count: int

    @staticmethod
    def of(outcomes: Iterable[bool]) -> Rate:
        """Count outcomes.

        Raises:
            InputError: there are none.
        """
        outcomes = [bool(outcome) for outcome in outcomes]
        if not outcomes:
            raise InputError("a rate needs at least one outcome, and there are none")
        return Rate(hits=sum(outcomes), count=len(outcomes))

    @property
    def value(self) -> float:
        """The share of hits, in [0, 1]."""
        return self.hits / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Wilson (1927), which stays in [0, 1] and works at 0 and 1."""
        n, p = self.count, self.value
        centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
        half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        # At the ends rounding must not exclude the rate itself.
        return min(p, max(0.0, centre - half)), max(p, min(1.0, centre + half))

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.value:.1f} % ({100 * low:.1f}-{100 * high:.1f})"

    def record(self) -> dict[str, object]:
        """What goes into a JSON record."""
        return {**asdict(self), "value": self.value, "interval": list(self.interval)}
