"""The Fréchet distance between two clouds of features, and its spread.

    d² = |mu1 - mu2|² + tr(C1) + tr(C2) - 2 tr (C1 C2)^{1/2}

(Dowson and Landau 1982; used on features of a network by Heusel et al. 2017, eq. 6, and over
clips by Unterthiner et al. 2018.) The square root of the product is not taken: C1 C2 has the
eigenvalues of the symmetric C1^{1/2} C2 C1^{1/2}, so two symmetric eigenproblems do, and singular
covariances (fewer samples than features) are nothing special.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videofusion.errors import InputError

Array = NDArray[np.float64]


def moments(features: Array) -> tuple[Array, Array]:
    """Mean [d] and unbiased covariance [d d] of features [n d].

    Raises:
        InputError: fewer than two samples, or a value that is not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < 2:
        raise InputError(f"features must be [n d] with at least two samples, not of shape {features.shape}")
    if not np.isfinite(features).all():
        raise InputError("features must be finite, but some are not")
    mean = features.mean(axis=0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def frechet_distance(mu1: Array, cov1: Array, mu2: Array, cov2: Array) -> float:
    """Squared Fréchet distance between two Gaussians, as the literature reports it.

    Args:
        mu1: mean [d] of the first.
        cov1: its covariance [d d], symmetric and positive semi-definite.
        mu2: mean of the second.
        cov2: its covariance.

    Raises:
        InputError: shapes that do not fit each other.
    """
    mu1, cov1, mu2, cov2 = (np.asarray(a, dtype=np.float64) for a in (mu1, cov1, mu2, cov2))
    d = mu1.size
    if mu1.shape != (d,) or mu2.shape != (d,) or cov1.shape != (d, d) or cov2.shape != (d, d):
        raise InputError(
            "frechet_distance takes means [d] and covariances [d d] of one d, "
            f"not {mu1.shape}, {cov1.shape}, {mu2.shape} and {cov2.shape}"
        )
    values, vectors = np.linalg.eigh(cov1)
    root = vectors * _roots(values)
    overlap = _roots(np.linalg.eigvalsh(root.T @ cov2 @ root)).sum()
    return float(np.sum((mu1 - mu2) ** 2) + np.trace(cov1) + np.trace(cov2) - 2 * overlap)


def _roots(eigenvalues: NDArray[np.floating[Any]]) -> Array:
    """Square roots of eigenvalues that cannot be negative.

    Where the truth is zero, rounding leaves something of the size of `noise`, of either sign,
    whose root would not be small.
    """
    noise = eigenvalues.size * np.finfo(np.float64).eps * np.abs(eigenvalues).max(initial=0.0)
    return np.sqrt(np.where(eigenvalues > noise, eigenvalues, 0.0))


def feature_distance(real: Array, made: Array) -> float:
    """Squared Fréchet distance between two sets of features [n d] and [m d]."""
    return frechet_distance(*moments(real), *moments(made))


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A measured value with the standard deviation of its bootstrap replicates."""

    value: float
    deviation: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {self.deviation:.1g}"


def bootstrap(statistic: Callable[[Array], float], samples: Array, *, replicates: int = 50, seed: int = 0) -> Spread:
    """A statistic of samples [n ...] and its spread under drawing n of them with replacement.

    The value is that of the samples themselves: replicates of a Fréchet distance lie above it,
    since repeated samples have too small a covariance, so their mean is not an estimate of it.
    """
    rng = np.random.default_rng(seed)
    draws = [statistic(samples[rng.integers(0, len(samples), len(samples))]) for _ in range(replicates)]
    return Spread(value=statistic(samples), deviation=float(np.std(draws, ddof=1)))
