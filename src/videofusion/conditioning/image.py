"""An embedding of the central frame, for the ``published`` variant of VideoFusion.

The paper takes it from CLIP's vision tower, which is not ours to ship. This one is trained with the generators that are
told it, by their loss alone, as in a diffusion autoencoder (Preechakul et al. 2022, sec. 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

_GROUPS = 8


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


def normalised(embedding: Tensor) -> Tensor:
    """An embedding [b d] brought to mean 0 and variance 1 over its entries."""
    return F.layer_norm(embedding, embedding.shape[-1:])
