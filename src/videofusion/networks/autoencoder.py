"""Where clips live while they are made: pixels, or the latents of a frozen autoencoder of images.

An autoencoder is one of diffusers' (`AutoencoderKL`, `AutoencoderTiny`, `AutoencoderDC`) or `TinyAutoencoder`.
Latents are shifted and scaled as its configuration says, to about unit variance, which is what noise schedules are
made for (Rombach et al. 2022, sec. 4.3.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from videofusion.device import without_autocast
from videofusion.errors import InputError
from videofusion.networks.tiles import LEAST, Results, in_tiles

PIXELS_AT_ONCE = 2**19  # of the frames that are encoded or decoded together: 8 of 256x256
MOST_AT_ONCE = 8
WHOLE = 2**20  # pixels of a frame that is still encoded or decoded whole: 1024x1024
TILE = 512  # pixels along a side of the tiles of larger ones


@runtime_checkable
class Space(Protocol):
    """Where a system's clips live.

    Attributes:
        channels: of its frames.
        factor: pixels along a side of one of its places.
        vae: the autoencoder, or None.
    """

    channels: int
    factor: int
    vae: nn.Module | None

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError unless frames of this height and width in pixels can be brought there."""

    def encode(self, clip: Tensor) -> Tensor:
        """Bring a clip there from pixels."""

    def decode(self, latents: Tensor) -> Tensor:
        """Bring it back: float32 in [-1, 1]."""

    def bounded(self, latents: Tensor) -> Tensor:
        """What a sampler made, brought to the range that is possible."""


class Pixels:
    """The clips themselves."""

    channels, factor = 3, 1
    vae: nn.Module | None = None

    def check_size(self, height: int, width: int) -> None:
        """Any size will do."""

    def encode(self, clip: Tensor) -> Tensor:
        return clip

    def decode(self, latents: Tensor) -> Tensor:
        return latents.float().clamp(-1, 1)

    def unscaled(self, latents: Tensor) -> Tensor:
        return latents

    def bounded(self, latents: Tensor) -> Tensor:
        return latents.clamp(-1, 1)


