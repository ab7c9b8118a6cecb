"""Runs that several processes share, started as torchrun starts them."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from small import smallest
from torch import Tensor, nn
from toy import ToyBatches, ToyLosses, ToySystem, toy_recipe, toy_validation

from videofusion.cli import main
from videofusion.data.batch import Batch
from videofusion.data.loader import Loader
from videofusion.errors import InputError, RunError
from videofusion.recipes.recipe import Recipe
from videofusion.training import gradients
from videofusion.training.run_folder import open_run
from videofusion.training.trainer import Trainer, train
from videofusion.training.world import World

# What processes that are forked for a run need not import each on its own.
PRELOADED = ["ranks", "toy", "torch.utils.tensorboard", "torch._dynamo", "videofusion.cli.train", "videofusion.models"]
PRELOADED += ["videofusion.data.folder", "videofusion.systems.build", "torch.distributed.checkpoint", "in_shards"]


def together(task: Callable[..., int], *arguments: object, size: int = 2) -> tuple[list[int], list[str]]:
    """Run a task in processes of one world; returns their exit codes, as the command's would be, and what they said."""
    processes, said = _started(task, arguments, size)
    for process in processes:
        process.join(600)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert None not in codes, "a process hangs"
    sentences = []
    while not said.empty():
        sentences.append(said.get())
    return codes, sentences


def killed(
    task: Callable[..., int], *arguments: object, victims: list[int], when: Callable[[], bool], after: float
) -> None:
    """Run a task in two processes, and kill some of them so many seconds after something is the case."""
    processes, _ = _started(task, arguments, 2)
    while not when():
        assert all(process.is_alive() for process in processes)
        time.sleep(0.01)
    time.sleep(after)
    for victim in victims:
        processes[victim].kill()
    for process in processes:
        process.join(600)
    assert all(processes[victim].exitcode == -signal.SIGKILL for victim in victims)


def _started(task: Callable[..., int], arguments: tuple, size: int) -> tuple[list[Any], Any]:
    context = multiprocessing.get_context("forkserver")  # pays for the imports once
    context.set_forkserver_preload(PRELOADED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    said = context.SimpleQueue()
    processes = [
        context.Process(target=_as_rank, args=(rank, size, port, said, task, arguments)) for rank in range(size)
    ]
    for process in processes:
        process.start()
    return processes, said


def _as_rank(rank: int, size: int, port: int, said: Any, task: Callable[..., int], arguments: tuple) -> None:
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        code = task(*arguments)
    except (InputError, RunError) as error:
        said.put(str(error))
        code = 2 if isinstance(error, InputError) else 1
    sys.exit(code)


def command(words: list[str]) -> None:
    """What `videofusion` does with these words, ended as it ends."""
    torch.set_num_threads(1)
    sys.exit(main(words))


def train_recipe(recipe: Recipe, run: Path, data: Path | None, steps: int) -> int:
    return train(recipe, run, data, steps=steps, device="cpu", bar=False).exit_code


def small_folder_recipe(**changes: object) -> Recipe:
    """Of `folder_of_clips` in test_world."""
    sizes = {
        "clips.layout": "frames",
        "clips.frames": 3,
        "batch.workers": 0,
        "clips.validation_share": 0.3,
        "batch.size": 4,
        "log.interval": 1,
    }
    return smallest(
        "folder64", **{**sizes, "checkpoints.interval": 3, "log.validation_interval": 6, "log.boards": (), **changes}
    )


def train_in_order(run: Path, data: Path, steps: int, shard: bool) -> int:
    """Train, and write down which clips each batch of this process holds."""
    read, rank = Loader.starting, World.of_environment().rank

    def written(loader: Loader, number: int) -> Iterator[Batch]:
        for each, batch in zip(itertools.count(number), read(loader, number)):
            with (run / f"order-{rank}.jsonl").open("a") as file:
                file.write(json.dumps([each, batch.names]) + "\n")
            yield batch

    Loader.starting = written  # this process is there for nothing else
    return train_recipe(small_folder_recipe(**{"compute.shard": shard}), run, data, steps)


def order_of(run: Path, rank: int) -> list[tuple[int, list[str]]]:
    """What the processes of a rank have written down; a line that a kill cut off is left out."""
    lines = (run / f"order-{rank}.jsonl").read_text().split("\n")
    return [tuple(json.loads(line)) for line in lines if line.endswith("]]")]


class Share(ToyBatches):
    """A process's half of each batch."""

    def __init__(self, world: World) -> None:
        super().__init__(2)
        self.world = world
        self.report = {f"broken-{world.rank}": "cut short"}

    def starting(self, number: int) -> Iterator[Batch]:
        while True:
            yield self.batch(number * self.world.size + self.world.rank)
            number += 1


class Faulty(ToySystem):
    """In the second process, something happens in the middle of the sixth step."""

    def __init__(self, fault: str, world: World) -> None:
        super().__init__()
        self.fault = fault if world.rank == 1 else ""

    def loss(self, batch: Batch, keys, step: int, progress: float = 1.0) -> ToyLosses:
        losses = super().loss(batch, keys, step)
        if step == 5 and self.modules["net"].training and self.fault:
            if self.fault == "nan":
                per_clip = losses.per_clip * torch.tensor([1.0, float("nan")])
                return ToyLosses(per_clip.mean(), losses.parts, per_clip)
            os.kill(os.getpid(), {"terminated": signal.SIGTERM, "killed": signal.SIGKILL}[self.fault])
        return losses


def train_toy(run: Path, fault: str) -> int:
    world, device = World.of_environment(), torch.device("cpu")
    recipe = toy_recipe(**{"checkpoints.interval": 4, "log.validation_interval": 100})
    with world.joined(device):
        if world.writes:
            open_run(recipe, run)
        trainer = Trainer(recipe, Faulty(fault, world), Share(world), toy_validation(), run, device, world=world)
        return trainer.train().exit_code


def talk(folder: Path) -> int:
    """Say what one hears: numbers, lists and gradients of which each process has another part."""
    world = World.of_environment()
    gradients.BUCKET = 5  # so that there are several
    own: list[Tensor | None] = [torch.full((2, 3), 1.0 + world.rank), None, torch.tensor(4.0), None]
    if world.rank == 1:
        own[1] = torch.ones(3)
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in [(2, 3), (3,), (), (2,)]]
    for parameter, gradient in zip(parameters, own, strict=True):
        parameter.grad = gradient
    with world.joined(torch.device("cpu")):
        gradients.average_gradients(parameters, world)
        heard = {
            "gradients": [None if p.grad is None else p.grad.tolist() for p in parameters],
            "mean": world.mean({"a": float(world.rank), "b": 3.0}),
            "most": world.most(float(world.rank), -float(world.rank)),
            "together": world.together([world.rank] * (1 + world.rank)),
            "first": world.of_first(f"of {world.rank}"),
        }
        with contextlib.suppress(InputError):
            world.share(7)
            heard["share"] = 7
    (folder / f"{world.rank}.json").write_text(json.dumps(heard))
    return 0
