"""One function for each kind of metric: from the features of two sets of clips to numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from einops import rearrange
from numpy.typing import NDArray

from videofusion.errors import InputError
from videofusion.evaluation.metrics.diversity import condition_diversity
from videofusion.evaluation.metrics.extrapolation import frechet_at_infinity
from videofusion.evaluation.metrics.frechet import Array, Spread, bootstrap, feature_distance
from videofusion.evaluation.metrics.inception_score import inception_score
from videofusion.evaluation.metrics.kernel import ClipKernels, polynomial_mmd
from videofusion.evaluation.metrics.manifold import density_coverage, precision_recall
from videofusion.evaluation.protocols import Metric
from videofusion.evaluation.tally import Tally

_COSTLY_REPLICATES = 20  # at most, where each costs as much as a kernel distance, or as a line of 15 distances
_LINE_CLIPS = 12  # fewer give no three sizes of parts


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One number of an evaluation.

    Args:
        value: over all clips.
        interval: 95 %, by drawing whole clips of either set anew; None where there is none. It covers what other clips
            of the same number come to on average, which for a Fréchet distance is more than infinitely many would.
        deviation: what the literature reports beside the value: of an Inception Score over its splits.
        at_infinity: the value extrapolated to infinitely many clips. It may be below zero: see its interval.
        at_infinity_interval: 95 %, around `at_infinity`; where it holds 0, the two sets are not told apart.
        misfit: of that line; see `Extrapolated`.
        held: clips of the two sets (real, made) that everything but the value is made of.
        of_real: the same of the real clips, for what is measured of either set by itself.
        curve: of a mean over clips, its part for each frame: the first one that it counts, the next one, and so on.
    """

    value: float
    interval: tuple[float, float] | None = None
    deviation: float | None = None
    at_infinity: float | None = None
    at_infinity_interval: tuple[float, float] | None = None
    misfit: float | None = None
    held: tuple[int, int] | None = None
    of_real: float | None = None
    curve: tuple[float, ...] | None = None


class Given(NamedTuple):
    """What all kinds are made of.

    Args:
        real: features of the real clips.
        made: features of the generated ones.
        replicates: draws of the bootstrap; 0 for no intervals.
        seed: of the draws.
        allow_few: whether there may be under 256 clips.
    """

    real: Tally
    made: Tally
    replicates: int
    seed: int
    allow_few: bool

    def held(self, metric: Metric) -> tuple[Array, Array]:
        """The features that are held of either set."""
        return self.real.held(metric), self.made.held(metric)


def _frechet(metric: Metric, given: Given) -> dict[str, Measured]:
    value = given.real.moments_of(metric).distance(given.made.moments_of(metric), allow_few=given.allow_few)
    held = given.held(metric)
    line = None
    # Frames of one clip resemble each other, so parts made of single frames would not show what N clips do.
    if metric.frames != "all" and min(map(len, held)) >= _LINE_CLIPS:
        lines = _few_replicates(given).replicates
        line = frechet_at_infinity(*held, replicates=lines, seed=given.seed, allow_few=True)
    return {
        metric.name: Measured(
            value=value,
            interval=_interval(value, _distance, held, (given.real.count, given.made.count), given),
            at_infinity=None if line is None else line.at_infinity,
            at_infinity_interval=None if line is None else line.interval,
            misfit=None if line is None else line.misfit,
            held=_counts(held),
        )
    }


def _kernel(metric: Metric, given: Given) -> dict[str, Measured]:
    held = given.held(metric)
    counts = _counts(held)
    if metric.frames == "all":
        of_clips = ClipKernels(*held)
        value = of_clips.distance(*of_clips.clips)
        interval = _interval(value, of_clips.distance, of_clips.clips, counts, given)
    else:
        value = polynomial_mmd(*held)
        interval = _interval(value, polynomial_mmd, held, counts, _few_replicates(given))
    return {metric.name: Measured(value=value, interval=interval, held=counts)}


def _inception_score(metric: Metric, given: Given) -> dict[str, Measured]:
    score = given.made.score_of(metric).score(allow_few=given.allow_few)
    held = given.held(metric)
    splits = min(metric.splits, len(held[1]))
    interval = _own_interval(
        score.value, lambda logits: inception_score(logits=logits, splits=splits, allow_few=True).value, held[1], given
    )
    return {metric.name: Measured(value=score.value, deviation=score.deviation, interval=interval, held=_counts(held))}