class Latents:
    """Latents of a frozen autoencoder, frame by frame; each frame's are the same whatever the others are.

    It computes in the autoencoder's own precision, outside of autocast, with frames in chunks of one size, the last one
    filled up: so what is encoded during training is to the bit what was encoded before it. Large frames go through in
    tiles that overlap by a quarter, see `networks.tiles`: beside the clip itself, memory is that of a chunk, or a tile.

    Args:
        vae: what it consists of; its parameters are frozen, and it is put into evaluation mode.
        chunk: frames at once; as many as have `PIXELS_AT_ONCE` pixels, 8 at most, when None.
        tile: pixels along a side of tiles, for frames that are larger; `TILE`, for frames of more pixels than `WHOLE`,
            when None. A multiple of the autoencoder's factor, at least 8 times it.

    Raises:
        InputError: a scale that is 0, or means and deviations for another number of channels; another tile.
    """

    def __init__(self, vae: nn.Module, chunk: int | None = None, tile: int | None = None) -> None:
        self.vae: nn.Module | None = vae
        self._vae: Any = vae.requires_grad_(False).eval()
        self._chunk, self._tile = chunk, tile
        config: Any = vae.config
        levels = config.get("block_out_channels") or config.get("encoder_block_out_channels")
        self.channels: int = config["latent_channels"]
        self.factor: int = config.get("factor") or 2 ** (len(levels) - 1)
        self._mean, self._std = self._statistics(config)
        if tile is not None and (tile % self.factor or tile < LEAST * self.factor):
            raise InputError(
                f"tile is {tile}; this autoencoder takes a multiple of {self.factor} pixels, at least "
                f"{LEAST * self.factor}"
            )

    def _statistics(self, config: Any) -> tuple[Tensor, Tensor]:
        """What latents are shifted and divided by, per channel [c 1 1]."""
        scale, shift = config.get("scaling_factor") or 1.0, config.get("shift_factor") or 0.0
        means = config.get("latents_mean") or [shift] * self.channels
        deviations = config.get("latents_std") or [1.0] * self.channels
        if not len(means) == len(deviations) == self.channels or min(deviations) <= 0:
            raise InputError(
                f"the autoencoder has {len(means)} latents_mean and {len(deviations)} latents_std; it must have one "
                f"for each of {self.channels} channels, and deviations above 0"
            )
        mean = torch.tensor([float(each) for each in means], device="cpu")
        std = torch.tensor([float(each) / scale for each in deviations], device="cpu")
        return mean[:, None, None], std[:, None, None]

    def check_size(self, height: int, width: int) -> None:
        """Raise InputError unless the autoencoder can take frames of this height and width in pixels."""
        if height % self.factor or width % self.factor or min(height, width) < 1:
            raise InputError(
                f"size is {height}x{width}; the autoencoder takes height and width that are multiples of {self.factor}"
            )

    @torch.no_grad()
    def encode(self, clip: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Latents of a clip: the mean of their distribution, where the autoencoder gives one.

        Args:
            clip: [b t 3 h w] in [-1, 1].
            generator: on the CPU; given, the latents are drawn by it, one after the other.

        Returns:
            [b t c h/f w/f], float32.

        Raises:
            InputError: another shape or size; a draw from an autoencoder whose latents are no distribution.
        """
        if clip.ndim != 5 or clip.shape[2] != 3:
            raise InputError(f"clip has the shape {tuple(clip.shape)}; an autoencoder takes b t 3 h w")
        self.check_size(*clip.shape[-2:])
        means, deviations = self._each(self._posterior, clip.flatten(0, 1), encodes=True)
        assert means is not None
        if generator is not None:
            if deviations is None:
                raise InputError(
                    f"generator is given, but a {type(self.vae).__name__} gives latents, no distribution to draw from"
                )
            means = means + deviations * torch.randn(means.shape, generator=generator).to(means)
        mean, std = (each.to(means) for each in (self._mean, self._std))
        latents = ((means - mean) / std).unflatten(0, clip.shape[:2])
        return latents.contiguous()  # as those that were encoded before are read: sums depend on it to the last bit

    def decode(self, latents: Tensor) -> Tensor:
        """The clip of latents.

        Args:
            latents: [b t c h w] (or [t c h w]).

        Returns:
            [b t 3 f*h f*w] (or without b), float32 in [-1, 1].

        Raises:
            InputError: another shape.
        """
        if latents.ndim not in (4, 5) or latents.shape[-3] != self.channels:
            raise InputError(
                f"latents have the shape {tuple(latents.shape)}; this autoencoder takes b t {self.channels} h w"
            )
        frames = latents.flatten(0, -4).float()
        mean, std = (each.to(frames) for each in (self._mean, self._std))
        (clip,) = self._each(self._picture, frames * std + mean, encodes=False)
        assert clip is not None
        return clip.clamp_(-1, 1).unflatten(0, latents.shape[:-3])

    def unscaled(self, latents: Tensor) -> Tensor:
        """Latents as the autoencoder gives them, neither shifted nor scaled."""
        mean, std = (each.to(latents) for each in (self._mean, self._std))
        return latents * std + mean

    def bounded(self, latents: Tensor) -> Tensor:
        """Latents as they are: nothing bounds them."""
        return latents

    def _posterior(self, frames: Tensor) -> tuple[Tensor, Tensor | None]:
        found = self._vae.encode(frames)
        if not hasattr(found, "latent_dist"):
            return (found.latent if hasattr(found, "latent") else found.latents), None
        return found.latent_dist.mean, found.latent_dist.std

    def _picture(self, latents: Tensor) -> tuple[Tensor]:
        return (self._vae.decode(latents).sample,)

    def _each(self, work: Callable[[Tensor], Results], frames: Tensor, *, encodes: bool) -> list[Tensor | None]:
        """Do something with frames [n c h w], chunk by chunk, float32; as `encodes`, always with as many frames."""
        unit, made = (self.factor, 1) if encodes else (1, self.factor)
        height, width = (length // unit * self.factor for length in frames.shape[-2:])
        tile = self._tile or (TILE if height * width > WHOLE else max(height, width))
        area = min(height, tile) * min(width, tile)
        chunk = self._chunk or min(MOST_AT_ONCE, max(1, PIXELS_AT_ONCE // area))
        whole: list[Tensor | None] = []
        with without_autocast(frames.device):
            for start in range(0, len(frames), chunk):
                some = frames[start : start + chunk].to(self._vae.dtype)
                count = len(some)
                if encodes and count < chunk:
                    some = torch.cat([some, some[-1:].expand(chunk - count, -1, -1, -1)])
                parts = in_tiles(work, some, tile // self.factor, unit=unit, made=made)
                if not whole:
                    whole = [None if each is None else each.new_empty(len(frames), *each.shape[1:]) for each in parts]
                for result, part in zip(whole, parts, strict=True):
                    if result is not None and part is not None:
                        result[start : start + count] = part[:count]
        return whole


class TemporalLatents(Latents):
    """Latents whose decoder sees several frames at once, so that they flicker less (Stable Video Diffusion's).

    Args:
        vae: diffusers' `AutoencoderKLTemporalDecoder`, whose encoder takes frame by frame.
        chunk: as for `Latents`; given, as many are decoded together.
        tile: as for `Latents`.
        together: frames of a clip that are decoded at once, from its first; `MOST_AT_ONCE` when None. Both memory and
            what is made depend on it.
    """

    def __init__(
        self, vae: nn.Module, chunk: int | None = None, tile: int | None = None, together: int | None = None
    ) -> None:
        super().__init__(vae, chunk, tile)
        self._together = chunk or together or MOST_AT_ONCE

    def decode(self, latents: Tensor) -> Tensor:
        if latents.ndim == 5:
            return torch.stack([self.decode(clip) for clip in latents])
        if latents.ndim != 4 or latents.shape[-3] != self.channels:
            return super().decode(latents)  # which refuses them
        height, width = (length * self.factor for length in latents.shape[-2:])
        clip = torch.empty(len(latents), 3, height, width, device=latents.device)
        mean, std = (each.to(latents.device) for each in (self._mean, self._std))
        tile = self._tile or (TILE if height * width > WHOLE else max(height, width))
        with without_autocast(latents.device):
            for at in range(0, len(latents), self._together):
                some = (latents[at : at + self._together].float() * std + mean).to(self._vae.dtype)
                (frames,) = in_tiles(self._frames, some, tile // self.factor, made=self.factor)
                assert frames is not None
                clip[at : at + len(some)] = frames
        return clip.clamp_(-1, 1)

    def _frames(self, latents: Tensor) -> tuple[Tensor]:
        return (self._vae.decode(latents, num_frames=len(latents)).sample,)


def space_of(
    vae: nn.Module | None, chunk: int | None = None, tile: int | None = None, together: int | None = None
) -> Pixels | Latents:
    """The space of an autoencoder, see `Latents` and `TemporalLatents`; pixels where there is none."""
    if vae is None:
        return Pixels()
    if hasattr(getattr(vae, "decoder", None), "time_conv_out"):
        return TemporalLatents(vae, chunk, tile, together)
    return Latents(vae, chunk, tile)
