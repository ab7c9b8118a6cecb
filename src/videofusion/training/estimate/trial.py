"""The dry run: all that a run will do, once, with what it will need; nothing is left behind."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from videofusion.data.batch import Batch
from videofusion.errors import InputError
from videofusion.recipes.recipe import Recipe
from videofusion.training.beginning import read_beginning
from videofusion.training.boards import check_boards
from videofusion.training.estimate.memory import (
    Held,
    Memory,
    Pages,
    Part,
    Watch,
    available,
    count_parts,
    human,
    packed_bytes,
    parts_table,
)
from videofusion.training.export import grid_clips
from videofusion.training.optimizers import check_optimizer
from videofusion.training.run_folder import check_run
from videofusion.training.trainer import Trainer
from videofusion.training.world import World

if TYPE_CHECKING:
    from videofusion.training.state import State

MOST_MICRO_BATCHES = 2  # of the trial's step: with a third one nothing more is held


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a dry run found.

    Args:
        parts: numbers of parameters.
        memory: what the run needs on its device.
        free: bytes of the device that were free before, or None where that is not known.
        measured: peak bytes of a second step by the device's own count (CUDA), or None.
        disk: bytes that the run folder may grow to.
        disk_free: bytes that its disk has left for it, what the folder holds already included.
        loss: of the first step.
        seconds: that the second step took (of the micro-batches that were tried).
        clips: of a micro-batch.
        device: where it was tried.
        left_out: reason by name of the clips that could not be used.
    """

    parts: Sequence[Part]
    memory: Memory
    free: int | None
    measured: int | None
    disk: int
    disk_free: int
    loss: float
    seconds: float
    clips: int
    device: str
    left_out: dict[str, str]

    def check(self) -> None:
        """Raise InputError if memory or disk will not do."""
        if self.free is not None and self.memory.peak > self.free:
            raise InputError(
                f"the run is expected to need {human(self.memory.peak)} of memory on {self.device}, where "
                f"{human(self.free)} are free; a smaller batch_size with more accumulation needs less"
            )
        if self.disk > self.disk_free:
            raise InputError(
                f"the run's checkpoints and model need {human(self.disk)}, but its disk has {human(self.disk_free)} "
                "left for them; a smaller keep needs less"
            )

    def report(self) -> str:
        """What was found, as a text."""
        held = self.memory.held
        lines = parts_table(self.parts)
        rows = [
            *held.rows(),
            *([("frozen parts", self.memory.apart, "stay all the time")] if self.memory.apart else []),
            ("batches", self.memory.batches, "stay all the time"),
            ("gradients", held.gradients, "grow in the backward pass"),
            ("activations", self.memory.activations, f"saved for the backward pass, {self.clips} clips"),
            *((f"most in: {name}", size, "beside what stays") for name, size in self.memory.phases.items()),
        ]
        peak = "what stays, the largest phase, slack" + ("" if self.free is None else f"; {human(self.free)} are free")
        if self.memory.slack:
            rows.append(("slack", self.memory.slack, "pages that no tensor fills: holes, the libraries' own"))
        rows.append(("expected peak", self.memory.peak, peak))
        if self.measured is not None:
            rows.append(("measured step", self.measured, "most allocated in a second step, by CUDA's count"))
        rows.append(("disk", self.disk, f"checkpoints and model at most; {human(self.disk_free)} are left"))
        lines += ["", f"memory on {self.device}"]
        lines += [f"{name:<20}  {human(size):>9}  {note}" for name, size, note in rows]
        lines += ["", f"first step: loss {self.loss:.4g}; second step: {self.seconds:.1f} s"]
        if self.left_out:
            name, reason = next(iter(self.left_out.items()))
            lines.append(f"{len(self.left_out)} clips cannot be used; the first: {name}: {reason}")
        return "\n".join(lines)


