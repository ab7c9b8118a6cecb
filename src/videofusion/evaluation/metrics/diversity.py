"""Diversity of the clips of one condition in any feature space, and ratios of means with their spread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from videofusion.errors import InputError
from videofusion.evaluation.metrics.frechet import Spread, bootstrap

_REPLICATES = 200


def mean_pairwise(points: Float[Tensor, "b d"]) -> float:
    """Mean distance between two different points."""
    return float(torch.pdist(points).mean())


def condition_diversity(made: Sequence[Tensor], *, replicates: int = _REPLICATES, seed: int = 0) -> Spread:
    """Mean distance between two clips of one condition, with its spread over conditions.

    Args:
        made: for each condition, such as a prompt, the features of its clips [n d], n at least 2.
        replicates: draws of the bootstrap, two or more.
        seed: of the draws.

    Raises:
        InputError: fewer than two conditions, one with fewer than two clips, or a value that is not finite.
    """
    small = [tuple(m.shape) for m in made if m.ndim != 2 or len(m) < 2]
    if len(made) < 2 or small:
        raise InputError(
            f"made has {len(made)} conditions, {len(small)} of them not [n d] with two clips or more; "
            "it takes two conditions or more, all with two clips or more"
        )
    if not all(m.isfinite().all() for m in made):
        raise InputError("made must be finite, but some features are not")
    each = np.array([mean_pairwise(m) for m in made])
    return bootstrap(lambda drawn: float(drawn.mean()), each, replicates=replicates, seed=seed)


def diversity(made: Sequence[Tensor], real: Sequence[Tensor]) -> Spread:
    """Mean pairwise distance of made clips of a prompt over that of real ones, with its spread over prompts.

    Args:
        made: for each prompt the made clips' places [n d].
        real: for each prompt the real clips' places.
    """
    pairs = np.array([[mean_pairwise(m), mean_pairwise(r)] for m, r in zip(made, real, strict=True)])
    return ratio_of_means(pairs[:, 0], pairs[:, 1], paired=True)


def ratio_of_means(above: np.ndarray, below: np.ndarray, *, paired: bool = False, seed: int = 0) -> Spread:
    """Ratio of two means, and its bootstrap deviation."""
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(_REPLICATES):
        first = rng.integers(0, len(above), len(above))
        second = first if paired else rng.integers(0, len(below), len(below))
        draws.append(above[first].mean() / below[second].mean())
    return Spread(value=float(above.mean() / below.mean()), deviation=float(np.std(draws, ddof=1)))
