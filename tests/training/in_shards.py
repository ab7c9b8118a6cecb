"""What processes that hold a toy in shards do in tests of their checkpoints."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed import checkpoint as storage
from toy import ToyBatches, ToySystem, toy_recipe

from videofusion.training import checkpoints
from videofusion.training.checkpoints import Checkpoint
from videofusion.training.sharding import collected
from videofusion.training.state import State, training_keys
from videofusion.training.world import World

CPU = torch.device("cpu")


def toy_state(world: World) -> State:
    """Of a system whose tensors cannot be cut evenly; some are shorter than there are processes."""
    return State(toy_recipe(shard=world.size > 1), ToySystem(width=5), CPU, world)


def flat(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Weights, average and optimiser state of a checkpoint."""
    return {f"{part}/{name}": value for part, values in checkpoint.parts.items() for name, value in values.items()}


def write_steps(folder: Path, fault: str) -> int:
    """Write two steps, and the whole tensors of each beside them; a fault strikes in the second."""
    world = World.of_environment()
    with world.joined(CPU), world.watched(lambda: "step 1 is left"):
        system = ToySystem(width=5)
        state = State(toy_recipe(shard=True), system, CPU, world)
        for step in (1, 2):
            batch = ToyBatches().batch(step)
            system.loss(batch, training_keys(0, batch.ids.tolist()), step).total.backward()
            state.advance()
            if step == 2 and world.rank == 1:
                _break_writing(fault)
            checkpoints.save(folder, state.checkpoint(), world)
            whole = collected(flat(state.checkpoint()), world.writes)
            if world.writes:
                save_file(whole, folder / f"{step}.safetensors")
    return 0


def _break_writing(fault: str) -> None:
    def broken(*_: object) -> None:
        if fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, "No space left on device")

    if fault:
        storage.HuggingFaceStorageWriter.write_data = broken  # this process is there for nothing else


def write_again(found: Path, folders: list[Path]) -> int:
    """Read a run's newest checkpoint into new systems, and write what these hold."""
    world = World.of_environment()
    with world.joined(CPU):
        for folder in folders:
            state = toy_state(world)
            newest = checkpoints.newest_of_all(folder, print, world)
            assert newest is not None
            state.restore(newest, str(folder))
            checkpoints.save(folder / "again", state.checkpoint(), world)
    return 0
