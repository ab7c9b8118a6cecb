"""Kernel distances: KID over features of frames, KVD over those of clips.

The squared maximum mean discrepancy under the kernel k(x, y) = (x·y / d + 1)³, in its unbiased form (Binkowski et al.
2018; over clips Unterthiner et al. 2018, and the papers that quote TATS's evaluation).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from videofusion.errors import InputError
from videofusion.evaluation.frechet import Array, Spread, check_pair

_BLOCK = 1024  # rows of a kernel matrix that are there at once, and columns


def polynomial_mmd(real: ArrayLike, made: ArrayLike) -> float:
    """The distance of two whole sets, unbiased and so below zero at times.

    Args:
        real: features [n d], n at least 2.
        made: features [m d], m at least 2.

    Raises:
        InputError: too few samples, unlike d, or a value that is not finite.
    """
    real, made = check_pair(real, made)
    n, m = len(real), len(made)
    return float(_among(real) / (n * (n - 1)) + _among(made) / (m * (m - 1)) - 2 * _kernel_sum(real, made) / (n * m))


def kernel_distance(real: ArrayLike, made: ArrayLike, *, subsets: int = 100, size: int = 1000, seed: int = 0) -> Spread:
    """The mean of `polynomial_mmd` over random subsets and its deviation over them, as KID is reported.

    Args:
        real: features [n d].
        made: features [m d].
        subsets: pairs of subsets that are drawn.
        size: samples in a subset; drawn without putting back.
        seed: of the draws.

    Raises:
        InputError: fewer samples than `size`, a `size` under 2, or fewer than 2 subsets.
    """
    real, made = check_pair(real, made)
    if not 2 <= size <= min(len(real), len(made)) or subsets < 2:
        raise InputError(
            f"size is {size} and subsets {subsets}; allowed are sizes from 2 to {min(len(real), len(made))}, "
            "the samples that there are, and two subsets or more"
        )
    rng = np.random.default_rng(seed)
    found = [
        polynomial_mmd(real[rng.permutation(len(real))[:size]], made[rng.permutation(len(made))[:size]])
        for _ in range(subsets)
    ]
    return Spread(value=float(np.mean(found)), deviation=float(np.std(found)))


def _among(x: Array) -> float:
    """Sum of the kernel over the pairs of two different samples."""
    alone = (np.einsum("nd,nd->n", x, x) / x.shape[1] + 1) ** 3
    return _kernel_sum(x, x) - float(alone.sum())


def _kernel_sum(x: Array, y: Array) -> float:
    total = 0.0
    for i in range(0, len(x), _BLOCK):
        for j in range(0, len(y), _BLOCK):
            product = x[i : i + _BLOCK] @ y[j : j + _BLOCK].T / x.shape[1] + 1
            total += float((product * product * product).sum())  # numpy's power is many times slower
    return total
