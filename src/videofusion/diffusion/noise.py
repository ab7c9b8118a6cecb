"""Where noise comes from: independent per frame, or decomposed into a clip's shared base and a residual per frame.

`kernels.py` has noise with other covariances over frames. Every draw depends on the clip's keys, the step and the frame
number only (`videofusion/keys.py`). So a clip depends on its seeds, not on its batch, its window, the number of devices
or the order of calls; and content and motion have seeds of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from videofusion.diffusion.prediction import expand
from videofusion.errors import InputError
from videofusion.keys import Stream, normal


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
    """A draw. Of decomposed noise, eps = sqrt(share) base + sqrt(1 - share) residual (VideoFusion, eq. 7).

    Args:
        eps: what is added to the clip [b t c h w].
        base: the shared part [b 1 c h w]; None where nothing of it is in eps.
        residual: each frame's own part [b t c h w]; likewise.
        share: lambda per frame [b t]; None for noise without.
    """

    eps: Tensor
    base: Tensor | None = None
    residual: Tensor | None = None
    share: Tensor | None = None


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
        device: torch.device | str = "cpu",
    ) -> Noise:
        """Noise of one step.

        Args:
            shape: of the clip, (b, t, c, h, w).
            keys: the clips' seeds, b of them.
            step: 0 for the noise that a sample starts from, i + 1 for what step i of a sampler adds.
            share: lambda per clip and frame [b t], for noise that has one; the source's own when not given.
            frames: global frame numbers, t of them; 0 ... t-1 when not given.
            device: where it is drawn.

        Raises:
            InputError: as many keys as clips are needed.
        """

    def covariance(self, share: Tensor | None = None, frames: Sequence[int] | None = None) -> Tensor:
        """Covariance of the noise between frames.

        Args:
            share: as drawn with [b t].
            frames: as drawn with; 0 ... t-1 when not given. One of both is needed.

        Returns:
            [b t t], b = 1 without share.
        """


def frame_numbers(share: Tensor | None, frames: Sequence[int] | None) -> list[int]:
    """The frame numbers of a covariance; raises InputError where nothing says how many."""
    if frames is not None:
        return [int(frame) for frame in frames]
    if share is None:
        raise InputError("share and frames are not given; a covariance needs one of them to know how many frames")
    return list(range(share.shape[1]))


def check_keys(keys: Keys, clips: int) -> None:
    """Raise InputError unless there is a key for each clip."""
    if len(keys.content) != clips:
        raise InputError(f"keys holds {len(keys.content)} seeds; it must hold one per clip, {clips}")


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
        device: torch.device | str = "cpu",
    ) -> Noise:
        """Noise of one step; the fixed profile where no share is given. See `NoiseSource.draw`."""
        b, t, *rest = shape
        check_keys(keys, b)
        share = self.shares(b, t) if share is None else share
        # what nothing is made of is not drawn; on other devices a look at the numbers would wait for them
        at_hand = share.device.type == "cpu"
        base = residual = None
        if not (at_hand and bool((share == 0).all())):
            base = normal(keys.content, Stream.BASE, step, [0], rest, device)
        if not (at_hand and bool((share == 1).all())):
            numbers = range(t) if frames is None else frames
            residual = normal(keys.motion, Stream.RESIDUAL, step, numbers, rest, device)
        if base is None or residual is None:
            eps = residual if base is None else base.repeat(1, t, *(1 for _ in rest))
            assert eps is not None  # no share is both 0 and 1 everywhere
        else:
            weight = expand(share.to(residual), residual)
            eps = (1 - weight).sqrt() * residual
            for frame, part in zip(eps.split(1, dim=1), weight.sqrt().split(1, dim=1), strict=True):
                frame += part * base  # one at a time, while the base is in the cache
        return Noise(eps, base, residual, share)

    def covariance(self, share: Tensor | None = None, frames: Sequence[int] | None = None) -> Tensor:
        """sqrt(share_i share_j) off the diagonal, 1 on it. See `NoiseSource.covariance`."""
        if share is None:
            share = self.shares(1, len(frame_numbers(share, frames)))
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
        device: torch.device | str = "cpu",
    ) -> Noise:
        """Noise of one step, by the motion seeds; `share` is not read. See `NoiseSource.draw`."""
        b, t, *rest = shape
        check_keys(keys, b)
        eps = normal(keys.motion, Stream.RESIDUAL, step, range(t) if frames is None else frames, rest, device)
        return Noise(eps, residual=eps)

    def covariance(self, share: Tensor | None = None, frames: Sequence[int] | None = None) -> Tensor:
        """The identity. See `NoiseSource.covariance`."""
        same = torch.eye(len(frame_numbers(share, frames)))[None]
        return same if share is None else same.to(share).expand(len(share), -1, -1)


def bind(
    source: NoiseSource,
    shape: Sequence[int],
    keys: Keys,
    share: Tensor | None = None,
    frames: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
) -> Callable[[int], Tensor]:
    """The noise of one batch as a function of the step, as samplers take it. See `NoiseSource.draw`."""
    return lambda step: source.draw(shape, keys, step, share, frames, device).eps
