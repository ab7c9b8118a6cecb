"""Whether the base frame is visible: how much more a clip changes there than elsewhere.

A model that makes the middle frame by one network and the others by another may flash there: hue, ground or sharpness
jump into that frame and out of it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from videofusion.diffusion.noise import base_frame
from videofusion.errors import InputError

LEAST_FRAMES = 4  # of a clip, so that there is a step that the base frame has no part in
WANTED = 1.2  # of the median clip
MOST = 100.0  # what a clip counts that changes at the base frame and stands still elsewhere
_EQUAL = 1e-6  # change of values in [-1, 1] below which a clip stands still
_DRAWS = 1000


@dataclass(frozen=True, kw_only=True)
class BaseFrameChange:
    """Change at the base frame over the change elsewhere, of many clips; 1 where nothing is visible.

    Args:
        median: over clips.
        median_interval: its 95 % interval, of clips drawn anew.
        mean: over clips.
        mean_interval: likewise.
        clips: that were measured.
        still: further clips, in which nothing moves at all; they say nothing and are left out.
        flashing: clips among those measured that change at the base frame only, and count `MOST`.
    """

    median: float
    median_interval: tuple[float, float]
    mean: float
    mean_interval: tuple[float, float]
    clips: int
    still: int
    flashing: int

    def __str__(self) -> str:
        low, high = self.median_interval
        return f"{self.median:.2f} ({low:.2f}-{high:.2f})"

    def record(self) -> dict[str, Any]:
        """What goes into a JSON record."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


def change_at_base_frame(clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b"]:
    """Mean absolute change into and out of the middle frame, over the median of the other steps' changes.

    Args:
        clips: of four frames or more.

    Returns:
        For each clip at least 0 and at most `MOST`; nan where no step changes anything.

    Raises:
        InputError: fewer frames, or values that are not finite.
    """
    frames = clips.shape[1]
    if frames < LEAST_FRAMES:
        raise InputError(f"clips have {frames} frames; the change at the base frame needs {LEAST_FRAMES} or more")
    if not clips.isfinite().all():
        raise InputError("clips must be finite, but some values are not")
    steps = clips.float().diff(dim=1).abs().mean(dim=(2, 3, 4))  # b t-1
    middle = base_frame(frames)  # step i leads from frame i to the next
    at = steps[:, middle - 1 : middle + 1].mean(1)
    # of an even number the mean of the middle two, not torch's lower one
    elsewhere = steps[:, [i for i in range(frames - 1) if i not in (middle - 1, middle)]].quantile(0.5, dim=1)
    ratio = (at / elsewhere.clamp(min=_EQUAL)).clamp(max=MOST)
    ratio[(at <= _EQUAL) & (elsewhere <= _EQUAL)] = float("nan")
    ratio[(at > _EQUAL) & (elsewhere <= _EQUAL)] = MOST
    return ratio


def over_clips(ratios: Float[Tensor, "b"]) -> BaseFrameChange | None:
    """What `change_at_base_frame` says of many clips together; None where none of them moves."""
    values = ratios.double().numpy()
    moving = values[~np.isnan(values)]
    if not moving.size:
        return None
    rng = np.random.default_rng(0)
    drawn = moving[rng.integers(0, moving.size, (_DRAWS, moving.size))]

    def interval(of: Callable[..., Any]) -> tuple[float, float]:
        low, high = np.quantile(of(drawn, axis=1), (0.025, 0.975))
        return float(low), float(high)

    return BaseFrameChange(
        median=float(np.median(moving)),
        median_interval=interval(np.median),
        mean=float(moving.mean()),
        mean_interval=interval(np.mean),
        clips=int(moving.size),
        still=int(values.size - moving.size),
        flashing=int((moving >= MOST).sum()),
    )


def base_frame_change(clips: Float[Tensor, "b t c h w"]) -> BaseFrameChange | None:
    """The measure of clips; None where there is none: too few frames, or no clip that moves."""
    return None if clips.shape[1] < LEAST_FRAMES else over_clips(change_at_base_frame(clips))
