"""The exponential moving average of weights, with which samples are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from videofusion.training.sharding import by_device


class Ema:
    """A moving average of named tensors, with a warm-up of its decay.

    Args:
        parameters: the live tensors by name; the average starts as their copy.
        decay: in [0, 1); the share of the old average that an update keeps, once warm.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._live = parameters
        self.shadow = {name: live.detach().clone() for name, live in parameters.items()}

    def next_decay(self) -> float:
        """The decay of the next update: min(decay, (1 + n) / (10 + n)) after n updates.

        So the average is not held back by the random weights that it started from.
        """
        return min(self.decay, (1 + self.updates) / (10 + self.updates))

    @torch.no_grad()
    def update(self) -> None:
        """Take one step towards the live weights."""
        live = by_device(tensor.detach() for tensor in self._live.values())
        for shadow, group in zip(by_device(self.shadow.values()), live, strict=True):
            torch._foreach_lerp_(shadow, group, 1.0 - self.next_decay())
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the live tensors hold the average; afterwards the very bits they held."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        # Values change places, not storage: compiled graphs may hold on to addresses.
        for name, live in self._live.items():
            kept = live.detach().clone()
            live.copy_(self.shadow[name])
            self.shadow[name].copy_(kept)
