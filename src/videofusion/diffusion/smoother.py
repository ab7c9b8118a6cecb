"""ControlVideo's interleaved-frame smoother (Zhang et al. 2023, sec. 3.3): a hook of samplers against flicker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.samplers.loop import check_times
from videofusion.errors import InputError

Interpolate = Callable[[Tensor, Tensor], Tensor]
LATE = (0.6, 0.62)  # of the steps, where the published code smooths: steps 30 and 31 of 50


def halfway(before: Tensor, after: Tensor) -> Tensor:
    """The mean of frames [n c h w]: the interpolator that needs nothing."""
    return (before + after) / 2


class InterleavedSmoother:
    """At chosen steps every other frame of the predicted clip becomes what is halfway between its neighbours.

    Odd places at the first of them, even ones at the next, and so on in turns; the first and the last frame have one
    neighbour, and stay. So two steps in a row replace each frame once. The noise that was predicted is kept, as in the
    published code. It is given to a sampler as `on_prediction`.

    Args:
        times: of the sampler [steps + 1].
        steps: numbers of those at which it smooths, from 0, in order; the published ones, 30 and 31 of 50, in
            proportion when None.
        interpolate: from frames and those two further on to those between, [n c h w] each, pixels in [-1, 1].
        decode: from predicted latents to a clip of pixels [b t c h w]; None for pixels.
        encode: back, for all frames, so that all have the autoencoder's errors alike.

    Raises:
        InputError: steps that the times do not have, decode without encode.
    """

    def __init__(
        self,
        times: Tensor,
        steps: Sequence[int] | None = None,
        *,
        interpolate: Interpolate = halfway,
        decode: Callable[[Tensor], Tensor] | None = None,
        encode: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        check_times(times)
        count = len(times) - 1
        if steps is None:
            steps = sorted({min(count - 1, round(part * count)) for part in LATE})
        if list(steps) != sorted(set(steps)) or not all(0 <= step < count for step in steps):
            raise InputError(f"steps are {list(steps)}; they must be numbers from 0 to {count - 1}, in order")
        if (decode is None) != (encode is None):
            raise InputError("decode and encode go together; one of them is not given")
        self._turns = {float(times[step]): turn for turn, step in enumerate(steps)}
        self._interpolate, self._decode, self._encode = interpolate, decode, encode

    def __call__(self, prediction: Prediction, t: Tensor) -> Prediction:
        turn = self._turns.get(float(t))
        if turn is None:
            return prediction
        clip = prediction.x0 if self._decode is None else self._decode(prediction.x0)
        between = range(1 if turn % 2 == 0 else 2, clip.shape[1] - 1, 2)
        if len(between):
            clip = clip.clone()
            before, after = (clip[:, between.start + by : between.stop + by : 2] for by in (-1, 1))
            found = self._interpolate(before.flatten(0, 1), after.flatten(0, 1))
            clip[:, between.start : between.stop : 2] = found.unflatten(0, before.shape[:2]).to(clip)
        x0 = clip if self._encode is None else self._encode(clip)
        return replace(prediction, x0=x0.to(prediction.x0))
