"""What the systems share: times, dropped captions and the result of a loss in training; how pipelines sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.text import WordEncoder
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys, base_frame
from videofusion.keys import Stream, uniform
from videofusion.networks.autoencoder import Space


@dataclass(frozen=True)
class Losses:
    """What a training step minimises, and what a log shows.

    Args:
        total: scalar.
        parts: scalars by name.
        per_clip: [b], which names the clips of a loss that is not a number.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    per_clip: Tensor


@runtime_checkable
class System(Protocol):
    """What training needs of a system."""

    @property
    def modules(self) -> dict[str, nn.Module]: ...

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """Parts that are never trained, and in no checkpoint: what the recipe names, or its seed, has their weights."""

    @property
    def space(self) -> Space:
        """Where the clips of its loss live."""

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]: ...

    def loss(self, batch: Batch, keys: Keys, step: int, progress: float = 1.0) -> Losses: ...

    def pipeline(self) -> Any: ...


@dataclass(frozen=True)
class Choices:
    """Random choices of a step, functions of the clips' keys and the step only.

    Args:
        t: times [b] in (0, 1).
        drop: caption dropped [b], bool.
        adapt: share measured from the clip rather than fixed [b], bool.
    """

    t: Tensor
    drop: list[bool]
    adapt: Tensor


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What a training step looks at, and how it weighs the errors: the same for every system.

    Args:
        weighting: of the errors, see `frame_errors`; eq. 14 of VideoFusion is printed with "eps".
        caption_dropout: probability that a clip is trained without its caption.
        train_frames: frames of a clip that a step looks at, the middle one among them; all when None.
        reach: how far from the middle frame they may be; as far as the clip goes when None.
        reach_share: share of the run in which that grows evenly to the whole clip; 0 when it stays.
        time_logit: mean and standard deviation of log(t / (1 - t)), which is normal then (Esser et al. 2024, sec. 3.1);
            times are uniform when empty.
    """

    weighting: str = "v"
    caption_dropout: float = 0.1
    train_frames: int | None = None
    reach: int | None = None
    reach_share: float = 0.0
    time_logit: Sequence[float] = ()

    def choose(self, keys: Keys, step: int, adaptive: float = 0.0) -> Choices:
        """Draw the choices of a step.

        Args:
            keys: of the clips.
            step: of the training.
            adaptive: probability that the share is measured.
        """
        # no clip at exactly no noise or no signal: both ends teach nothing
        t = 0.001 + 0.998 * uniform(keys.content, Stream.TIME, step)
        if self.time_logit:
            mean, deviation = self.time_logit
            t = (mean + deviation * torch.special.ndtri(t)).sigmoid().clamp(0.001, 0.999)
        drop = uniform(keys.content, Stream.CAPTION, step) < self.caption_dropout
        return Choices(t.float(), drop.tolist(), uniform(keys.content, Stream.SHARE, step) < adaptive)

    def rates(self, fps: Tensor | None, keys: Keys, step: int, device: torch.device) -> Tensor | None:
        """Frames per second as the clips are told: of some, as of captions, nothing, so that none need be asked for.

        Args:
            fps: of the clips [b], 0 where it is not known; None where no clip has one.
            keys: of the clips.
            step: of the training.
            device: of what is returned.
        """
        if fps is None:
            return None
        kept = uniform(keys.content, Stream.RATE, step) >= self.caption_dropout
        return (fps * kept.to(fps.device)).to(device)

    def frames(self, count: int, step: int, progress: float = 1.0) -> list[int]:
        """The frames that a step looks at: the middle one stays the middle one, others are drawn on both sides.

        Frames of one clip teach much the same, so looking at some of them in more clips learns more in the same time.
        And those near the middle one are nearly what it is: to bring things over from it is learned there first.
        Every eighth step looks at all that are within reach, as sampling does.

        Args:
            count: frames of the clips.
            step: of the training.
            progress: of the run, in [0, 1].
        """
        middle, reach, few = base_frame(count), self.reach, self.train_frames
        if reach is not None and self.reach_share:
            reach += int(max(0, middle - reach) * progress / self.reach_share + 1e-9)
        near = [i for i in range(count) if reach is None or abs(i - middle) <= reach]
        if few is None or few >= len(near) or step % 8 == 0:
            return near
        numbers = uniform(range(count), Stream.FRAMES, step).tolist()  # the same frames of every clip
        before = sorted((i for i in near if i < middle), key=numbers.__getitem__)[: base_frame(few)]
        after = sorted((i for i in near if i > middle), key=numbers.__getitem__)[: few - 1 - base_frame(few)]
        return sorted([*before, middle, *after])


@dataclass(frozen=True, kw_only=True)
class SamplingDefaults:
    """How a system's pipeline samples unless it is told otherwise: the same for every system.

    Args:
        guidance: scale; 1 is off.
        guidance_interval: lowest and highest time at which clips are guided, in [0, 1]; see `ClassifierFree`.
        guidance_skip: how much of its temporal layers the unguided call goes without, in [0, 1]; likewise.
        sampler: a key of `SAMPLERS`.
        sampler_options: those of `SamplingOptions` that are not as there, by name.
        data: what it was trained on, as a recipe names it, so that a measure finds its real clips; "" if not known.
    """

    guidance: float = 2.0
    guidance_interval: Sequence[float] = (0.0, 1.0)
    guidance_skip: float = 0.0
    sampler: str = "dpm++"
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""


def grouped_keys(
    keys: Keys, identities: Sequence[str], actions: Sequence[str], mates: Sequence[tuple[int, str, str]] = ()
) -> Keys:
    """Keys by which clips of one identity share base noise and clips of one action residual noise (sec. 4.7).

    Sharing is within the batch, as in the paper: a group has the smallest key of its clips.

    Args:
        keys: of the clips, b of them.
        identities: of the clips, "" where not known; none of them when nothing is known.
        actions: the same.
        mates: see `Batch`.
    """
    return Keys(
        _grouped(keys.content, identities, [(key, identity) for key, identity, _ in mates]),
        _grouped(keys.motion, actions, [(key, action) for key, _, action in mates]),
    )


def _grouped(keys: Sequence[int], names: Sequence[str], mates: Sequence[tuple[int, str]]) -> tuple[int, ...]:
    own = list(zip(keys, names or [""] * len(keys), strict=True))
    pairs = [*own, *mates]
    return tuple(min(k for k, other in pairs if other == name) if name else key for key, name in own)


def frozen_parts(space: Space, text_encoder: WordEncoder | FrozenText) -> dict[str, nn.Module]:
    """The parts of a system that are never trained, by name."""
    parts = {} if space.vae is None else {"vae": space.vae}
    return parts if isinstance(text_encoder, WordEncoder) else parts | {"text_encoder": text_encoder.model}


def pipeline_parts(space: Space, text_encoder: WordEncoder | FrozenText) -> dict[str, Any]:
    """A pipeline's components for them."""
    if isinstance(text_encoder, WordEncoder):
        return {"vae": space.vae, "text_encoder": text_encoder}
    return {"vae": space.vae, "text_encoder": text_encoder.model, "tokenizer": text_encoder.tokenizer}


