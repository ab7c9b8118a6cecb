"""What a denoiser receives beside the noisy clip and the time, with declared kinds and axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from videofusion.errors import InputError

CLIP, FRAME = "clip", "frame"  # names of axes
KINDS = ("embedding", "tokens", "beside", "residuals")  # of a network's inputs
Value = Tensor | tuple[Tensor, ...]


def _is(*axes: str, kind: str | None = None) -> dict[str, Any]:
    """What a field declares of itself.

    Args:
        axes: its first axes, `CLIP` or `FRAME`, one of each at most.
        kind: what it is to a network, one of `KINDS`: joins the embedding of time; is looked at by cross-attention;
            stands beside the noisy clip's channels; is added to features. None for what no network is told.
    """
    return {"axes": axes, "kind": kind}


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
        numbers: what Stable Video Diffusion is told in numbers: rate, motion and noise on the picture, [b n].
        middle_frame: the clean middle frame [b 1 c h w]; read by VideoFusion's "image-first" variant, not by networks.
        middle_noise: standard deviation of the noise on `middle_frame` [b]; none when not given. Read likewise.
        frames: global frame numbers [t], the same for the whole batch; 0 ... t-1 when not given.
        share: lambda of VideoFusion per frame [b t], in [0, 1], 1 at the base frame.
        beside: further channels beside those of the noisy clip [b t c h w]: structure, a low-resolution clip, frames
            that are known.
        control: residuals that are added to a U-Net's features, [b t c h w] each: those that go from its way down to
            its way up, then those of its middle (ControlNet).
        added: further inputs of networks by name, [b ...] each, whose embedding is an entry of
            `networks.inputs.EMBEDDED`.
        temporal: how much of what temporal layers add counts, in [0, 1]: 1 as they were trained; 0 leaves them out, so
            that video networks run as image networks, frame by frame.
        null: what `without` puts in place of a name, tensors with a first axis of 1.
    """

    text: Tensor | None = field(default=None, metadata=_is(CLIP, kind="tokens"))
    text_mask: Tensor | None = field(default=None, metadata=_is(CLIP, kind="tokens"))
    pooled_text: Tensor | None = field(default=None, metadata=_is(CLIP, kind="embedding"))
    time_ids: Tensor | None = field(default=None, metadata=_is(CLIP, kind="embedding"))
    image_embedding: Tensor | None = field(default=None, metadata=_is(CLIP, kind="embedding"))
    labels: Tensor | None = field(default=None, metadata=_is(CLIP, kind="embedding"))
    fps: Tensor | None = field(default=None, metadata=_is(CLIP, kind="embedding"))
    numbers: Tensor | None = field(default=None, metadata=_is(CLIP, kind="embedding"))
    middle_frame: Tensor | None = field(default=None, metadata=_is(CLIP))
    middle_noise: Tensor | None = field(default=None, metadata=_is(CLIP))
    frames: Tensor | None = field(default=None, metadata=_is(FRAME, kind="embedding"))
    share: Tensor | None = field(default=None, metadata=_is(CLIP, FRAME, kind="embedding"))
    beside: Tensor | None = field(default=None, metadata=_is(CLIP, FRAME, kind="beside"))
    control: tuple[Tensor, ...] | None = field(default=None, metadata=_is(CLIP, FRAME, kind="residuals"))
    added: Mapping[str, Tensor] = field(default_factory=dict)
    temporal: float = 1.0
    null: Mapping[str, Value] = field(default_factory=dict)

    def given(self) -> dict[str, Any]:
        """What networks are told and is given, by name: a network's keyword arguments."""
        values = {name: getattr(self, name) for name in INPUTS}
        return {name: value for name, value in values.items() if value is not None} | dict(self.added)

    def without(self, *names: str) -> Conditions:
        """The conditions with these names replaced by their null values; "text" takes its mask and pooled text along.

        Raises:
            InputError: a name is no condition, or has no null value.
        """
        given = self.given()
        changed: dict[str, Any] = {}
        for name in names:
            if name not in PER_CLIP and name not in given:
                raise InputError(f"guidance over {name!r} is not known; it must be one of {', '.join(PER_CLIP)}")
            if name not in given:
                continue
            related = [name] + ["pooled_text"] * (name == "text" and "pooled_text" in given)
            missing = [other for other in related if other not in self.null]
            if missing:
                have = ", ".join(self.null) or "none"
                raise InputError(f"guidance over {missing[0]!r} needs its null value; given are {have}")
            for other in related:
                changed[other] = self._null(other, given[name])
            if name == "text":  # the prompt's mask says nothing of the null text
                changed["text_mask"] = self._null("text_mask", given[name]) if "text_mask" in self.null else None
        added = {name: changed.pop(name) for name in [*changed] if name in self.added}
        return replace(self, **changed, added={**self.added, **added})

    def _null(self, name: str, given: Value) -> Value:
        """A null value for as many clips as a value is given for, and where frames differ for as many frames."""
        null = self.null[name]
        if isinstance(null, tuple) or isinstance(given, tuple):
            return tuple(each.expand_as(own) for each, own in zip(null, given, strict=True))
        whole = FRAME in _AXES.get(name, ())
        return null.expand_as(given) if whole else null.expand(len(given), *null.shape[1:])

    def window(self, frames: int | Sequence[int], stop: int | None = None) -> Conditions:
        """The conditions of some frames of the clip; their global frame numbers are kept.

        Args:
            frames: which ones, counted in the clip: a list or a range of them, or the first of a window.
            stop: the end of that window, which is not in it.
        """
        chosen = range(frames, stop or 0) if isinstance(frames, int) else frames
        if isinstance(chosen, range) and chosen.step == 1:
            start, length = chosen.start, len(chosen)

            def take(value: Tensor, axis: int) -> Tensor:
                return value.narrow(axis, start, length)
        else:

            def take(value: Tensor, axis: int) -> Tensor:
                return value.index_select(axis, torch.tensor(list(chosen), device=value.device))

        changed = self._each(FRAME, take)
        if self.frames is None:
            near = next((each for each in vars(self).values() if isinstance(each, Tensor)), None)
            changed["frames"] = torch.tensor(list(chosen), device=None if near is None else near.device)
        return replace(self, **changed)

    def select(self, index: Tensor | Sequence[int]) -> Conditions:
        """The conditions of some clips of the batch."""
        added = {name: value[index] for name, value in self.added.items()}
        return replace(self, **self._each(CLIP, lambda value, axis: value[index]), added=added)

    def _each(self, axis: str, change: Callable[[Tensor, int], Tensor]) -> dict[str, Any]:
        """Fields that are given and have an axis of that name, changed along it."""
        changed: dict[str, Any] = {}
        for name, axes in _AXES.items():
            value = getattr(self, name)
            if value is not None and axis in axes:
                at = axes.index(axis)
                changed[name] = (
                    tuple(change(each, at) for each in value) if isinstance(value, tuple) else change(value, at)
                )
        return changed


_AXES: dict[str, tuple[str, ...]] = {f.name: f.metadata["axes"] for f in fields(Conditions) if f.metadata}
# A network's inputs by name, with their kind: one of `KINDS`.
INPUTS: dict[str, str] = {f.name: f.metadata["kind"] for f in fields(Conditions) if f.metadata.get("kind")}
PER_CLIP = tuple(name for name, axes in _AXES.items() if CLIP in axes)
