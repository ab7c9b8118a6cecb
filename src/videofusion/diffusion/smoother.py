"""ControlVideo's interleaved-frame smoother (Zhang et al. 2023, sec. 3.3): a hook of samplers against flicker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from videofusion.clip.check import to_uint8
from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.samplers.loop import check_times
from videofusion.errors import InputError, require

Interpolate = Callable[[Tensor, Tensor], Tensor]
_LEAST = 16  # pixels of a side: smaller frames leave the search no patch
_AT_ONCE = 8  # frames that are decoded together, so that memory does not grow with the clip
LATE = (0.6, 0.62)  # of the steps, where the published code smooths: steps 30 and 31 of 50


def halfway(before: Tensor, after: Tensor) -> Tensor:
    """The mean of frames [n c h w]: the interpolator that needs nothing."""
    return (before + after) / 2


def along_flow(before: Tensor, after: Tensor) -> Tensor:
    """Both frames moved half of the optical flow towards each other, and their mean: things move, none fades in.

    Flow by dense inverse search (Kroeger et al. 2016), OpenCV's setting "medium", each way.

    Args:
        before: [n 3 h w] in [-1, 1], 16x16 pixels or more.
        after: likewise.

    Raises:
        InputError: smaller frames; OpenCV is not installed.
    """
    if min(before.shape[-2:]) < _LEAST:
        raise InputError(
            f"frames are {before.shape[-1]}x{before.shape[-2]}; optical flow takes {_LEAST}x{_LEAST} pixels or more"
        )
    cv2 = require("cv2", extra="flow")
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pictures = [to_uint8(frames).numpy() for frames in (before, after)]
    grey = [[cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames] for frames in pictures]
    made = torch.zeros_like(before)
    for frames, ours, theirs in ((before, grey[0], grey[1]), (after, grey[1], grey[0])):
        flow = np.stack([method.calc(one, other, None) for one, other in zip(ours, theirs, strict=True)])
        made += _moved(frames, torch.from_numpy(flow).to(frames) / 2) / 2
    return made


def _moved(frames: Tensor, by: Tensor) -> Tensor:
    """Frames [n c h w] whose things are moved [n h w xy], in pixels."""
    h, w = frames.shape[-2:]
    x = torch.arange(w).to(by) - by[..., 0]
    y = torch.arange(h).to(by)[:, None] - by[..., 1]
    grid = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], dim=-1)
    return grid_sample(frames, grid, mode="bilinear", padding_mode="border", align_corners=False)


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
        x0, frames, parity = prediction.x0, prediction.x0.shape[1], 1 - turn % 2
        parts = []
        for start in range(0, frames, _AT_ONCE):
            stop = min(frames, start + _AT_ONCE)
            before, after = max(0, start - 1), min(frames, stop + 1)  # neighbours are looked at
            clip = x0[:, before:after] if self._decode is None else self._decode(x0[:, before:after])
            clip = self._smoothed(clip, range(before, after), parity)
            clip = clip[:, start - before : stop - before]
            parts.append((clip if self._encode is None else self._encode(clip)).to(x0))
        return replace(prediction, x0=torch.cat(parts, dim=1))

    def _smoothed(self, clip: Tensor, numbers: range, parity: int) -> Tensor:
        """A clip [b t c h w] whose frames of a parity lie between their neighbours, as far as it has both."""
        first = 1 + (numbers.start + 1 + parity) % 2
        between = range(first, len(numbers) - 1, 2)
        if not len(between):
            return clip
        before, after = (clip[:, between.start + by : between.stop + by : 2] for by in (-1, 1))
        found = self._interpolate(before.flatten(0, 1), after.flatten(0, 1))
        clip = clip.clone()
        clip[:, between.start : between.stop : 2] = found.unflatten(0, before.shape[:2]).to(clip)
        return clip
