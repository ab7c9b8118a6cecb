"""LPIPS (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric"), version 0.1.

Two pictures go through a network; at each place of a stage their channels are brought to length 1, and the weighted
squared differences are summed over channels, averaged over places and summed over stages (eq. 1, whose squared weights
are those of the published heads). With the weights, which are not negative, drawn into the features, that is the
squared distance of two vectors.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.evaluation.extractors.network_extractor import NetworkExtractor

# Of values in [-1, 1], red green blue: what ImageNet's mean and deviation become there.
_MEAN, _STD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_EPS = 1e-10


class Stage(NamedTuple):
    """Convolutions, each with a ReLU, after the last of which features are taken.

    Args:
        pool: side of the pooling before them, of stride 2; 0 for none.
        channels: of each convolution, in parts of the first one's.
        kernel: side in pixels.
        stride: of all of them.
        padding: on all sides.
    """

    pool: int
    channels: tuple[int, ...]
    kernel: int = 3
    stride: int = 1
    padding: int = 1


STAGES = {
    "alex": (Stage(0, (1,), 11, 4, 2), Stage(3, (3,), 5, 1, 2), Stage(3, (6,)), Stage(0, (4,)), Stage(0, (4,))),
    "vgg": (Stage(0, (1, 1)), *(Stage(2, (n,) * times) for n, times in ((2, 2), (4, 3), (8, 3), (8, 3)))),
}
LEAST = {"alex": 31, "vgg": 16}  # pixels, of which the last stage has one


class LPIPS(nn.Module):
    """The network: a picture to the vector whose squared distance from another's is LPIPS.

    Args:
        backbone: "alex" (AlexNet of torchvision) or "vgg" (VGG-16).
        width: channels of the first convolution; all others are multiples of it. 64 in either network.
    """

    def __init__(self, backbone: str, *, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []  # numbered as torchvision numbers them
        self.taps, channels, sizes = [0], 3, []
        for stage in STAGES[backbone]:
            if stage.pool:
                layers.append(nn.MaxPool2d(stage.pool, 2))
            for multiple in stage.channels:
                layers += [nn.Conv2d(channels, multiple * width, stage.kernel, stage.stride, stage.padding), nn.ReLU()]
                channels = multiple * width
            self.taps.append(len(layers))
            sizes.append(channels)
        self.features = nn.Sequential(*layers)
        self.heads = nn.ParameterList(torch.zeros(1, size, 1, 1) for size in sizes)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Vectors of pictures in [-1, 1]."""
        mean, std = (x.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
        x = (x - mean) / std
        parts = []
        for (begin, end), head in zip(pairwise(self.taps), self.heads, strict=True):
            x = self.features[begin:end](x)  # n c h w
            unit = x / (x.norm(dim=1, keepdim=True) + _EPS)
            parts.append((unit * (head / x[0, 0].numel()).sqrt()).flatten(1))
        return torch.cat(parts, dim=1)


def public_name(name: str) -> str:
    """What torchvision calls a weight of the network, and richzhang/PerceptualSimilarity one of the heads."""
    return re.sub(r"^heads\.(\d)$", r"lin\1.model.1.weight", name)


def known_as(name: str) -> str:
    """The public name of what else is in public files; "" for what the network takes no part of.

    The package lpips saves torchvision's convolutions as net.slice2.3, and its heads twice; torchvision's files have
    the classifier too.
    """
    if name.startswith(("classifier.", "scaling_layer.", "lins.")):
        return ""
    return re.sub(r"^net\.slice\d\.", "features.", name)


class LPIPSExtractor(NetworkExtractor):
    """LPIPS of frames, at the size that they have."""

    network: LPIPS
    layers = ("perceptual",)
    per_frame = True

    def __init__(self, network: LPIPS, *, name: str, checksum: str, least: int, batch: int = 4) -> None:
        super().__init__(network, name=name, checksum=checksum, batch=batch)
        self.least = least

    def _forward(self, clips: Tensor) -> dict[str, Tensor]:
        return {"perceptual": self.network(clips[:, 0])}

    def _check(self, clips: Tensor) -> None:
        super()._check(clips)
        if min(clips.shape[-2:]) < self.least:
            raise InputError(
                f"clips have frames of {clips.shape[-2]}x{clips.shape[-1]} pixels, but {self.name} takes at least "
                f"{self.least}x{self.least}"
            )

    def distance(self, made: Float[Tensor, "b t 3 h w"], real: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "b t"]:
        """LPIPS of each frame and the one that it should be, 0 for the same.

        Raises:
            InputError: shapes that differ, or clips that `read` would refuse.
        """
        if made.shape != real.shape:
            raise InputError(f"made has the shape {tuple(made.shape)} and real {tuple(real.shape)}; they must be equal")
        # The vectors of a frame may hold millions of numbers: only some are there at a time, and where they are made.
        device = self.network.heads[0].device
        frames = [rearrange(clips, "b t c h w -> (b t) 1 c h w").to(device).split(self.batch) for clips in (made, real)]
        parts = [
            (self.features(one) - self.features(other)).double().square().sum(dim=1)
            for one, other in zip(*frames, strict=True)
        ]
        return rearrange(torch.cat(parts), "(b t) -> b t", b=len(made)).to(made.device)
