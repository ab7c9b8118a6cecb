"""An embedding of the central frame, for the ``published`` variant of VideoFusion.

The paper takes it from CLIP's vision tower: `FrozenFrames`, with weights of the user's. `FrameEncoder` needs none: it
is trained with the generators that are conditioned on it, by their loss alone, as in a diffusion autoencoder
(Preechakul et al. 2022, sec. 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from videofusion.networks.autoencoder import Space
from videofusion.networks.layers import normalised

_GROUPS = 8
# Mean and deviation of the pictures that CLIP was trained on: red green blue, of 0 to 1.
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class FrameEncoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Convolutional network from a frame to its embedding, which has mean 0 and variance 1 over its entries.

    With the scale fixed, generators cannot hide what they want to know in huge numbers, and a prior knows the range of
    what it is to make.

    Args:
        size: of the embedding.
        in_channels: of a frame.
        channels: of the layers, each of which halves height and width; multiples of 8.
        grid: side of the grid of places that is kept, so that the embedding can tell where things are.
    """

    config_name = "config.json"

    @register_to_config
    def __init__(
        self, *, size: int = 128, in_channels: int = 3, channels: Sequence[int] = (32, 64, 96), grid: int = 4
    ) -> None:
        super().__init__()
        self.size = size
        layers: list[nn.Module] = []
        for before, after in pairwise((in_channels, *channels)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(_GROUPS, after), nn.SiLU()]
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(grid), nn.Flatten())
        self.project = nn.Linear(channels[-1] * grid**2, size)

    def forward(self, frame: Tensor) -> Tensor:
        """Embed.

        Args:
            frame: [b c h w] in [-1, 1].

        Returns:
            [b d].
        """
        return normalised(self.project(self.features(frame)))


class FrozenFrames:
    """CLIP's image encoder, never trained: a frame as its image processor prepares it, in torch.

    Args:
        model: a `CLIPVisionModelWithProjection` of transformers; its parameters are frozen, and it is put into
            evaluation mode. `image_mean` and `image_std` of its config are the processor's; CLIP's own where it has
            none.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = model.requires_grad_(False).eval()
        config: Any = model.config
        self.size: int = config.projection_dim
        self.side: int = config.image_size
        self._mean = tuple(getattr(config, "image_mean", CLIP_MEAN))
        self._std = tuple(getattr(config, "image_std", CLIP_STD))

    @torch.no_grad()
    def __call__(self, frame: Tensor) -> Tensor:
        """Embed.

        Args:
            frame: [b 3 h w] in [-1, 1]; its short side is resized to `side`, and the middle square kept.

        Returns:
            [b d], float32, of any length.
        """
        with torch.autocast(frame.device.type, enabled=False):
            pixels = self._square(frame.float())
            mean, std = (pixels.new_tensor(each)[:, None, None] for each in (self._mean, self._std))
            return self.model(pixel_values=((pixels - mean) / std).to(self.model.dtype)).image_embeds.float()

    def _square(self, frame: Tensor) -> Tensor:
        """A frame [b 3 h w] in [-1, 1] as a square of `side` pixels, in [0, 1]."""
        height, width = frame.shape[-2:]
        shape = [self.side * side // min(height, width) for side in (height, width)]
        pixels = F.interpolate((frame + 1) / 2, shape, mode="bicubic", antialias=True).clamp(0, 1)
        top, left = ((side - self.side) // 2 for side in shape)
        return pixels[..., top : top + self.side, left : left + self.side]


class SquashedFrames(FrozenFrames):
    """CLIP's image encoder as Stable Video Diffusion asks it: the whole frame, squashed to a square.

    It is blurred by as much as it shrinks, then sampled between the centres of its corner pixels; as the published code
    has it, bicubic values beyond the range stay.
    """

    def _square(self, frame: Tensor) -> Tensor:
        for axis in (-2, -1):
            frame = _blurred(frame, axis, max((frame.shape[axis] / self.side - 1) / 2, 0.001))
        shape = (self.side, self.side)
        return (F.interpolate(frame, shape, mode="bicubic", align_corners=True) + 1) / 2


def _blurred(frame: Tensor, axis: int, deviation: float) -> Tensor:
    """A frame [b c h w] convolved with a Gaussian along one of its last two axes, cut off at two deviations."""
    reach = int(max(4 * deviation, 3)) // 2
    weights = torch.exp(-torch.arange(-reach, reach + 1, device=frame.device).square() / (2 * deviation**2))
    lines = frame.movedim(axis, -1)
    padded = F.pad(lines.flatten(0, 1), (reach, reach), mode="reflect")
    kernel = (weights / weights.sum()).expand(1, 1, 1, -1)
    return F.conv2d(padded[:, None], kernel)[:, 0].unflatten(0, lines.shape[:2]).movedim(-1, axis)


def frames_encoder(part: nn.Module | None) -> FrameEncoder | FrozenFrames | None:
    """A pipeline's image encoder as it is called: a model of transformers with what prepares its pictures."""
    return part if part is None or isinstance(part, FrameEncoder) else FrozenFrames(part)


def embed_frame(encoder: FrameEncoder | FrozenFrames, space: Space, frame: Tensor) -> Tensor:
    """The embedding [b d] of a frame as a system has it; CLIP is shown pixels, which latents are decoded to.

    Args:
        encoder: of the frame.
        space: where the frame lives.
        frame: [b c h w].
    """
    if isinstance(encoder, FrameEncoder):
        return encoder(frame)
    with torch.no_grad():
        return encoder(space.decode(frame))
