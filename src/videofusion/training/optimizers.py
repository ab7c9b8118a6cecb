"""The optimiser of a run, and the bytes that it keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from videofusion.errors import InputError, require
from videofusion.recipes.recipe import Recipe

_SMALLEST = 4096  # numbers of a tensor whose moments bitsandbytes keeps in 8 bits
_BLOCK = 256  # of them share a scale


def check_optimizer(recipe: Recipe) -> None:
    """Raise InputError, before anything is made, for an optimiser that is not there or not for this run."""
    if recipe.optimizer.name == "adamw8bit":
        require("bitsandbytes", extra="8bit")
        if recipe.compute.shard:
            raise InputError(
                "recipe key optimizer.name is 'adamw8bit' and compute.shard is True; allowed is one of them"
            )


def make_optimizer(recipe: Recipe, groups: list[dict[str, Any]], modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), its moments in 32 bits, or in 8 with a scale a block (Dettmers et al. 2022).

    Args:
        recipe: names the kind.
        groups: of parameters with their learning rates.
        modules: that they are in; for 8 bits their weights are put in plain order, as that optimiser wants them.

    Raises:
        InputError: bitsandbytes is missing.
    """
    options: dict[str, Any] = {
        "lr": recipe.optimizer.learning_rate,
        "betas": (0.9, 0.99),
        "weight_decay": recipe.optimizer.weight_decay,
    }
    if recipe.optimizer.name == "adamw":
        return torch.optim.AdamW(groups, **options, fused=True)  # on a CPU a fifth of the loop's time
    for module in modules:  # it would do so in its first step, and a run that is resumed begin in another order
        for parameter in module.parameters():
            parameter.data = parameter.data.contiguous()
    optimizer: torch.optim.Optimizer = require("bitsandbytes", extra="8bit").optim.AdamW8bit(groups, **options)
    return optimizer


def moments(optimizer: torch.optim.Optimizer, names: dict[nn.Parameter, str]) -> dict[str, Tensor]:
    """What an optimiser keeps, by "kind/parameter"."""
    return {
        # tables of 8 bits' values are one for all parameters, and safetensors takes no tensor twice
        f"{kind}/{name}": value.clone() if kind.startswith("qmap") else torch.as_tensor(value)
        for parameter, name in names.items()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def moment(kind: str, value: Tensor, recipe: Recipe) -> Tensor | int:
    """A value of `moments`, as the optimiser keeps it."""
    return int(value) if kind == "step" and recipe.optimizer.name == "adamw8bit" else value


def moment_bytes(numbers: Iterable[int], eight_bit: bool) -> int:
    """Bytes of the two moments of tensors.

    Args:
        numbers: of each tensor.
        eight_bit: whether large ones are kept in 8 bits.
    """
    counts = list(numbers)
    large = [count for count in counts if eight_bit and count >= _SMALLEST]
    return 8 * (sum(counts) - sum(large)) + sum(2 * count + 8 * -(-count // _BLOCK) for count in large)
