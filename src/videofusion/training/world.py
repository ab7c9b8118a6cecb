"""The processes that share a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class World:
    """Which process this is, of how many.

    There is one so far. With more, the loader takes its share by rank, gradients are averaged before they are
    clipped, and the first process writes: all that asks here.

    Args:
        rank: this process's number, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0
