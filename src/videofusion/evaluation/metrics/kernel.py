"""Kernel distances: KID over features of frames, KVD over those of clips.

The squared maximum mean discrepancy under the kernel k(x, y) = (x·y / d + 1)³, in its unbiased form (Binkowski et al.
2018; over clips Unterthiner et al. 2018, and the papers that quote TATS's evaluation).
"""

from __future__ import annotations

import numpy as np
from einops import rearrange, reduce
from numpy.typing import ArrayLike, NDArray

from videofusion.errors import InputError
from videofusion.evaluation.metrics.frechet import Array, Spread, check_pair

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


class ClipKernels:
    """The kernel's mean over the frames of every two clips, of which the distance of any draw of clips is made at once.

    Each frame is a sample, as of KID, but frames of one clip are no independent draws: an unbiased estimate is made of
    pairs of two clips only, n (n - 1) t² pairs of frames within n clips. `polynomial_mmd` of all frames counts pairs
    within a clip too, whose kernel is larger, and is too large by about 1/n of that.

    Args:
        real: features of the clips' frames [n t d], n at least 2.
        made: features [m t d], m at least 2.

    Raises:
        InputError: too few clips, unlike t or d, or a value that is not finite.
    """

    def __init__(self, real: Array, made: Array) -> None:
        if real.ndim != 3 or made.ndim != 3 or real.shape[1:] != made.shape[1:]:
            raise InputError(f"real and made must be [n t d] of one t and d, not of shapes {real.shape}, {made.shape}")
        if min(len(real), len(made)) < 2 or not (np.isfinite(real).all() and np.isfinite(made).all()):
            raise InputError(f"real has {len(real)} clips and made {len(made)}; they must be finite, and 2 or more")
        pairs = real.shape[1] ** 2
        self._across = _sums_of_clips(real, made) / pairs
        self._within = [_sums_of_clips(each, each) / pairs for each in (real, made)]
        self.clips = np.arange(len(real)), np.arange(len(made))

    def distance(self, real: NDArray[np.int64], made: NDArray[np.int64]) -> float:
        """The distance of clips that are told by number, as often as each is named; `clips` are all of them."""
        found, times = 0.0, []
        for numbers, means in zip((real, made), self._within, strict=True):
            count, often = len(numbers), np.bincount(numbers, minlength=len(means)).astype(np.float64)
            found += (often @ means @ often - often @ means.diagonal()) / (count * (count - 1))
            times.append(often / count)
        return float(found - 2 * times[0] @ self._across @ times[1])


def _among(x: Array) -> float:
    """Sum of the kernel over the pairs of two different samples."""
    return _kernel_sum(x, x) - float(_alone(x).sum())


def _alone(x: Array) -> Array:
    """The kernel of each sample [... d] with itself."""
    return (np.einsum("...d,...d->...", x, x) / x.shape[-1] + 1) ** 3


def _kernel_sum(x: Array, y: Array) -> float:
    total = 0.0
    for i in range(0, len(x), _BLOCK):
        for j in range(0, len(y), _BLOCK):
            total += float(_kernel(x[i : i + _BLOCK], y[j : j + _BLOCK]).sum())
    return total


def _sums_of_clips(x: Array, y: Array) -> Array:
    """The kernel summed over the frames of each clip of x [n t d] and of y [m t d], [n m]."""
    frames, step = x.shape[1], max(1, _BLOCK // x.shape[1])
    sums = np.empty((len(x), len(y)))
    for i in range(0, len(x), step):
        for j in range(i if y is x else 0, len(y), step):
            rows, columns = slice(i, i + step), slice(j, j + step)
            block = _kernel(rearrange(x[rows], "n t d -> (n t) d"), rearrange(y[columns], "m t d -> (m t) d"))
            sums[rows, columns] = reduce(block, "(n t) (m s) -> n m", "sum", t=frames, s=frames)
            if y is x:
                sums[columns, rows] = sums[rows, columns].T
    return sums


def _kernel(x: Array, y: Array) -> Array:
    product = x @ y.T / x.shape[1] + 1
    return product * product * product  # numpy's power is many times slower
