"""The Fréchet distance between two clouds of features, and its spread.

    d² = |mu1 - mu2|² + tr(C1) + tr(C2) - 2 tr (C1 C2)^{1/2}

(Dowson and Landau 1982; used on features of a network by Heusel et al. 2017, eq. 6, and over
clips by Unterthiner et al. 2018.) The square root of the product is not taken. With C1 = L L' the
product has the eigenvalues of the symmetric L' C2 L, so a Cholesky factor and one symmetric
eigenproblem without vectors do, several times faster. With fewer samples than features the trace
comes from the products of the samples with each other, and no covariance is formed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh

from videofusion.errors import InputError
from videofusion.evaluation.metrics.proportions import Z

Array = NDArray[np.float64]

LEAST = 256  # samples: below, a distance says more about their number than about the clips


def check_features(features: ArrayLike, name: str = "features", least: int = 1) -> Array:
    """Features [n d] in float64.

    Raises:
        InputError: another shape, fewer than `least` samples, or a value that is not finite.
    """
    features = np.asarray(features, dtype=np.float64)
    if features.ndim != 2 or len(features) < least or features.shape[1] == 0:
        raise InputError(f"{name} must be [n d] with n at least {least}, not of shape {features.shape}")
    if not np.isfinite(features).all():
        raise InputError(f"{name} must be finite, but some are not")
    return features


def check_pair(real: ArrayLike, made: ArrayLike, least: int = 2) -> tuple[Array, Array]:
    """Two sets of features [n d] and [m d] in float64.

    Raises:
        InputError: as `check_features`, or the sets differ in d.
    """
    real, made = check_features(real, "real", least), check_features(made, "made", least)
    if real.shape[1] != made.shape[1]:
        raise InputError(f"real has {real.shape[1]} features a sample and made {made.shape[1]}; they must be equal")
    return real, made


def check_enough(*counts: int, allow_few: bool) -> None:
    """Refuse a measure of fewer than 256 samples, unless it is asked for.

    Raises:
        InputError: a count is too small and `allow_few` is not set.
    """
    if min(counts) < LEAST and not allow_few:
        raise InputError(
            f"the measure is over {min(counts)} samples, but under {LEAST} it is unreliable: "
            "take more, or set allow_few if the number is not for comparison"
        )


def moments(features: ArrayLike) -> tuple[Array, Array]:
    """Mean [d] and unbiased covariance [d d] of features [n d].

    Raises:
        InputError: fewer than two samples, or a value that is not finite.
    """
    features = check_features(features, least=2)
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
        InputError: shapes that do not fit each other, or values that are not finite.
    """
    mu1, cov1, mu2, cov2 = (np.asarray(a, dtype=np.float64) for a in (mu1, cov1, mu2, cov2))
    d = mu1.size
    if mu1.shape != (d,) or mu2.shape != (d,) or cov1.shape != (d, d) or cov2.shape != (d, d):
        raise InputError(
            "frechet_distance takes means [d] and covariances [d d] of one d, "
            f"not {mu1.shape}, {cov1.shape}, {mu2.shape} and {cov2.shape}"
        )
    if not all(np.isfinite(a).all() for a in (mu1, cov1, mu2, cov2)):
        raise InputError("frechet_distance takes finite means and covariances, but some values are not")
    # A feature that is constant in one set has no part in the overlap, but would make its covariance singular.
    varying = (np.diag(cov1) > 0) & (np.diag(cov2) > 0)
    among = (cov1, cov2) if varying.all() else (cov1[varying][:, varying], cov2[varying][:, varying])
    overlap = _roots(_product_eigenvalues(*among)).sum()
    return float(np.sum((mu1 - mu2) ** 2) + np.trace(cov1) + np.trace(cov2) - 2 * overlap)


def _product_eigenvalues(cov1: Array, cov2: Array) -> Array:
    """Eigenvalues of C1 C2."""
    if cov1.size == 0:
        return np.zeros(0)
    try:
        return eigh(cov2, cov1, type=2, eigvals_only=True, driver="gv")  # of C2 C1 x = w x, by a Cholesky factor of C1
    except np.linalg.LinAlgError:  # C1 is singular: fewer samples than features, or features that depend on each other
        values, vectors = np.linalg.eigh(cov1)
        root = vectors * _roots(values)
        return np.linalg.eigvalsh(root.T @ cov2 @ root)


def _roots(eigenvalues: NDArray[np.floating[Any]]) -> Array:
    """Square roots of eigenvalues that cannot be negative.

    Where the truth is zero, rounding leaves something of the size of `noise`, of either sign,
    whose root would not be small.
    """
    noise = eigenvalues.size * np.finfo(np.float64).eps * np.abs(eigenvalues).max(initial=0.0)
    return np.sqrt(np.where(eigenvalues > noise, eigenvalues, 0.0))


def feature_distance(real: ArrayLike, made: ArrayLike, *, allow_few: bool = False) -> float:
    """Squared Fréchet distance between two sets of features.

    Args:
        real: features [n d].
        made: features [m d].
        allow_few: whether n or m may be under 256.

    Raises:
        InputError: too few samples, unlike d, or a value that is not finite.
    """
    real, made = check_pair(real, made)
    check_enough(len(real), len(made), allow_few=allow_few)
    if min(len(real), len(made)) >= real.shape[1]:
        return frechet_distance(*moments(real), *moments(made))
    shift = real.mean(axis=0) - made.mean(axis=0)
    # With C = X'X, Y'Y of the centred sets, tr (X'X Y'Y)^{1/2} is the sum of the singular values of X Y'.
    x = (real - real.mean(axis=0)) / np.sqrt(len(real) - 1)
    y = (made - made.mean(axis=0)) / np.sqrt(len(made) - 1)
    product = x @ y.T if len(x) <= len(y) else y @ x.T
    overlap = _roots(np.linalg.eigvalsh(product @ product.T)).sum()
    return float(np.sum(shift**2) + np.sum(x**2) + np.sum(y**2) - 2 * overlap)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A measured value with the standard deviation of its bootstrap replicates."""

    value: float
    deviation: float

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, as of a normal distribution around the value.

        Not the percentiles of the replicates: those of a Fréchet distance lie above the value (see `bootstrap`). It
        covers the mean over samples of the same number, not what infinitely many have (`extrapolation.py`).
        """
        return self.value - Z * self.deviation, self.value + Z * self.deviation

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
