"""The interface of a comparison's measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from videofusion.evaluation.making import Pipe, Sampling

SHOWN = 4  # clips of each model in the pictures


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was measured of a model's clips.

    Args:
        row: goes into the results; each of `measures` in it has a value and a deviation.
        clips: the first ones [n t 3 h w].
        captions: what they were to show.
    """

    row: dict[str, Any]
    clips: Tensor
    captions: list[str]


class Measure(Protocol):
    """How the clips of all models of a comparison are measured, over the same prompts and seeds."""

    note: str  # what has to stand under the table

    def prompt(self) -> str:
        """One of the prompts, which every model takes."""

    def real(self) -> dict[str, Any] | None:
        """What other real clips would have in a row: how far from zero a distance is by the number of clips alone."""

    def __call__(self, pipe: Pipe, sampling: Sampling) -> Finding:
        """Make clips and measure them."""
