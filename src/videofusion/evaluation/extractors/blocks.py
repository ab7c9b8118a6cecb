"""What the two Inception networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Branches(nn.ModuleList):
    """The outputs of several modules for one input, joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], 1)
