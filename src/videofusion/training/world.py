"""The processes that share a run: which one this is, and how they communicate.

`torchrun` starts them and says in the environment how many there are. Each takes its share of every batch; gradients
are averaged (`gradients.py`) or come averaged out of sharded networks (`sharding.py`). All take the same decisions,
from numbers that they have agreed on, and the first one writes. One process alone agrees with itself at no cost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from videofusion.errors import InputError, RunError

# Longer than anything that one process does while the others wait, such as writing a checkpoint.
PATIENCE = timedelta(minutes=20)

Item = TypeVar("Item")


@dataclass(frozen=True)
class World:
    """Which process this is, of how many.

    Args:
        rank: this process's number, from 0.
        size: how many there are.
        local: its number on this machine, which is that of its GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0

    @classmethod
    def of_environment(cls) -> World:
        """What torchrun says; one process where it says nothing.

        Raises:
            InputError: what it says are no numbers.
        """
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
        said = [os.environ.get(name) for name in names]
        if None in said:  # schedulers set some of them for a whole machine; torchrun sets all three
            return cls()
        try:
            rank, size, local = (int(text) for text in said if text is not None)
        except ValueError as error:
            told = ", ".join(f"{name}={text}" for name, text in zip(names, said, strict=True))
            raise InputError(f"the environment has {told}, where numbers are needed; torchrun sets them") from error
        return cls(rank, size, local)

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def share(self, batch_size: int) -> int:
        """How many clips of a batch this process takes.

        Args:
            batch_size: clips of all processes together.

        Raises:
            InputError: it cannot be divided evenly.
        """
        if batch_size % self.size:
            raise InputError(
                f"recipe key batch.size is {batch_size}, but must be a multiple of {self.size}, the processes that "
                "share a batch"
            )
        return batch_size // self.size

    def device(self, device: torch.device) -> torch.device:
        """The device of this process, where `device` is what all were asked to compute on.

        Raises:
            InputError: one GPU for several processes, or more processes than GPUs.
        """
        if self.size == 1 or device.type != "cuda":
            return device
        if device.index:
            raise InputError(f"device is {device}, but {self.size} processes need a GPU each; allowed are cuda and cpu")
        if self.local >= torch.cuda.device_count():
            raise InputError(
                f"this is process {self.local + 1} of this machine, which has {torch.cuda.device_count()} GPUs; "
                "--nproc-per-node must be no more than that"
            )
        return torch.device("cuda", self.local)

    @contextmanager
    def joined(self, device: torch.device) -> Iterator[None]:
        """Within the block the processes can speak to each other.

        Args:
            device: of this process.

        Raises:
            RunError: they do not find each other.
        """
        if self.size == 1:
            yield
            return
        backend = "gloo"
        if device.type == "cuda":
            torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl"  # decisions are numbers on the CPU: no GPU has to wait for them
        try:
            dist.init_process_group(backend, timeout=PATIENCE, rank=self.rank, world_size=self.size)
        except (RuntimeError, ValueError) as error:
            raise RunError(f"the {self.size} processes of the run do not find each other: {error}") from error
        yield
        dist.destroy_process_group()  # not after an error: it could wait for a process that is gone

    @contextmanager
    def watched(self, left: Callable[[], str]) -> Iterator[None]:
        """Within the block the end of another process is an error that says so.

        Args:
            left: says what is left of the run, for the message.

        Raises:
            RunError: another process ended, or said nothing for too long.
        """
        try:
            yield
        except RuntimeError as error:
            if self.size == 1 or isinstance(error, RunError) or not _is_about_others(error):
                raise
            raise RunError(
                f"another process of this run ended, or was silent for {PATIENCE.seconds // 60} minutes, so process "
                f"{self.rank} of {self.size} ends too; {left()}, from which the same command resumes"
            ) from error

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Numbers by name, averaged over the processes."""
        if self.size == 1:
            return dict(values)
        total = torch.tensor(list(values.values()), dtype=torch.float64)
        dist.all_reduce(total)
        return dict(zip(values, (total / self.size).tolist(), strict=True))

    def most(self, *values: float) -> list[float]:
        """The largest of each number, over the processes."""
        if self.size == 1:
            return list(values)
        most = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return most.tolist()

    def gathered(self, item: Item) -> list[Item]:
        """What every process has, in their order."""
        items = [item] * self.size
        if self.size > 1:
            dist.all_gather_object(items, item)
        return items

    def together(self, items: list[Item]) -> list[Item]:
        """The lists of all processes as one."""
        return [item for own in self.gathered(items) for item in own]

    def of_first(self, item: Item) -> Item:
        """What the first process has."""
        if self.size == 1:
            return item
        items = [item]
        dist.broadcast_object_list(items, src=0)
        return items[0]

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.most(0.0)


def _is_about_others(error: RuntimeError) -> bool:
    """Whether an error is of the talk between processes; gloo's is a plain one that names its source file."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()
