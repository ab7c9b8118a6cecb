"""The Fréchet distance that infinitely many samples would have (Chong and Forsyth 2020).

At N samples the distance is too large by about a constant over N, and the constant is the model's own, so an order of
models at one N need not be the true one. Distances over parts of the samples show the line; its end is at 1/N = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from videofusion.errors import InputError
from videofusion.evaluation.metrics.frechet import Array, Spread, check_enough, check_pair, feature_distance


@dataclass(frozen=True, kw_only=True)
class Extrapolated:
    """A distance at N samples beside the one at infinitely many.

    `misfit` is the root mean square distance of the points from the line: where it is not small
    against the difference of the two, the line is not to be trusted. `deviation` is that of bootstrap replicates of
    the whole line's end, None without any. A distance is never negative, but its estimate may be: where the interval
    holds 0, the two sets are not told apart.
    """

    count: int
    at_count: float
    at_infinity: float
    misfit: float
    deviation: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the distance at infinitely many samples; None without replicates."""
        return None if self.deviation is None else Spread(value=self.at_infinity, deviation=self.deviation).interval

    def __str__(self) -> str:
        return f"{self.at_count:.4g} at N = {self.count}, {self.at_infinity:.4g} at infinity"


def frechet_at_infinity(
    real: ArrayLike,
    made: ArrayLike,
    *,
    least: int | None = None,
    points: int = 15,
    replicates: int = 0,
    seed: int = 0,
    allow_few: bool = False,
) -> Extrapolated:
    """Distances over random parts of both sets, and where their line in 1/N ends.

    Parts are drawn from both sets in the same proportion, since the real one's number adds its own constant over N;
    the paper draws from the made set alone, against all real samples. The line is that of two independent sets. Of
    the same samples twice, in whatever order, it would end below zero, since their parts differ and the whole does not:
    their distance is 0 at any number.

    Args:
        real: features [n d].
        made: features [m d].
        least: made samples in the smallest part; by default a quarter of them.
        points: sizes of parts, evenly spaced from `least` to m (15 in the paper).
        replicates: draws of both sets with replacement, each with a line of its own, behind `deviation`; 0 for none.
        seed: of the parts and of the draws.
        allow_few: whether n or m may be under 256; the parts may always.

    Raises:
        InputError: too few samples, a `least` that is not from 2 to under m, fewer than 3 points, 1 replicate, or
            features that do not fit.
    """
    real, made = check_pair(real, made)
    count = len(made)
    check_enough(len(real), count, allow_few=allow_few)
    least = max(2, count // 4) if least is None else least
    if not 2 <= least < count or points < 3:
        raise InputError(
            f"least is {least} and points {points}; least must be 2 to {count - 1} samples, and points 3 or more"
        )
    if replicates < 0 or replicates == 1:
        raise InputError(f"replicates is {replicates}; it must be 0, or 2 or more")
    if real.shape == made.shape and np.array_equal(np.sort(real, axis=0), np.sort(made, axis=0)):
        return Extrapolated(count=count, at_count=0.0, at_infinity=0.0, misfit=0.0, deviation=0.0)
    sizes = np.unique(np.linspace(least, count, points).round().astype(int))
    found, line = _line(real, made, sizes, np.random.default_rng(seed))
    ends = []
    for replicate in range(replicates):
        rng = np.random.default_rng([seed, replicate])
        others, anew = (part[rng.integers(0, len(part), len(part))] for part in (real, made))
        ends.append(float(_line(others, anew, sizes, rng)[1](0)))
    return Extrapolated(
        count=count,
        at_count=float(found[-1]),
        at_infinity=float(line(0)),
        misfit=float(np.sqrt(np.mean((line(1 / sizes) - found) ** 2))),
        deviation=float(np.std(ends, ddof=1)) if ends else None,
    )


def _line(
    real: Array, made: Array, sizes: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Array, np.polynomial.Polynomial]:
    """Distances over random parts of these sizes of the made set, and the line through them over 1 / size."""
    found = []
    for size in sizes:
        few = max(2, round(size * len(real) / len(made)))
        parts = real[rng.permutation(len(real))[:few]], made[rng.permutation(len(made))[:size]]
        found.append(feature_distance(*parts, allow_few=True))
    return np.array(found), np.polynomial.Polynomial.fit(1 / sizes, found, 1, domain=[0, 1], window=[0, 1])
