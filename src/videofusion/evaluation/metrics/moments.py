"""Accumulators over features, of constant size, which can be merged, saved and resumed.

`RunningMoments` for Fréchet distances and for the mean of any number per clip, `FeatureSample` for what needs the
samples themselves; `InceptionScore` in `inception.py` is a third.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from videofusion.errors import InputError
from videofusion.evaluation.metrics.frechet import Array, check_enough, check_features, frechet_distance
from videofusion.evaluation.metrics.proportions import Z

State = Mapping[str, NDArray]


class RunningMoments:
    """Mean and covariance of samples that come in parts, in float64.

    Parts are merged by the update of Chan, Golub and LeVeque (1979), which centres each part on its own mean, so
    neither a mean far from zero nor the number of samples costs digits.

    Args:
        size: features of a sample.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise InputError(f"size is {size}, but a sample has at least one feature")
        self.count = 0
        self._mean = np.zeros(size)
        self._scatter = np.zeros((size, size))

    def update(self, features: ArrayLike) -> None:
        """Add samples [n d], n at least one.

        Raises:
            InputError: another d, or a value that is not finite; nothing is added then.
        """
        features = check_features(features)
        self._check_size(features.shape[1])
        mean = features.mean(axis=0)
        centred = features - mean
        self._add(len(features), mean, centred.T @ centred)

    def merge(self, other: RunningMoments) -> None:
        """Add the samples that another has seen.

        Raises:
            InputError: it is of another d.
        """
        self._check_size(other._mean.size)
        if other.count:
            self._add(other.count, other._mean, other._scatter)

    def _add(self, count: int, mean: Array, scatter: Array) -> None:
        total = self.count + count
        shift = mean - self._mean
        self._scatter += scatter
        self._scatter += np.outer(shift * (self.count * count / total), shift)
        self._mean += shift * (count / total)
        self.count = total

    def _check_size(self, size: int) -> None:
        if size != self._mean.size:
            raise InputError(f"features has {size} values a sample; these moments are of {self._mean.size}")

    @property
    def mean(self) -> Array:
        """Mean [d]."""
        self._check_count(1)
        return self._mean.copy()

    @property
    def covariance(self) -> Array:
        """Unbiased covariance [d d]."""
        self._check_count(2)
        return self._scatter / (self.count - 1)

    def interval(self) -> tuple[Array, Array]:
        """The 95 % interval of the mean, [d] and [d], if the samples are independent."""
        self._check_count(2)
        half = Z * np.sqrt(np.diag(self._scatter) / (self.count - 1) / self.count)
        return self._mean - half, self._mean + half

    def _check_count(self, least: int) -> None:
        if self.count < least:
            raise InputError(f"the moments are over {self.count} samples, but this needs at least {least}")

    def distance(self, other: RunningMoments, *, allow_few: bool = False) -> float:
        """Squared Fréchet distance from what another has seen.

        Args:
            other: moments over features of the same network.
            allow_few: whether either may have seen under 256 samples.

        Raises:
            InputError: too few samples, or features of another size.
        """
        self._check_size(other._mean.size)
        check_enough(self.count, other.count, allow_few=allow_few)
        return frechet_distance(self.mean, self.covariance, other.mean, other.covariance)

    def state(self) -> dict[str, NDArray]:
        """All it holds, to be saved."""
        return {"count": np.array(self.count), "mean": self._mean.copy(), "scatter": self._scatter.copy()}

    @classmethod
    def from_state(cls, state: State) -> RunningMoments:
        """Go on from a saved state."""
        self = cls(state["mean"].size)
        self.count, self._mean, self._scatter = int(state["count"]), state["mean"].copy(), state["scatter"].copy()
        return self


class FeatureSample:
    """At most `limit` samples, drawn fairly from all that come: those whose keys have the least hashes.

    The draw depends on the keys and the seed only, so order, parts and interruptions change nothing, not even a bit.
    Features are held in float32, as networks give them. (Bottom-k sampling: Cohen and Kaplan 2007.)

    Args:
        size: features of a sample.
        limit: samples that are held.
        seed: of the draw.
    """

    def __init__(self, size: int, limit: int, seed: int = 0) -> None:
        if size < 1 or limit < 1:
            raise InputError(f"size is {size} and limit {limit}; both are at least 1")
        self.size, self.limit, self.seed = size, limit, seed
        self.count = 0  # of all that came
        self._held = 0  # rows of these two that count
        self._ranks = np.empty(limit, np.uint64)
        self._features = np.empty((limit, size), np.float32)  # a row takes no memory before it is written

    def update(self, features: ArrayLike, keys: Sequence[str | int]) -> None:
        """Add samples [n d], n at least one, with what each is known by, such as its file.

        Raises:
            InputError: another d, a value that is not finite, not one key a sample, or a key that is here already.
        """
        features = check_features(features)
        if len(keys) != len(features):
            raise InputError(f"keys are {len(keys)}, but there are {len(features)} samples")
        ranks = np.array([self._rank(key) for key in keys], dtype=np.uint64)
        self._add(len(features), ranks, features.astype(np.float32))

    def merge(self, other: FeatureSample) -> None:
        """Add the samples that another has seen.

        Raises:
            InputError: another d, limit or seed, or a sample that both hold.
        """
        if (self.limit, self.seed) != (other.limit, other.seed):
            raise InputError(
                f"other has limit {other.limit} and seed {other.seed}; to merge they must be {self.limit} "
                f"and {self.seed}, as here"
            )
        self._add(other.count, other._ranks[: other._held], other._features[: other._held])

    def _add(self, count: int, ranks: NDArray[np.uint64], features: NDArray[np.float32]) -> None:
        if features.shape[1] != self.size:
            raise InputError(f"features has {features.shape[1]} values a sample; those here have {self.size}")
        together = np.concatenate([self._ranks[: self._held], ranks])
        order = np.argsort(together)
        if (np.diff(together[order]) == 0).any():
            raise InputError("keys name a sample twice, or one that is here already; each counts once")
        least = order[: self.limit]
        stay, come = least[least < self._held], least[least >= self._held] - self._held
        # Those that come take the rows of those that go, and new ones; all others stay where they are.
        rows = np.setdiff1d(np.arange(len(least)), stay, assume_unique=True)
        self._ranks[rows], self._features[rows] = ranks[come], features[come]
        self._held = len(least)
        self.count += count

    def _rank(self, key: str | int) -> int:
        return int.from_bytes(hashlib.blake2b(f"{self.seed}/{key}".encode(), digest_size=8).digest(), "little")

    @property
    def features(self) -> Array:
        """The samples held, [min(count, limit) d], in an order that chance decided."""
        return self._features[self._order()].astype(np.float64)

    def _order(self) -> NDArray[np.intp]:
        return np.argsort(self._ranks[: self._held])

    def state(self) -> dict[str, NDArray]:
        """All it holds, to be saved."""
        numbers, order = np.array([self.limit, self.seed, self.count]), self._order()
        return {"numbers": numbers, "ranks": self._ranks[order], "features": self._features[order]}

    @classmethod
    def from_state(cls, state: State) -> FeatureSample:
        """Go on from a saved state."""
        limit, seed, count = (int(number) for number in state["numbers"])
        self = cls(state["features"].shape[1], limit, seed)
        self.count, self._held = count, len(state["ranks"])
        self._ranks[: self._held], self._features[: self._held] = state["ranks"], state["features"]
        return self
