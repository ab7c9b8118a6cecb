"""Where noise comes from: independent per frame, or decomposed into a clip's shared base and a residual per frame.

Every draw is counter based: its value depends on the clip's key, the step and the frame number only. So a clip depends
on its seeds, not on its batch, its window, the number of devices or the order of calls; and content and motion have
seeds of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from videofusion.diffusion.prediction import expand
from videofusion.errors import InputError

_BASE, _RESIDUAL, _CHOICE = 0, 1, 2  # streams of a key
MIDDLE_FRAME = 5  # the stream of noise on a middle frame that is told; systems/prior.py has 3 and 4


def base_frame(frames: int) -> int:
    """Index of the base frame of a clip: the middle one, floor(N / 2) (VideoFusion, sec. 3.3)."""
    return frames // 2


@dataclass(frozen=True)
class Keys:
    """Seeds of a batch of clips: equal content seeds share the base noise, equal motion seeds the residual (sec. 4.7).

    Args:
        content: seeds of the base noise, [b] integers.
        motion: seeds of the residual noise, [b] integers.
    """

    content: tuple[int, ...]
    motion: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.content) != len(self.motion):
            raise InputError(
                f"motion has {len(self.motion)} seeds; it must have as many as content, {len(self.content)}"
            )

    @classmethod
    def of(cls, seeds: Sequence[int], motion: Sequence[int] | None = None) -> Keys:
        """One seed a clip for both, or seeds for content and for motion."""
        return cls(tuple(map(int, seeds)), tuple(map(int, seeds if motion is None else motion)))


@dataclass(frozen=True)
class Noise:
    """A draw: eps = sqrt(share) base + sqrt(1 - share) residual (VideoFusion, eq. 7).

    Args:
        eps: what is added to the clip [b t c h w].
        base: the shared part [b 1 c h w].
        residual: each frame's own part [b t c h w].
        share: lambda per frame [b t].
    """

    eps: Tensor
    base: Tensor
    residual: Tensor
    share: Tensor


@runtime_checkable
class NoiseSource(Protocol):
    """Anything that draws noise for a clip and knows its covariance over frames."""

    def draw(
        self,
        shape: Sequence[int],
        keys: Keys,
        step: int,
        share: Tensor | None = None,
        frames: Sequence[int] | None = None,
    ) -> Noise: ...

    def covariance(self, share: Tensor) -> Tensor: ...


def _generator(key: int, stream: int, step: int, frame: int) -> np.random.Generator:
    mask = (1 << 64) - 1
    # as uint64 at once: numpy takes a list with a number above 2^63 through float
    words = np.array([key & mask, stream, 0, 0, step & mask, frame & mask], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=words[:2], counter=words[2:]))


def normal(key: int, stream: int, step: int, frame: int, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers that depend on nothing but the arguments (Philox; Salmon et al. 2011)."""
    return torch.from_numpy(_generator(key, stream, step, frame).standard_normal(tuple(shape), dtype=np.float32))


def uniform(key: int, step: int, count: int) -> list[float]:
    """Numbers in [0, 1) for a sample's choices at a training step: its time, whether its caption is dropped, ..."""
    return _generator(key, _CHOICE, step, 0).random(count).tolist()


@dataclass(frozen=True)
class DecomposedNoise:
    """Base noise shared by the clip plus residual noise of each frame (VideoFusion, eq. 7).

    Args:
        share: lambda of every frame but the base frame, in [0, 1]; a draw may be given its own per clip and frame.
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError(f"share is {self.share}; it must lie in [0, 1]")

    def shares(self, clips: int, frames: int) -> Tensor:
        """The fixed profile: `share` everywhere, 1 at the base frame; [b t]."""
        share = torch.full((clips, frames), float(self.share))
        share[:, base_frame(frames)] = 1.0
        return share

    def draw(
        self,
        shape: Sequence[int],
        keys: Keys,
        step: int,
        share: Tensor | None = None,
        frames: Sequence[int] | None = None,
    ) -> Noise:
        """Noise of one step.

        Args:
            shape: of the clip, (b, t, c, h, w).
            keys: the clips' seeds, b of them.
            step: 0 for the noise that a sample starts from, i + 1 for what step i of a sampler adds.
            share: lambda per clip and frame [b t]; the fixed profile when not given.
            frames: global frame numbers, t of them; 0 ... t-1 when not given.

        Raises:
            InputError: as many keys as clips are needed.
        """
        b, t, *rest = shape
        if len(keys.content) != b:
            raise InputError(f"keys holds {len(keys.content)} seeds; it must hold one per clip, {b}")
        share = self.shares(b, t) if share is None else share
        numbers = range(t) if frames is None else [int(f) for f in frames]
        base = torch.stack([normal(k, _BASE, step, 0, (1, *rest)) for k in keys.content])
        residual = torch.stack(
            [torch.stack([normal(k, _RESIDUAL, step, f, rest) for f in numbers]) for k in keys.motion]
        )
        weight = expand(share.float().cpu(), residual)
        return Noise(weight.sqrt() * base + (1 - weight).sqrt() * residual, base, residual, share)

    def covariance(self, share: Tensor) -> Tensor:
        """Covariance of the noise between frames: sqrt(share_i share_j) off the diagonal, 1 on it.

        Args:
            share: [b t].

        Returns:
            [b t t].
        """
        root = share.sqrt()
        outer = root[:, :, None] * root[:, None, :]
        return outer + torch.diag_embed(1 - share)


@dataclass(frozen=True)
class IndependentNoise:
    """Noise of its own for every frame, as in Video Diffusion Models."""

    def draw(
        self,
        shape: Sequence[int],
        keys: Keys,
        step: int,
        share: Tensor | None = None,
        frames: Sequence[int] | None = None,
    ) -> Noise:
        """Noise of one step; `share` is not read. See `DecomposedNoise.draw`."""
        return DecomposedNoise().draw(shape, keys, step, torch.zeros(shape[0], shape[1]), frames)

    def covariance(self, share: Tensor) -> Tensor:
        """The identity for every clip, [b t t]."""
        return torch.eye(share.shape[1]).to(share).expand(share.shape[0], -1, -1)


def bind(
    source: NoiseSource,
    shape: Sequence[int],
    keys: Keys,
    share: Tensor | None = None,
    frames: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> Callable[[int], Tensor]:
    """The noise of one batch as a function of the step, as samplers take it. See `DecomposedNoise.draw`."""
    return lambda step: source.draw(shape, keys, step, share, frames).eps.to(device)
