"""The class that a clip belongs to, for data whose clips have one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from videofusion.conditioning.condition import Condition, Request, Step
from videofusion.conditioning.prompt import dropped
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys
from videofusion.errors import unknown


class ClassLabel(Condition):
    """A class by name, as an embedding; its null value is a class of its own, number 0.

    Args:
        names: of all classes.
    """

    name, kind, option = "labels", "embedding", "label"
    guided = True

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._number = {name: i for i, name in enumerate(self.names, 1)}

    def network(self, colours: int) -> dict[str, Any]:
        return {"labels": len(self.names) + 1}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        names = batch.labels or [""] * len(batch)
        numbers = [
            0 if drop else self._number.get(name, 0) for name, drop in zip(names, dropped(keys, step), strict=True)
        ]
        return _told(torch.tensor(numbers, device=batch.clip.device))

    def check(self, value: str | Sequence[str]) -> tuple[()]:
        for name in [value] if isinstance(value, str) else value:
            if name not in self._number:
                raise unknown("label", name, self.names)
        return ()

    def sample(self, value: str | Sequence[str] | None, request: Request) -> Conditions:
        names: Sequence[Any] = [value] * request.shape[0] if value is None or isinstance(value, str) else value
        return _told(torch.tensor([self._number.get(name, 0) for name in names], device=request.device))


def _told(labels: torch.Tensor) -> Conditions:
    return Conditions(labels=labels, null={"labels": torch.zeros(1, dtype=labels.dtype, device=labels.device)})
