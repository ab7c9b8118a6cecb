"""Inception-v3 as the Fréchet inception distance has it: TensorFlow's graph of 2015, not torchvision's network."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from videofusion.evaluation.extractors.blocks import Branches

POOL = 2048  # pooled features


class _Conv(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(
        self, ins: int, outs: int, kernel: int | tuple[int, int], stride: int = 1, *, valid: bool = False
    ) -> None:
        super().__init__()
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if valid else (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(ins, outs, kernel, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(outs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


def _average() -> nn.Module:
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)  # TensorFlow does not count its padding


def _halve() -> nn.Module:
    return nn.MaxPool2d(3, 2)


def _mixed_5(ins: int, pooled: int) -> Branches:
    return Branches(
        _Conv(ins, 64, 1),
        nn.Sequential(_Conv(ins, 48, 1), _Conv(48, 64, 5)),
        nn.Sequential(_Conv(ins, 64, 1), _Conv(64, 96, 3), _Conv(96, 96, 3)),
        nn.Sequential(_average(), _Conv(ins, pooled, 1)),
    )


def _mixed_6a() -> Branches:
    return Branches(
        _Conv(288, 384, 3, 2, valid=True),
        nn.Sequential(_Conv(288, 64, 1), _Conv(64, 96, 3), _Conv(96, 96, 3, 2, valid=True)),
        _halve(),
    )


def _mixed_6(mid: int) -> Branches:
    wide, tall = (1, 7), (7, 1)
    return Branches(
        _Conv(768, 192, 1),
        nn.Sequential(_Conv(768, mid, 1), _Conv(mid, mid, wide), _Conv(mid, 192, tall)),
        nn.Sequential(
            _Conv(768, mid, 1),
            _Conv(mid, mid, tall),
            _Conv(mid, mid, wide),
            _Conv(mid, mid, tall),
            _Conv(mid, 192, wide),
        ),
        nn.Sequential(_average(), _Conv(768, 192, 1)),
    )


def _mixed_7a() -> Branches:
    return Branches(
        nn.Sequential(_Conv(768, 192, 1), _Conv(192, 320, 3, 2, valid=True)),
        nn.Sequential(
            _Conv(768, 192, 1), _Conv(192, 192, (1, 7)), _Conv(192, 192, (7, 1)), _Conv(192, 192, 3, 2, valid=True)
        ),
        _halve(),
    )


def _mixed_7(ins: int, pool: nn.Module) -> Branches:
    def fork() -> Branches:
        return Branches(_Conv(384, 384, (1, 3)), _Conv(384, 384, (3, 1)))

    return Branches(
        _Conv(ins, 320, 1),
        nn.Sequential(_Conv(ins, 384, 1), fork()),
        nn.Sequential(_Conv(ins, 448, 1), _Conv(448, 384, 3), fork()),
        nn.Sequential(pool, _Conv(ins, 192, 1)),
    )


class InceptionV3(nn.Module):
    """Pooled features for FID and KID, logits for the Inception score; 299x299 pixels.

    Args:
        classes: logits; 1008 in TensorFlow's graph.
    """

    def __init__(self, classes: int = 1008) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {
            "conv1": _Conv(3, 32, 3, 2, valid=True),
            "conv2": _Conv(32, 32, 3, valid=True),
            "conv3": _Conv(32, 64, 3),
            "pool1": _halve(),
            "conv4": _Conv(64, 80, 1),
            "conv5": _Conv(80, 192, 3, valid=True),
            "pool2": _halve(),
            "mixed_5b": _mixed_5(192, 32),
            "mixed_5c": _mixed_5(256, 64),
            "mixed_5d": _mixed_5(288, 64),
            "mixed_6a": _mixed_6a(),
            "mixed_6b": _mixed_6(128),
            "mixed_6c": _mixed_6(160),
            "mixed_6d": _mixed_6(160),
            "mixed_6e": _mixed_6(192),
            "mixed_7a": _mixed_7a(),
            "mixed_7b": _mixed_7(1280, _average()),
            # A maximum in the last block is the graph's own oddity, and all published numbers have it.
            "mixed_7c": _mixed_7(2048, nn.MaxPool2d(3, 1, 1)),
        }
        self.body = nn.Sequential(OrderedDict(layers))
        self.fc = nn.Linear(POOL, classes)

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> dict[str, Tensor]:
        """Pooled features [b 2048], logits without the bias and with it [b classes], of RGB in [-1, 1].

        The Inception score's own code (Salimans et al., 2016) leaves the bias out, and so do those that follow it.
        """
        pool = self.body(x).mean((-2, -1))
        logits = F.linear(pool, self.fc.weight)
        return {"pool": pool, "logits": logits, "logits_biased": logits + self.fc.bias}


# Place in a block -> what torchvision calls it, by the block's kind.
_FIVE = {"0": "1x1", "1.0": "5x5_1", "1.1": "5x5_2", "3.1": "_pool"} | {f"2.{i}": f"3x3dbl_{i + 1}" for i in range(3)}
_SIX_A = {"0": "3x3"} | {f"1.{i}": f"3x3dbl_{i + 1}" for i in range(3)}
_SIX = (
    {"0": "1x1", "3.1": "_pool"}
    | {f"1.{i}": f"7x7_{i + 1}" for i in range(3)}
    | {f"2.{i}": f"7x7dbl_{i + 1}" for i in range(5)}
)
_SEVEN_A = {"0.0": "3x3_1", "0.1": "3x3_2"} | {f"1.{i}": f"7x7x3_{i + 1}" for i in range(4)}
_SEVEN = {
    "0": "1x1", "1.0": "3x3_1", "1.1.0": "3x3_2a", "1.1.1": "3x3_2b", "2.0": "3x3dbl_1", "2.1": "3x3dbl_2",
    "2.2.0": "3x3dbl_3a", "2.2.1": "3x3dbl_3b", "3.1": "_pool",
}  # fmt: skip
_KINDS = {"5": _FIVE, "6a": _SIX_A, "6": _SIX, "7a": _SEVEN_A, "7": _SEVEN}
_STEM = {
    "conv1": "Conv2d_1a_3x3",
    "conv2": "Conv2d_2a_3x3",
    "conv3": "Conv2d_2b_3x3",
    "conv4": "Conv2d_3b_1x1",
    "conv5": "Conv2d_4a_3x3",
}


def public_name(name: str) -> str:
    """What torchvision, and so the FID weights of pytorch-fid and torch-fidelity, call a weight of `InceptionV3`."""
    place, _, weight = name.rpartition(".")
    if place == "fc":
        return name
    _, layer, *inner, kind = place.split(".")
    kind = {"conv": "conv", "norm": "bn"}[kind]
    if not inner:
        return f"{_STEM[layer]}.{kind}.{weight}"
    block = layer.removeprefix("mixed_")
    branch = _KINDS.get(block, _KINDS[block[0]])[".".join(inner)]
    return f"{layer.capitalize()}.branch{branch}.{kind}.{weight}"