def text_conditions(
    encoder: WordEncoder | FrozenText,
    prompts: Sequence[str],
    known: tuple[Tensor, Tensor] | None = None,
    **others: Tensor | None,
) -> Conditions:
    """Conditions of prompts, with the empty prompt as their null value.

    Args:
        encoder: of the text.
        prompts: one for each clip; "" for none.
        known: embeddings [b l d] and masks [b l] of the prompts other than "", where a frozen encoder made them before.
        others: further fields of `Conditions`.
    """
    if known is None or isinstance(encoder, WordEncoder):  # which is trained: what it made before is out of date
        text, mask = encoder.encode(["", *prompts])
    else:
        text, mask = encoder.encode([""])
        rows, masks = (each.to(text.device) for each in known)
        gone = torch.tensor([not prompt for prompt in prompts], device=text.device)[:, None]
        text = torch.cat([text, torch.where(gone[:, None], text, rows.to(text.dtype))])
        mask = torch.cat([mask, torch.where(gone, mask, masks)])
    null = {"text": text[:1], "text_mask": mask[:1]}
    return Conditions(text=text[1:], text_mask=mask[1:], null=null, **others)  # type: ignore[arg-type]


def frame_as_text(null: Conditions, embedding: Tensor, drop: Sequence[bool] | None = None) -> Conditions:
    """Conditions with a frame's embedding as their only token of text (MagicVideo's unsupervised training).

    Args:
        null: conditions of the empty prompt, with texts [b l d].
        embedding: of a frame of each clip [b d].
        drop: for each clip, whether it keeps the empty prompt.
    """
    assert null.text is not None  # as `text_conditions` makes them
    assert null.text_mask is not None
    text, mask = torch.zeros_like(null.text), torch.zeros_like(null.text_mask)
    text[:, 0], mask[:, 0] = embedding, True
    if drop is not None:
        gone = torch.tensor(drop, device=text.device)[:, None]
        text, mask = torch.where(gone[..., None], null.text, text), torch.where(gone, null.text_mask, mask)
    return replace(null, text=text, text_mask=mask)
