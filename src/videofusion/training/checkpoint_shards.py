"""Checkpoints in shards: each process writes what it holds and reads what it needs (torch.distributed.checkpoint).

The tensors lie in a folder of safetensors files, one of each process, which say in their headers where in the whole
tensors theirs begin. So any number of processes can read them, and one without any others as well. There is no pickle:
of torch's writers this is the one that leaves no `.metadata`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException

from videofusion.errors import InputError, RunError
from videofusion.training.world import World

FOLDER = "shards"


def check_storage() -> None:
    """Raise InputError if torch is too old to write and read shards as safetensors."""
    try:
        _storage()
    except RunError as error:
        raise InputError(f"recipe key compute.shard is True, but {error}") from error


def write(folder: Path, tensors: Mapping[str, Tensor], world: World) -> list[Path]:
    """Write the tensors that all processes hold together; all must call.

    Args:
        folder: of the checkpoint; the first process makes it before it calls.
        tensors: by name, the same names in every process; what is not cut the first one writes.
        world: the processes.

    Returns:
        The files that this process wrote, synced.

    Raises:
        OSError: in every process, if one could not write.
    """
    world.wait()  # until the folder is there
    place = folder / FOLDER
    storage = _storage()
    try:
        storage.save(
            {name: tensor.detach() for name, tensor in tensors.items()},
            storage_writer=storage.HuggingFaceStorageWriter(str(place), save_distributed=True),
            planner=storage.DefaultSavePlanner(dedup_save_to_lowest_rank=True),
        )
    except CheckpointException as error:
        raise _first(error) from error
    return sorted(place.glob(f"shard-{world.rank + 1:05d}-*.safetensors"))


def describe(folder: Path) -> dict[str, Tensor]:
    """The whole tensors of a checkpoint, on the device "meta": names, shapes and dtypes."""
    found = _storage().HuggingFaceStorageReader(str(folder / FOLDER)).read_metadata()
    return {
        name: torch.empty(facts.size, dtype=facts.properties.dtype, device="meta")
        for name, facts in found.state_dict_metadata.items()
    }


@torch.no_grad()
def read(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Copy a checkpoint into tensors; of those that are cut a process reads its shard. All processes must call.

    Args:
        folder: of the checkpoint.
        tensors: by name, some or all of those in the checkpoint, with their shapes.

    Raises:
        OSError: in every process, if one could not read.
    """
    storage = _storage()
    alone = not dist.is_initialized()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
            storage.load(
                {name: tensor.detach() for name, tensor in tensors.items()},
                storage_reader=storage.HuggingFaceStorageReader(str(folder / FOLDER)),
                no_dist=alone,
            )
    except CheckpointException as error:
        raise _first(error) from error


def _first(error: CheckpointException) -> BaseException:
    """What went wrong in the first process in which something did."""
    return error.failures[min(error.failures)][0]


def _storage() -> Any:
    """The module torch.distributed.checkpoint, where it knows safetensors."""
    from torch.distributed import checkpoint

    if not hasattr(checkpoint, "HuggingFaceStorageWriter"):
        # not an InputError: a checkpoint that is whole must not be passed over as a damaged one
        raise RunError(
            f"torch {torch.__version__} knows no safetensors in torch.distributed.checkpoint, as checkpoints in shards "
            "are written and read; install the torch of constraints.txt, or a newer one"
        )
    return checkpoint
