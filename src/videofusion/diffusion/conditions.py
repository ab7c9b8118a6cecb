"""What a denoiser receives beside the noisy clip and the time, with declared axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from videofusion.errors import InputError

PER_CLIP = (
    "text",
    "text_mask",
    "pooled_text",
    "time_ids",
    "image_embedding",
    "labels",
    "fps",
    "middle_frame",
    "middle_noise",
    "share",
)
_NOT_TOLD = ("null", "temporal", "middle_frame", "middle_noise")  # what no network is told
PER_FRAME = {"frames": 0, "share": 1}  # name -> the axis that counts frames


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Conditions of a batch of clips; a name that is None is not given.

    Args:
        text: token embeddings [b l d].
        text_mask: which tokens count, bool [b l].
        pooled_text: one embedding of the whole text [b d] (Stable Diffusion XL).
        time_ids: sizes and crops that Stable Diffusion XL is told, [b n].
        image_embedding: embedding of the central frame [b d].
        labels: class numbers, int [b].
        fps: frames per second that the clip shows of the scene (MagicVideo's new FPS) [b]; 0 where nothing says it.
        middle_frame: the clean middle frame [b 1 c h w]; read by VideoFusion's "image-first" variant, not by networks.
        middle_noise: standard deviation of the noise on `middle_frame` [b]; none when not given. Read likewise.
        frames: global frame numbers [t], the same for the whole batch; 0 ... t-1 when not given.
        share: lambda of VideoFusion per frame [b t], in [0, 1], 1 at the base frame.
        temporal: how much of what temporal layers add counts, in [0, 1]: 1 as they were trained; 0 leaves them out, so
            that video networks run as image networks, frame by frame.
        null: what `without` puts in place of a name, tensors with a first axis of 1.
    """

    text: Tensor | None = None
    text_mask: Tensor | None = None
    pooled_text: Tensor | None = None
    time_ids: Tensor | None = None
    image_embedding: Tensor | None = None
    labels: Tensor | None = None
    fps: Tensor | None = None
    middle_frame: Tensor | None = None
    middle_noise: Tensor | None = None
    frames: Tensor | None = None
    share: Tensor | None = None
    temporal: float = 1.0
    null: Mapping[str, Tensor] = field(default_factory=dict)

    def given(self) -> dict[str, Tensor]:
        """The tensors that are given, by name: a network's keyword arguments."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name not in _NOT_TOLD)
        return {name: value for name, value in values if value is not None}

    def without(self, *names: str) -> Conditions:
        """The conditions with these names replaced by their null values; "text" takes its mask and pooled text along.

        Raises:
            InputError: a name is no condition, or has no null value.
        """
        given = self.given()
        changed: dict[str, Any] = {}
        for name in names:
            if name not in PER_CLIP:
                raise InputError(f"guidance over {name!r} is not known; it must be one of {', '.join(PER_CLIP)}")
            if name not in given:
                continue
            related = [name] + ["pooled_text"] * (name == "text" and "pooled_text" in given)
            missing = [other for other in related if other not in self.null]
            if missing:
                have = ", ".join(self.null) or "none"
                raise InputError(f"guidance over {missing[0]!r} needs its null value; given are {have}")
            for other in related:
                changed[other] = self._null(other, len(given[name]))
            if name == "text":  # the prompt's mask says nothing of the null text
                changed["text_mask"] = self._null("text_mask", len(given[name])) if "text_mask" in self.null else None
        return replace(self, **changed)

    def _null(self, name: str, clips: int) -> Tensor:
        null = self.null[name]
        return null.expand(clips, *null.shape[1:])

    def window(self, start: int, stop: int) -> Conditions:
        """The conditions of frames start ... stop-1; their global frame numbers are kept."""
        changed: dict[str, Any] = {}
        for name, axis in PER_FRAME.items():
            value = getattr(self, name)
            if value is not None:
                changed[name] = value.narrow(axis, start, stop - start)
        if self.frames is None:
            changed["frames"] = torch.arange(start, stop)
        return replace(self, **changed)

    def select(self, index: Tensor | Sequence[int]) -> Conditions:
        """The conditions of some clips of the batch."""
        values = {name: getattr(self, name) for name in PER_CLIP}
        return replace(self, **{name: value[index] for name, value in values.items() if value is not None})
