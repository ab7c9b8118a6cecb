"""Clips with a given structure: what ControlNets make of pictures is added to the features of a denoiser's network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from torch import Tensor

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.guidance import check_times_and_skip
from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.schedules import Schedule
from videofusion.errors import InputError


@runtime_checkable
class Control(Protocol):
    """What `Controlled` asks of a `ControlNet`."""

    def look(self, picture: Tensor) -> Tensor: ...

    def __call__(
        self,
        z: Tensor,
        time: Tensor,
        seen: Tensor,
        *,
        text: Tensor,
        text_mask: Tensor | None,
        pooled_text: Tensor | None,
        time_ids: Tensor | None,
    ) -> tuple[Tensor, ...]: ...


class Controlled:
    """A denoiser that is shown a picture for each frame, by one ControlNet or by several.

    Args:
        denoiser: whose network takes `control`.
        schedule: of its diffusion.
        controls: the ControlNets.
        pictures: for each of them, [b t c h w] in [-1, 1]; for one clip they are those of all clips. Of a window of a
            clip the frames are taken whose numbers `Conditions.frames` has.
        scales: how much each of them counts; 1 is as trained, 0 nothing.
        interval: lowest and highest time at which they count, in [0, 1]; at others the call is saved.

    Raises:
        InputError: numbers of controls, pictures and scales that differ; an option out of its range.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        schedule: Schedule,
        controls: Sequence[Control],
        pictures: Sequence[Tensor],
        scales: Sequence[float],
        interval: Sequence[float] = (0.0, 1.0),
    ) -> None:
        if not len(controls) == len(pictures) == len(scales) > 0:
            raise InputError(
                f"there are {len(controls)} controls, {len(pictures)} pictures and {len(scales)} scales; there must be "
                "as many of each, and one at least"
            )
        for scale in scales:
            if not math.isfinite(scale):
                raise InputError(f"control scale is {scale}; it must be a number")
        check_times_and_skip(interval, 0.0)
        self.denoiser, self.schedule, self.controls, self.scales = denoiser, schedule, list(controls), list(scales)
        self.lowest, self.highest = interval
        self.seen = [control.look(picture) for control, picture in zip(controls, pictures, strict=True)]

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        if conditions.text is None:
            raise InputError("text is not given; ControlNets were made to be told it")
        if not bool(((self.lowest <= t) & (t <= self.highest)).all()):
            return self.denoiser(z, t, conditions)
        time = self.schedule.network_time(t)
        total: list[Tensor] = []
        for control, seen, scale in zip(self.controls, self.seen, self.scales, strict=True):
            frames = seen if conditions.frames is None else seen[:, self._numbers(conditions.frames, seen)]
            residuals = control(
                z,
                time,
                frames.expand(len(z), -1, -1, -1, -1),
                text=conditions.text,
                text_mask=conditions.text_mask,
                pooled_text=conditions.pooled_text,
                time_ids=conditions.time_ids,
            )
            scaled = [scale * each for each in residuals]
            total = [a + b for a, b in zip(total, scaled, strict=True)] if total else scaled
        return self.denoiser(z, t, replace(conditions, control=tuple(total)))

    def _numbers(self, frames: Tensor, seen: Tensor) -> Tensor:
        if int(frames.max()) >= seen.shape[1]:
            raise InputError(f"there are pictures for {seen.shape[1]} frames, but none for frame {int(frames.max())}")
        return frames.to(seen.device)
