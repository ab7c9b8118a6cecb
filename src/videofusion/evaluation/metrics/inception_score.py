"""The Inception Score, exp of the mutual information between a sample and its class (Salimans et al. 2016, section 4).

Over clips with the classes of C3D it is the "video Inception Score" (Saito et al. 2017, TGAN).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax, xlogy

from videofusion.errors import InputError
from videofusion.evaluation.metrics.frechet import Array, Spread, check_enough, check_features
from videofusion.evaluation.metrics.moments import State


class InceptionScore:
    """The score of samples that come in parts and in order, over splits of equal size.

    Args:
        classes: of the classifier.
        count: samples that there will be; sample i is in split i * splits // count, as in one run over all.
        splits: parts that are scored apart (10 in the literature); the deviation is the population's over them.
    """

    def __init__(self, classes: int, count: int, splits: int = 10) -> None:
        if classes < 2 or not 1 <= splits <= count:
            raise InputError(
                f"classes is {classes}, count {count} and splits {splits}; "
                "allowed are two classes or more, and from 1 to count splits"
            )
        self.count, self.seen = count, 0
        self._total = np.zeros((splits, classes))  # of probabilities
        self._negentropy = np.zeros(splits)  # sums of p log p
        self._sizes = np.zeros(splits, np.int64)

    def update(self, probabilities: ArrayLike | None = None, *, logits: ArrayLike | None = None) -> None:
        """Add the next samples.

        Args:
            probabilities: of classes, [n k], each row of sum 1.
            logits: the same before the softmax; one of the two is given.

        Raises:
            InputError: none or both of them, no probabilities, another k, or more samples than `count`.
        """
        p = _probabilities(probabilities, logits)
        if p.shape[1] != self._total.shape[1]:
            raise InputError(f"there are {p.shape[1]} classes in a row, but the score is over {self._total.shape[1]}")
        if self.seen + len(p) > self.count:
            raise InputError(f"count is {self.count}, but {self.seen + len(p)} samples have come")
        split = np.arange(self.seen, self.seen + len(p)) * len(self._sizes) // self.count
        np.add.at(self._total, split, p)
        np.add.at(self._negentropy, split, xlogy(p, p).sum(axis=1))
        np.add.at(self._sizes, split, 1)
        self.seen += len(p)

    def score(self, *, allow_few: bool = False) -> Spread:
        """Mean and deviation over the splits.

        Raises:
            InputError: not all samples have come, or they are under 256 and `allow_few` is not set.
        """
        if self.seen < self.count:
            raise InputError(f"{self.seen} of {self.count} samples have come; the score needs them all")
        check_enough(self.count, allow_few=allow_few)
        mean = self._total / self._sizes[:, None]
        # mean KL(p(y|x) | p(y)) = mean of sum p log p, minus sum of the mean p times its log
        scores = np.exp(self._negentropy / self._sizes - xlogy(mean, mean).sum(axis=1))
        return Spread(value=float(scores.mean()), deviation=float(scores.std()))

    def state(self) -> dict[str, NDArray]:
        """All it holds, to be saved."""
        return {
            "numbers": np.array([self.count, self.seen]),
            "total": self._total.copy(),
            "negentropy": self._negentropy.copy(),
            "sizes": self._sizes.copy(),
        }

    @classmethod
    def from_state(cls, state: State) -> InceptionScore:
        """Go on from a saved state."""
        count, seen = (int(number) for number in state["numbers"])
        self = cls(state["total"].shape[1], count, len(state["sizes"]))
        self.seen, self._total = seen, state["total"].copy()
        self._negentropy, self._sizes = state["negentropy"].copy(), state["sizes"].copy()
        return self


def inception_score(
    probabilities: ArrayLike | None = None,
    *,
    logits: ArrayLike | None = None,
    splits: int = 10,
    allow_few: bool = False,
) -> Spread:
    """The score of samples that are all here, [n k]; arguments and errors as those of `InceptionScore`."""
    p = _probabilities(probabilities, logits)
    whole = InceptionScore(p.shape[1], len(p), splits)
    whole.update(p)
    return whole.score(allow_few=allow_few)


def _probabilities(probabilities: ArrayLike | None, logits: ArrayLike | None) -> Array:
    if logits is not None and probabilities is None:
        return softmax(check_features(logits, "logits"), axis=1)
    if logits is not None or probabilities is None:
        raise InputError("give either probabilities or logits")
    p = check_features(probabilities, "probabilities")
    # Float32 over a thousand classes sums to 1 within some 1e-6, bfloat16 within some 1e-3.
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-2:
        raise InputError("probabilities must be at least 0 and sum to 1 in each row; pass logits as logits")
    return p
