"""Fidelity and variety apart: precision and recall, density and coverage.

Both take a set to lie where the balls around its samples do, each ball as wide as the way to the sample's k-th nearest
neighbour in the set, itself not counted. Distances come from blocks of the matrix of all of them, so that memory stays
bounded; two that are equal but for rounding may fall on either side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from videofusion.errors import InputError
from videofusion.evaluation.metrics.frechet import Array, check_enough, check_pair

_BLOCK = 1024  # rows of the matrix of distances that are there at once, and columns


@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """The share of made samples where real ones lie, and of real samples where made ones lie; in [0, 1]."""

    precision: float
    recall: float


@dataclass(frozen=True, kw_only=True)
class DensityCoverage:
    """How densely made samples lie where real ones do (1 for equal sets, more at dense places); real samples met."""

    density: float
    coverage: float


def precision_recall(real: ArrayLike, made: ArrayLike, *, k: int = 3, allow_few: bool = False) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019; k = 3 there).

    Args:
        real: features [n d].
        made: features [m d].
        k: the neighbour that a ball reaches to.
        allow_few: whether n or m may be under 256.

    Raises:
        InputError: too few samples, a k that is not under both n and m, or features that do not fit.
    """
    real, made = _check(real, made, k, allow_few)
    precise, _ = _meet(real, made, _radii(real, k))
    recalled, _ = _meet(made, real, _radii(made, k))
    return PrecisionRecall(precision=float((precise > 0).mean()), recall=float((recalled > 0).mean()))


def density_coverage(real: ArrayLike, made: ArrayLike, *, k: int = 5, allow_few: bool = False) -> DensityCoverage:
    """Density and coverage (Naeem et al. 2020; k = 5 there); arguments and errors as `precision_recall`."""
    real, made = _check(real, made, k, allow_few)
    radii = _radii(real, k)
    balls, nearest = _meet(real, made, radii)
    return DensityCoverage(density=float(balls.mean() / k), coverage=float((nearest <= radii).mean()))


def _check(real: ArrayLike, made: ArrayLike, k: int, allow_few: bool) -> tuple[Array, Array]:
    real, made = check_pair(real, made)
    check_enough(len(real), len(made), allow_few=allow_few)
    if not 1 <= k < min(len(real), len(made)):
        raise InputError(
            f"k is {k}; it must be 1 to {min(len(real), len(made)) - 1}, one less than the number of samples"
        )
    middle = real.mean(axis=0)  # far from zero, the difference of large numbers below would cost digits
    return real - middle, made - middle


def _blocks(x: Array, y: Array) -> Iterator[tuple[slice, slice, Array]]:
    """Squared distances of rows of x and rows of y, a block at a time; all blocks of some rows of x in a row."""
    for i in range(0, len(x), _BLOCK):
        rows = slice(i, min(i + _BLOCK, len(x)))
        for j in range(0, len(y), _BLOCK):
            columns = slice(j, min(j + _BLOCK, len(y)))
            a, b = x[rows], y[columns]
            squares = np.einsum("nd,nd->n", a, a)[:, None] + np.einsum("nd,nd->n", b, b) - 2 * a @ b.T
            yield rows, columns, np.maximum(squares, 0)


def _radii(x: Array, k: int) -> Array:
    """Squared distance [n] of each sample to its k-th nearest other one."""
    nearest = np.full((len(x), k), np.inf)
    for rows, columns, squares in _blocks(x, x):
        if rows == columns:
            np.fill_diagonal(squares, np.inf)
        nearest[rows] = np.partition(np.concatenate([nearest[rows], squares], axis=1), k - 1, axis=1)[:, :k]
    return nearest.max(axis=1)


def _meet(centres: Array, points: Array, radii: Array) -> tuple[Array, Array]:
    """For each point the number of balls [m] it lies in, for each centre the squared way to the nearest point [n]."""
    balls, nearest = np.zeros(len(points)), np.full(len(centres), np.inf)
    for rows, columns, squares in _blocks(centres, points):
        balls[columns] += (squares <= radii[rows, None]).sum(axis=0)
        nearest[rows] = np.minimum(nearest[rows], squares.min(axis=1))
    return balls, nearest