def dry_run(recipe: Recipe, run: Path, data: Path | None = None, *, device: str | None = None) -> Trial:
    """Do all that a run will do, once: read, build, a step, a validation, a sample grid; write nothing.

    Args:
        recipe: what would be trained; without torch.compile here, which needs less memory if anything.
        run: the run folder that would be used.
        data: as for `train`.
        device: as for `train`.

    Raises:
        InputError: all that `train` refuses; several processes, or `shard`, which is for them; a place that cannot be
            written to; weights that memory has no room for.
        RunError: the loss of the first step is not a number.
    """
    from videofusion.systems.build import build_system
    from videofusion.training.batches import training_data
    from videofusion.training.estimate.sizes import recipe_parts

    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    _check_alone(recipe)
    check_boards(recipe.log.boards)
    check_optimizer(recipe)
    check_run(recipe, run)
    _check_place(run)
    recipe = recipe.replace({"compute.compile": False})
    loader, validation = training_data(recipe, data, World())
    free = available(where)
    if recipe.start.trains == "full":  # before weights are drawn that there may be no room for
        parts = recipe_parts(recipe)
        kept, apart = [p for p in parts if not p.apart], 4 * sum(p.frozen for p in parts if p.apart)
        trained, frozen = sum(p.trained for p in kept), sum(p.frozen for p in kept)
        needed = Held.by_numbers(trained, frozen, eight_bit=recipe.optimizer.name == "adamw8bit")
        _check_room(needed, apart, free, where)
    torch.manual_seed(recipe.seed)
    began = read_beginning(run)
    system = build_system(recipe, loader.dataset, where, None if began is None else began.words)
    trainer = Trainer(recipe, system, loader, validation, run, where)
    held = _held(trainer.state)
    apart = sum(tensor.nbytes for part in system.frozen.values() for tensor in part.state_dict().values())
    _check_room(held, apart, free, where)
    first = [loader.batch(number) for number in range(min(recipe.batch.accumulation, MOST_MICRO_BATCHES))]
    pages = Pages()
    memory, loss = _watched(trainer, first, held)
    memory = replace(memory, apart=apart)
    seconds, measured = _again(trainer, first)
    grown = pages.most()
    if where.type == "cpu" and grown is not None:
        tried = max(size for name, size in memory.phases.items() if name != "checkpoint")
        memory = replace(memory, slack=max(0, grown - held.moments - tried))
    checkpoint = held.weights + held.average + held.moments
    return Trial(
        parts=count_parts(system.modules, system.frozen),
        memory=memory,
        free=free,
        measured=measured,
        # the last ones, the best and the one in the making; the model while it is renewed
        disk=(recipe.checkpoints.keep + 2) * checkpoint + 2 * (held.weights + apart),
        disk_free=shutil.disk_usage(_existing(run)).free + _size(run),
        loss=loss,
        seconds=seconds,
        clips=len(first[0]),
        device=str(where),
        left_out=dict(loader.report),
    )


def _check_room(held: Held, apart: int, free: int | None, where: torch.device) -> None:
    """Raise InputError where what stays, and the gradients, have no room."""
    needed = held.resident + apart + held.gradients
    if free is not None and needed > free:
        raise InputError(
            f"weights, moving average, gradients and optimiser take {human(needed)}, but "
            f"{human(free)} are free on {where}; smaller channels need less"
        )


def _held(state: State) -> Held:
    eight_bit = state.recipe.optimizer.name == "adamw8bit"
    return Held.by_tensors(state.tensors.values(), state.ema.shadow.values(), state.trained, eight_bit)


def _watched(trainer: Trainer, first: Sequence[Batch], held: Held) -> tuple[Memory, float]:
    """Take a step, validate and sample, looking on; returns the memory and the step's loss."""
    recipe, state = trainer.recipe, trainer.state
    phases: dict[str, int] = {}
    saved: list[int] = []
    with Watch() as watch:

        def before_update(*_: object) -> None:
            phases["step"] = watch.take_peak()
            saved.append(watch.saved)

        hook = state.optimizer.register_step_pre_hook(before_update)
        numbers = trainer._step(first, progress=1.0)  # which looks at all frames that any step does
        hook.remove()
        # from here on the optimiser's state is among what is watched, and is counted elsewhere
        phases["update"] = watch.take_peak() - held.moments
        if trainer.validation:
            with state.averaged():
                trainer._losses(trainer.validation[0], recipe.seed + 1, 0)
            phases["validation"] = watch.take_peak() - held.moments
        if recipe.log.sample_interval and trainer.prompts:
            with state.averaged():
                steps = min(2, recipe.sampling.steps)
                grid_clips(trainer.system, trainer.prompts, steps, trainer.world, trainer.pictures)
            phases["samples"] = watch.take_peak() - held.moments
    batches = 0
    if trainer.device.type == "cpu":
        found = state.checkpoint()
        packed = max(packed_bytes(kind.values()) for kind in (found.weights, found.ema, found.optimizer))
        phases["checkpoint"] = held.gradients + packed
        batches = sum(batch.nbytes for batch in trainer.validation) + recipe.batch.accumulation * first[0].nbytes
    memory = Memory(held=held, batches=batches, activations=saved[0] // len(first), phases=phases)
    return memory, numbers["loss"]


def _again(trainer: Trainer, first: Sequence[Batch]) -> tuple[float, int | None]:
    """Take the step again, now that all is in its place; returns its seconds, and the most that CUDA allocates."""
    trainer.state.step = 0  # the frames of a clip that a step looks at depend on its number
    cuda = trainer.device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(trainer.device)
    began = time.perf_counter()
    trainer._step(first, progress=1.0)
    return time.perf_counter() - began, torch.cuda.max_memory_allocated(trainer.device) if cuda else None


def _check_alone(recipe: Recipe) -> None:
    """Raise InputError where several processes would share the run, which a dry run cannot tell the memory of."""
    size = World.of_environment().size
    if size > 1:
        raise InputError(
            f"--dry-run is of one process, but torchrun started {size}; start it alone, with a batch_size of "
            f"{max(1, recipe.batch.size // size)}, the share of one of them"
        )
    if recipe.compute.shard:
        raise InputError(
            "--dry-run is of one process, but recipe key compute.shard is True; try it with compute.shard=false"
        )


def _check_place(run: Path) -> None:
    """Raise InputError unless a folder can be made, or written to, where the run is to be."""
    place = _existing(run)
    if not place.is_dir():
        raise InputError(f"run is {run}, but {place} is a file, not a folder")
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise InputError(f"run folder {run} cannot be written to: {error.strerror or error}") from error


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if os.path.lexists(place))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
