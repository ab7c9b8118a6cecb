"""Random weights that keep numbers at one scale through deep networks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module], nn.Module]:
    """Fills a network: every weight, shift and running mean counts for the output."""

    @torch.no_grad()
    def fill(network: nn.Module) -> nn.Module:
        random = torch.Generator().manual_seed(0)
        for name, value in network.state_dict().items():
            if value.ndim > 1:
                value.copy_(torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5)
            elif name.endswith(("running_var", "norm.weight")):
                value.copy_(torch.rand(value.shape, generator=random) + 0.5)
            elif value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=random) * 0.1)
        return network.eval().requires_grad_(False)

    return fill
