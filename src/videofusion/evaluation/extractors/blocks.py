"""Building blocks shared by feature networks."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Branches(nn.ModuleList):
    """The outputs of several modules for one input, joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], 1)


def conv(ins: int, outs: int, stride: int = 1) -> list[nn.Module]:
    """A convolution of 3x3 with what follows it."""
    return [nn.Conv2d(ins, outs, 3, stride, 1), nn.BatchNorm2d(outs), nn.ReLU()]
