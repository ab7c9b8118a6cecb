"""The validation measure: Fréchet distances over features of `ClipNetwork`, per frame and over time apart.

"quality" compares the frames of two sets of clips, each for itself: the order of the frames does not matter.
"consistency" compares what happens over time: the features see frames minus their mean over the clip only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from videofusion.digits.judge import Judge
from videofusion.digits.moving_digits import MovingDigits
from videofusion.digits.spec import DigitClipSpec
from videofusion.errors import InputError
from videofusion.evaluation.metrics.frechet import Array, Spread, bootstrap, frechet_distance, moments

REFERENCE_SEED = 31  # of the real clips that the distance is measured from
_LEAST = 128  # clips: fewer than twice the features say little


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Distances from real clips, lower is better."""

    quality: Spread
    consistency: Spread


class FidelityMeasure:
    """The distance of clips from real ones.

    Args:
        judge: whose features are used.
        real: clips `b t c h w` that others are compared with.
    """

    def __init__(self, judge: Judge, real: Float[Tensor, "b t 3 h w"]) -> None:
        self.judge = judge
        frames, over_time = self._features(real)
        self._quality = moments(_of_frames(frames))
        self._consistency = moments(over_time)

    def __call__(self, clips: Float[Tensor, "b t 3 h w"], *, replicates: int = 50) -> Fidelity:
        """Measure clips; the spreads come from drawing whole clips anew.

        Raises:
            InputError: too few clips.
        """
        if len(clips) < _LEAST:
            raise InputError(f"clips are {len(clips)}, but the measure needs at least {_LEAST}")
        frames, over_time = self._features(clips)
        return Fidelity(
            quality=bootstrap(
                lambda f: frechet_distance(*self._quality, *moments(_of_frames(f))), frames, replicates=replicates
            ),
            consistency=bootstrap(
                lambda f: frechet_distance(*self._consistency, *moments(f)), over_time, replicates=replicates
            ),
        )

    def _features(self, clips: Tensor) -> tuple[Array, Array]:
        frames, over_time = self.judge.features(clips)
        return frames.double().numpy(), over_time.double().numpy()


def _of_frames(features: Array) -> Array:
    return rearrange(features, "b t f -> (b t) f")


def reference_specs(
    count: int, frames: int, two_digits: float, seed: int = REFERENCE_SEED, grounds: str = "plain"
) -> list[DigitClipSpec]:
    """Real clips of the test split with the combinations that training shows: what a model is to come near."""
    digits = MovingDigits(frames, split="test", two_digits=two_digits, grounds=grounds)
    return digits.specs(np.arange(count).tolist(), seed=seed)
