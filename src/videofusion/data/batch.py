"""What a dataset returns: a `Sample`, a `Batch` of them, or a `BadClip`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """One clip with what is known about it.

    Args:
        clip: `t c h w`, float32 in [-1, 1].
        caption: what the clip shows, "" when nothing is known.
        name: the file (or the made-up name) that a report would print.
        identity: who or what is seen, "" when nothing is known.
        action: what it does, "" when nothing is known.
        label: its class, "" when nothing is known.
        fps: frames per second that the clip shows of the scene (MagicVideo's new FPS); 0 for a
            picture, and where nothing says it.
        encoded: `clip` holds latents of an autoencoder, not pixels.
        text: the caption's embedding by a frozen text encoder [l d] and which of its tokens count [l], where the data
            have it.
    """

    clip: Tensor
    caption: str
    name: str
    identity: str = ""
    action: str = ""
    label: str = ""
    fps: float | int = 0.0
    encoded: bool = False
    text: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Batch:
    """Clips of one size, with their captions, names and identities.

    Args:
        clip: `b t c h w`, float32 in [-1, 1].
        captions: b texts.
        names: b names.
        ids: int64 [b], the number that all randomness about a sample is keyed by.
        identities: b texts, or none at all; see `Sample`.
        actions: b texts, or none at all; see `Sample`.
        labels: b texts, or none at all; see `Sample`.
        fps: float32 [b], or None where no clip has one; see `Sample`.
        mates: noise key, identity and action of all clips of a batch that several processes share, theirs included, for
            those that group them.
        encoded: `clip` holds latents; see `Sample`.
        text: of all captions, [b l d] and [b l], or None; see `Sample`.
        pictures: clips of one frame that are trained on beside these, equally many for each, or None.
    """

    clip: Tensor
    captions: list[str]
    names: list[str]
    ids: Tensor
    identities: list[str] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    fps: Tensor | None = None
    mates: list[tuple[int, str, str]] = field(default_factory=list)
    encoded: bool = False
    text: tuple[Tensor, Tensor] | None = None
    pictures: Batch | None = None

    @staticmethod
    def of(samples: Sequence[Sample], ids: Sequence[int]) -> Batch:
        """Stack samples of one size, of one source, into a batch."""
        texts = [sample.text for sample in samples if sample.text is not None]
        text = (torch.stack([each for each, _ in texts]), torch.stack([mask for _, mask in texts])) if texts else None
        return Batch(
            torch.stack([sample.clip for sample in samples]),
            [sample.caption for sample in samples],
            [sample.name for sample in samples],
            torch.tensor(list(ids), dtype=torch.int64),
            [sample.identity for sample in samples],
            [sample.action for sample in samples],
            [sample.label for sample in samples],
            torch.tensor([sample.fps for sample in samples], dtype=torch.float32),
            encoded=samples[0].encoded,
            text=text,
        )

    def __len__(self) -> int:
        return len(self.captions)

    @property
    def nbytes(self) -> int:
        """Of the clips, and of the pictures beside them."""
        return self.clip.nbytes + (0 if self.pictures is None else self.pictures.nbytes)


class BadClip(Exception):
    """A clip that cannot be used: `name` says which, `reason` why (one line)."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)  # both as arguments, so that it survives a process border
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@runtime_checkable
class Dataset(Protocol):
    """Clips by number; what `sample` returns depends on its three arguments only.

    It may have `words`, all that its captions may hold, where they are known beforehand.
    """

    def __len__(self) -> int: ...

    def sample(self, index: int, epoch: int, seed: int) -> Sample:
        """Clip number `index` as it looks in `epoch` of the run `seed`; may raise `BadClip`."""
        ...
