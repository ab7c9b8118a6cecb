"""What processes that hold a toy in shards do in tests of their checkpoints."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from small import smallest
from torch import Tensor
from torch.distributed import checkpoint as storage
from torch.distributed.tensor import DTensor
from toy import ToyBatches, ToySystem, toy_recipe

from videofusion.data.loader import Loader
from videofusion.recipes.recipe import Recipe
from videofusion.systems.build import build_system
from videofusion.systems.interface import System
from videofusion.training import checkpoints
from videofusion.training.batches import training_data
from videofusion.training.checkpoints import Checkpoint, load, read_into
from videofusion.training.gradients import clip_gradients
from videofusion.training.logs import NoLog
from videofusion.training.sharding import by_device, collected
from videofusion.training.state import State, training_keys
from videofusion.training.trainer import Trainer
from videofusion.training.world import World

CPU = torch.device("cpu")


def complete(found: Checkpoint) -> Checkpoint:
    """A checkpoint with all of its numbers in the CPU's memory."""
    if found.shards is None:
        return found
    parts = {
        part: {name: torch.empty_like(tensor, device="cpu") for name, tensor in tensors.items()}
        for part, tensors in found.parts.items()
    }
    read_into(found, parts)
    return replace(found, shards=None, **parts)


def toy_system() -> ToySystem:
    """One with a base generator, whose tensors cannot be cut evenly; some are shorter than there are processes."""
    system = ToySystem(width=5)
    system.modules = {"base": system.net, "norm": system.norm}
    return system


def toy_state(world: World) -> State:
    """What a process holds of it."""
    return State(toy_recipe(**{"compute.shard": world.size > 1}), toy_system(), CPU, world)


def flat(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Weights, average and optimiser state of a checkpoint."""
    return {f"{part}/{name}": value for part, values in checkpoint.parts.items() for name, value in values.items()}


def write_steps(folder: Path, fault: str, offload: str = "none") -> int:
    """Write two steps, and the whole tensors of each beside them; a fault strikes in the second."""
    world = World.of_environment()
    with world.joined(CPU), world.watched(lambda: "step 1 is left"):
        system = toy_system()
        state = State(toy_recipe(**{"compute.shard": True, "compute.offload": offload}), system, CPU, world)
        for step in (1, 2):
            batch = ToyBatches().batch(step)
            system.loss(batch, training_keys(0, batch.ids.tolist()), step).total.backward()
            clip_gradients(by_device(state.trained), 0.1)
            state.advance()
            state.optimizer.zero_grad()
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


def train_offloaded(folder: Path, device: str) -> int:
    """Take steps of a small VideoFusion with its base offloaded and without; save, read again, tell what was seen."""
    world = World.of_environment()
    where = world.device(torch.device(device))
    with world.joined(where):
        if world.size == 1:  # as on a machine with one GPU
            dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", rank=0, world_size=1)
        for offload in ("none", "base"):
            recipe = smallest(
                **{"compute.shard": True, "compute.offload": offload, "clips.frames": 3, "optimizer.clip_gradient": 0.1}
            )
            batches, validation = training_data(recipe, None, world)
            run = folder / offload
            trainer, again = (
                Trainer(recipe, _new(recipe, batches, where), batches, validation, run, where, world=world)
                for _ in range(2)
            )
            numbers = [trainer._step([batch]) for batch in itertools.islice(batches.starting(0), 3)]
            trainer._validate(NoLog())
            for name, tensor in flat(trainer.state.checkpoint()).items():
                away = offload == "base" and "/base." in f"/{name}" and "/step/" not in name
                assert tensor.device.type == "cpu" if away else True, name
                assert tensor.device.type == where.type if "/residual." in name else True, name
            path = checkpoints.save(run, trainer.state.checkpoint(), world)
            world.wait()  # until the first process has given it its name
            again.state.restore(load(path), "")
            mine, read = (flat(each.state.checkpoint()) for each in (trainer, again))
            assert mine.keys() == read.keys()
            assert all(torch.equal(_own(value), _own(read[name])) for name, value in mine.items())
            if world.writes:
                told = [*numbers, {"validation": trainer.state.validation}]
                (folder / f"{offload}.json").write_text(json.dumps(told))
    return 0


def _own(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _new(recipe: Recipe, batches: Loader, device: torch.device) -> System:
    torch.manual_seed(recipe.seed)
    return build_system(recipe, batches.dataset, device)