def _precision_recall(metric: Metric, given: Given) -> dict[str, Measured]:
    held = given.held(metric)
    found = precision_recall(*held, allow_few=given.allow_few)
    return {
        "precision": Measured(value=found.precision, held=_counts(held)),
        "recall": Measured(value=found.recall, held=_counts(held)),
    }


def _density_coverage(metric: Metric, given: Given) -> dict[str, Measured]:
    held = given.held(metric)
    found = density_coverage(*held, allow_few=given.allow_few)
    return {
        "density": Measured(value=found.density, held=_counts(held)),
        "coverage": Measured(value=found.coverage, held=_counts(held)),
    }


def _diversity(metric: Metric, given: Given) -> dict[str, Measured]:
    groups = [[torch.from_numpy(each) for each in side.by_conditions(metric)] for side in (given.made, given.real)]
    replicates = max(given.replicates, 2)
    found, of_real = (
        condition_diversity(each, replicates=replicates, seed=given.seed) if len(each) > 1 else None for each in groups
    )
    if found is None:
        raise InputError(f"{metric.name} takes two clips or more of two conditions or more, but so many are not held")
    return {
        metric.name: Measured(
            value=found.value,
            interval=found.interval if given.replicates else None,
            held=(sum(map(len, groups[1])), sum(map(len, groups[0]))),
            of_real=None if of_real is None else of_real.value,
        )
    }


def _mean(metric: Metric, given: Given) -> dict[str, Measured]:
    mean, held = given.made.moments_of(metric).mean, given.made.held(metric)
    value = float(mean.mean())
    with_real = given.real.has(metric)
    return {
        metric.name: Measured(
            value=value,
            interval=_own_interval(value, lambda numbers: float(numbers.mean()), held, given),
            held=(len(given.real.held(metric)) if with_real else 0, len(held)),
            of_real=float(given.real.moments_of(metric).mean.mean()) if with_real else None,
            curve=tuple(mean.tolist()) if len(mean) > 1 else None,
        )
    }


KINDS: dict[str, Callable[[Metric, Given], dict[str, Measured]]] = {
    "frechet": _frechet,
    "kernel": _kernel,
    "inception-score": _inception_score,
    "precision-recall": _precision_recall,
    "density-coverage": _density_coverage,
    "diversity": _diversity,
}


def measured(metric: Metric, given: Given) -> dict[str, Measured]:
    """The numbers of a metric, of a kind of `KINDS` or of `MEANS`, by name."""
    return KINDS.get(metric.kind, _mean)(metric, given)


def _interval(
    value: float,
    statistic: Callable[[Any, Any], float],
    held: tuple[NDArray[Any], NDArray[Any]],
    counts: tuple[int, int],
    given: Given,
) -> tuple[float, float] | None:
    """The 95 % interval of a statistic of two independent sets: each is drawn anew while the other stays.

    Where fewer clips are held than counted, the spread is scaled to their number, as of a mean.
    """
    if not given.replicates:
        return None
    real, made = held
    draws = {"replicates": given.replicates, "seed": given.seed}
    over_real = bootstrap(lambda drawn: statistic(drawn, made), real, **draws)
    over_made = bootstrap(lambda drawn: statistic(real, drawn), made, **draws)
    parts = [
        spread.deviation * math.sqrt(len(part) / count)
        for spread, part, count in zip((over_real, over_made), held, counts, strict=True)
    ]
    return Spread(value=value, deviation=math.hypot(*parts)).interval


def _few_replicates(given: Given) -> Given:
    return given._replace(replicates=min(given.replicates, _COSTLY_REPLICATES))


def _own_interval(
    value: float, statistic: Callable[[Array], float], made: Array, given: Given
) -> tuple[float, float] | None:
    """The 95 % interval of a statistic of the generated clips; see `_interval`."""
    if not given.replicates:
        return None
    spread = bootstrap(statistic, made, replicates=given.replicates, seed=given.seed)
    return Spread(value=value, deviation=spread.deviation * math.sqrt(len(made) / given.made.count)).interval


def _distance(real: Array, made: Array) -> float:
    return feature_distance(_flat(real), _flat(made), allow_few=True)


def _flat(features: Array) -> Array:
    return rearrange(features, "n t d -> (n t) d") if features.ndim == 3 else features


def _counts(held: tuple[Array, Array]) -> tuple[int, int]:
    return len(held[0]), len(held[1])
