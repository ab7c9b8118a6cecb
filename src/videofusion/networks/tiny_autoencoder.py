"""A tiny autoencoder of images, for weights of the TAESD family (madebyollin/taesd): TAESD, TAEF1, TAEF2.

Written from the names and shapes of their weights. Diffusers' `AutoencoderTiny` has the same blocks, but none that
looks at a whole group of channels at the coarsest level, as TAEF2's do ("pool" in its weights' names).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

_GROUPS = 4
_LARGEST = 3.0  # latents are decoded as if they were no larger than this


class Encoded(NamedTuple):
    """What `encode` gives, as diffusers' autoencoders name it."""

    latents: Tensor


class Decoded(NamedTuple):
    """What `decode` gives, as diffusers' autoencoders name it."""

    sample: Tensor


class TinyAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Residual blocks of one width; height and width are halved three times.

    Args:
        latent_channels: of the latents.
        width: channels of the layers.
        pool: the blocks at the coarsest level have a second, normalised path.
        factor: pixels along a side of one place of the latents; a power of 2.
        latents_mean: per channel, what latents are shifted by before diffusion; 0 when None.
        latents_std: per channel, what they are divided by; 1 when None.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        *,
        latent_channels: int = 4,
        width: int = 64,
        pool: bool = False,
        factor: int = 8,
        latents_mean: Sequence[float] | None = None,
        latents_std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        halvings = factor.bit_length() - 1
        down: list[nn.Module] = [_conv(3, width), _Block(width)]
        up: list[nn.Module] = [_Soft(), _conv(latent_channels, width), nn.ReLU()]
        for level in range(halvings):
            pooled = pool and level == halvings - 1
            down += [_conv(width, width, stride=2, bias=False), *(_Block(width, pooled) for _ in range(3))]
            pooled = pool and level == 0
            up += [*(_Block(width, pooled) for _ in range(3)), nn.Upsample(scale_factor=2)]
            up += [_conv(width, width, bias=False)]
        # their places in these lists are in the weights' names
        self.encoder = nn.Sequential(*down, _conv(width, latent_channels))
        self.decoder = nn.Sequential(*up, _Block(width), _conv(width, 3))

    @apply_forward_hook
    def encode(self, frames: Tensor) -> Encoded:
        """Latents of frames.

        Args:
            frames: [b 3 h w] in [-1, 1].
        """
        return Encoded(self.encoder((frames + 1) / 2))

    @apply_forward_hook
    def decode(self, latents: Tensor) -> Decoded:
        """Frames of latents, [b 3 h w], about in [-1, 1].

        Args:
            latents: [b c h w], as `encode` gives them.
        """
        return Decoded(self.decoder(latents) * 2 - 1)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames there and back."""
        return self.decode(self.encode(frames).latents).sample


class _Soft(nn.Module):
    """Brings latents that are too large back, without an edge."""

    def forward(self, x: Tensor) -> Tensor:
        return _LARGEST * torch.tanh(x / _LARGEST)


class _Block(nn.Module):
    """Three convolutions beside the identity; before them, with `pool`, a normalised 1x1 path."""

    def __init__(self, width: int, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width))
        if pool:
            wide = 4 * width
            first, last = nn.Conv2d(width, wide, 1, bias=False), nn.Conv2d(wide, width, 1, bias=False)
            self.pool = nn.Sequential(first, nn.GroupNorm(_GROUPS, wide), nn.ReLU(), last)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "pool"):
            x = x + self.pool(x)
        return (x + self.conv(x)).relu()


def _conv(before: int, after: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=bias)
