"""What an evaluation holds of one set of clips: moments and a fair sample of features, the Inception Score's sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from einops import rearrange

from videofusion.errors import InputError
from videofusion.evaluation.metrics.frechet import Array
from videofusion.evaluation.metrics.inception_score import InceptionScore
from videofusion.evaluation.metrics.means import MEANS, Seen
from videofusion.evaluation.metrics.moments import FeatureSample, RunningMoments
from videofusion.evaluation.protocols import Metric
from videofusion.evaluation.states import Accumulator

_HELD_CLIPS = 16_384
_HELD_BYTES = 2**26  # of one reading of one set
# For a kernel distance that counts each frame: all of 2,048 clips of 16 frames with Inception's 2,048 features.
_HELD_CLIPS_OF_FRAMES = 2048
_HELD_BYTES_OF_FRAMES = 2**28


class Reading(NamedTuple):
    """What some metrics are made of: features, or for a mean over clips its numbers, told by its kind."""

    extractor: str
    layer: str
    how: str

    @classmethod
    def of(cls, metric: Metric) -> Reading:
        return cls(metric.extractor, metric.layer, metric.kind if metric.kind in MEANS else metric.frames)


class Tally:
    """The features of a set of clips, batch after batch, in memory that does not grow with their number.

    Args:
        side: "real" or "made".
        metrics: what is to be measured.
        count: clips that there will be.
        seed: of the sample that is held where there are too many to hold all.
        accumulators: of all sides; those of this one are added to it, or are there from a saved state.
    """

    def __init__(
        self, side: str, metrics: Sequence[Metric], count: int, seed: int, accumulators: dict[str, Accumulator]
    ) -> None:
        self.side, self.count, self.seed, self.accumulators = side, count, seed, accumulators
        self.metrics = tuple(metrics)
        self.readings = list(dict.fromkeys(Reading.of(metric) for metric in metrics))
        # Where each frame counts they are there for the size of its features, too.
        needs = ("frechet", *MEANS)
        self.with_moments = {Reading.of(each) for each in metrics if each.kind in needs or each.frames == "all"}
        self.by_condition = {Reading.of(each) for each in metrics if each.kind == "diversity"}
        self.scores = [metric for metric in metrics if metric.kind == "inception-score" and side == "made"]

    def update(self, seen: Seen, conditions: Sequence[int] = ()) -> None:
        """Add clips.

        Args:
            seen: the clips.
            conditions: the number of each one's condition, where diversity is measured.

        Raises:
            InputError: features that do not fit the reading, or are not finite, or clips of which a mean takes none.
        """
        keys = seen.keys
        for reading in self.readings:
            rows = self._rows(seen, reading)
            moments, sample = self._accumulators(reading, rows)
            if moments is not None:
                moments.update(rows.reshape(-1, rows.shape[-1]))
            sample.update(rows.reshape(len(keys), -1), keys)
            if reading in self.by_condition:
                name = self._name("conditions", *reading)
                # of the same limit and seed, so it holds those of the very clips whose features are held
                numbers = self.accumulators.setdefault(name, FeatureSample(1, sample.limit, self.seed))
                assert isinstance(numbers, FeatureSample)
                numbers.update(np.array(conditions)[:, None], keys)
        for metric in self.scores:
            rows = self._rows(seen, Reading.of(metric))
            name = self._name("score", metric.name)
            if name not in self.accumulators:
                self.accumulators[name] = InceptionScore(rows.shape[1], self.count, metric.splits)
            self.score_of(metric).update(logits=rows)

    def has(self, metric: Metric) -> bool:
        """Whether a metric is made of anything here."""
        return Reading.of(metric) in self.readings

    def moments_of(self, metric: Metric) -> RunningMoments:
        """Mean and covariance of a metric's features, or of the numbers that it is the mean of."""
        found = self.accumulators[self._name("moments", *Reading.of(metric))]
        assert isinstance(found, RunningMoments)
        return found

    def score_of(self, metric: Metric) -> InceptionScore:
        """The sums of an Inception Score."""
        found = self.accumulators[self._name("score", metric.name)]
        assert isinstance(found, InceptionScore)
        return found

    def held(self, metric: Metric) -> Array:
        """Features of the clips that are held: [n d], or [n t d] if each frame counts."""
        sample = self.accumulators[self._name("sample", *Reading.of(metric))]
        assert isinstance(sample, FeatureSample)
        features = sample.features[: _most_held(metric, sample.size)]  # what begins a fair sample is one
        if metric.frames != "all":
            return features
        return rearrange(features, "n (t d) -> n t d", d=self.moments_of(metric).mean.size)

    def by_conditions(self, metric: Metric) -> list[Array]:
        """Features of the clips that are held, for each condition that has two of them or more: [n d] each."""
        if Reading.of(metric) not in self.by_condition:
            return []
        numbers = self.accumulators[self._name("conditions", *Reading.of(metric))]
        assert isinstance(numbers, FeatureSample)
        held, of = self.held(metric), numbers.features[:, 0]
        groups = [held[of == number] for number in np.unique(of)]
        return [group for group in groups if len(group) > 1]

    def _accumulators(self, reading: Reading, rows: Array) -> tuple[RunningMoments | None, FeatureSample]:
        """Those of a reading, made when the first features tell their size."""
        of_sample, of_moments = self._name("sample", *reading), self._name("moments", *reading)
        if of_sample not in self.accumulators:
            size = rows[0].size
            limit = max(_most_held(metric, size) for metric in self.metrics if Reading.of(metric) == reading)
            self.accumulators[of_sample] = FeatureSample(size, limit, self.seed)
            if reading in self.with_moments:
                self.accumulators[of_moments] = RunningMoments(rows.shape[-1])
        sample, moments = self.accumulators[of_sample], self.accumulators.get(of_moments)
        assert isinstance(sample, FeatureSample)
        assert moments is None or isinstance(moments, RunningMoments)
        return moments, sample

    def _name(self, *parts: str) -> str:
        return ":".join((self.side, *parts))

    def _rows(self, seen: Seen, reading: Reading) -> Array:
        """The samples of a reading, [b d] or [b t d]."""
        clips = len(seen.keys)
        if reading.how in MEANS:
            try:
                numbers = MEANS[reading.how].of(seen, reading.extractor, reading.layer)
            except InputError as error:
                who = f"{self.side} clips {seen.keys[0]} to {seen.keys[-1]}"
                raise InputError(f"{reading.how} of {who}: {error}") from error
            return numbers.double().cpu().numpy().reshape(clips, -1)
        rows = seen.rows(reading.extractor, reading.layer).double().cpu().numpy()
        if reading.how == "clip":
            if len(rows) != clips:
                raise InputError(
                    f'frames is "clip", but {reading.extractor} gives {len(rows)} rows of {reading.layer} for {clips} '
                    "clips"
                )
            return rows
        of_frames = rearrange(rows, "(b t) d -> b t d", b=clips)
        if reading.how == "all":
            return of_frames
        return of_frames[:, 0] if reading.how == "first" else of_frames.mean(axis=1)


def _most_held(metric: Metric, size: int) -> int:
    """Clips that are held for a metric, of so many features each."""
    if metric.kind == "kernel" and metric.frames == "all":
        return min(_HELD_CLIPS_OF_FRAMES, max(2, _HELD_BYTES_OF_FRAMES // (4 * size)))
    return min(_HELD_CLIPS, max(2, _HELD_BYTES // (4 * size)))
