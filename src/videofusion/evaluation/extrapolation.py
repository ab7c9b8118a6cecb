"""The Fréchet distance that infinitely many samples would have (Chong and Forsyth 2020).

At N samples the distance is too large by about a constant over N, and the constant is the model's own, so an order of
models at one N need not be the true one. Distances over parts of the samples show the line; its end is at 1/N = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from videofusion.errors import InputError
from videofusion.evaluation.frechet import check_enough, check_pair, feature_distance


@dataclass(frozen=True, kw_only=True)
class Extrapolated:
    """A distance at N samples beside the one at infinitely many.

    `misfit` is the root mean square distance of the points from the line: where it is not small
    against the difference of the two, the line is not to be trusted.
    """

    count: int
    at_count: float
    at_infinity: float
    misfit: float

    def __str__(self) -> str:
        return f"{self.at_count:.4g} at N = {self.count}, {self.at_infinity:.4g} at infinity"


def frechet_at_infinity(
    real: ArrayLike,
    made: ArrayLike,
    *,
    least: int | None = None,
    points: int = 15,
    seed: int = 0,
    allow_few: bool = False,
) -> Extrapolated:
    """Distances over random parts of both sets, and where their line in 1/N ends.

    Parts are drawn from both sets in the same proportion, since the real one's number adds its own constant over N;
    the paper draws from the made set alone, against all real samples.

    Args:
        real: features [n d].
        made: features [m d].
        least: made samples in the smallest part; by default a quarter of them.
        points: sizes of parts, evenly spaced from `least` to m (15 in the paper).
        seed: of the parts.
        allow_few: whether n or m may be under 256; the parts may always.

    Raises:
        InputError: too few samples, a `least` that is not from 2 to under m, fewer than 3 points, or features that do
            not fit.
    """
    real, made = check_pair(real, made)
    count = len(made)
    check_enough(len(real), count, allow_few=allow_few)
    least = max(2, count // 4) if least is None else least
    if not 2 <= least < count or points < 3:
        raise InputError(
            f"least is {least} and points {points}; allowed are parts of 2 to {count - 1} samples and 3 points or more"
        )
    rng = np.random.default_rng(seed)
    sizes = np.unique(np.linspace(least, count, points).round().astype(int))
    found = []
    for size in sizes:
        few = max(2, round(size * len(real) / count))
        parts = real[rng.permutation(len(real))[:few]], made[rng.permutation(count)[:size]]
        found.append(feature_distance(*parts, allow_few=True))
    line = np.polynomial.Polynomial.fit(1 / sizes, found, 1, domain=[0, 1], window=[0, 1])
    return Extrapolated(
        count=count,
        at_count=found[-1],
        at_infinity=float(line(0)),
        misfit=float(np.sqrt(np.mean((line(1 / sizes) - found) ** 2))),
    )
