"""What an evaluation holds of the features of one set of clips: moments, a fair sample, the Inception Score's sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from einops import rearrange
from torch import Tensor

from videofusion.errors import InputError
from videofusion.evaluation.frechet import Array
from videofusion.evaluation.inception import InceptionScore
from videofusion.evaluation.presets import Metric
from videofusion.evaluation.states import Accumulator
from videofusion.evaluation.streaming import FeatureSample, RunningMoments

_HELD_CLIPS = 16_384
_HELD_BYTES = 2**26  # of one reading of one set


class Reading(NamedTuple):
    """The features that some metrics are made of."""

    extractor: str
    layer: str
    frames: str

    @classmethod
    def of(cls, metric: Metric) -> Reading:
        return cls(metric.extractor, metric.layer, metric.frames)


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
        self.readings = list(dict.fromkeys(Reading.of(metric) for metric in metrics))
        self.with_moments = {Reading.of(metric) for metric in metrics if metric.kind == "frechet"}
        self.scores = [metric for metric in metrics if metric.kind == "inception-score" and side == "made"]

    def update(self, layers: Mapping[str, Mapping[str, Tensor]], keys: Sequence[str]) -> None:
        """Add clips.

        Args:
            layers: by extractor and layer the features of b clips, [b d] or for frames [(b t) d].
            keys: of the clips.

        Raises:
            InputError: features that do not fit the reading, or are not finite.
        """
        for reading in self.readings:
            rows = _rows(layers[reading.extractor][reading.layer], len(keys), reading)
            moments, sample = self._accumulators(reading, rows)
            if moments is not None:
                moments.update(rows.reshape(-1, rows.shape[-1]))
            sample.update(rows.reshape(len(keys), -1), keys)
        for metric in self.scores:
            rows = _rows(layers[metric.extractor][metric.layer], len(keys), Reading.of(metric))
            name = self._name("score", metric.name)
            if name not in self.accumulators:
                self.accumulators[name] = InceptionScore(rows.shape[1], self.count, metric.splits)
            self.score_of(metric).update(logits=rows)

    def moments_of(self, metric: Metric) -> RunningMoments:
        """Mean and covariance of a metric's features."""
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
        if metric.frames != "all":
            return sample.features
        return rearrange(sample.features, "n (t d) -> n t d", d=self.moments_of(metric).mean.size)

    def _accumulators(self, reading: Reading, rows: Array) -> tuple[RunningMoments | None, FeatureSample]:
        """Those of a reading, made when the first features tell their size."""
        of_sample, of_moments = self._name("sample", *reading), self._name("moments", *reading)
        if of_sample not in self.accumulators:
            size = rows[0].size
            limit = min(_HELD_CLIPS, max(2, _HELD_BYTES // (4 * size)))
            self.accumulators[of_sample] = FeatureSample(size, limit, self.seed)
            if reading in self.with_moments:
                self.accumulators[of_moments] = RunningMoments(rows.shape[-1])
        sample, moments = self.accumulators[of_sample], self.accumulators.get(of_moments)
        assert isinstance(sample, FeatureSample)
        assert moments is None or isinstance(moments, RunningMoments)
        return moments, sample

    def _name(self, *parts: str) -> str:
        return ":".join((self.side, *parts))


def _rows(features: Tensor, clips: int, reading: Reading) -> Array:
    """The samples of a reading, [b d] or [b t d]."""
    rows = features.double().cpu().numpy()
    if reading.frames == "clip":
        if len(rows) != clips:
            raise InputError(
                f'frames is "clip", but {reading.extractor} gives {len(rows)} rows of {reading.layer} for {clips} clips'
            )
        return rows
    of_frames = rearrange(rows, "(b t) d -> b t d", b=clips)
    if reading.frames == "all":
        return of_frames
    return of_frames[:, 0] if reading.frames == "first" else of_frames.mean(axis=1)
