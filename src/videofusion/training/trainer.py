"""The training loop: `train` takes a recipe and a run folder and goes on from what the folder holds.

A run folder has `recipe.json`, `log.jsonl`, `checkpoints/`, `samples/` and `model/`, the finished pipeline with the
averaged weights, renewed at every checkpoint; `session.json` tells who trains in it or how that ended, `crash.txt` why
it crashed, `data.json` what it began with (`beginning.py`). Data order and noise are functions of (seed, step, sample),
so a run that was stopped or killed goes on to the same bits on the CPU; with a budget of seconds, rates and courses
follow the clock, whose reading is in the checkpoint.

SIGTERM, SIGINT and SIGHUP finish the step, write a checkpoint and return a `Result` whose exit code is 128 + the
signal's number (143, 130, 129), so that a script does not take the run for finished; a second signal ends the process
at once.

Several processes (`world.py`) take the same steps on their shares of the same batches: what decides is agreed upon.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from torch import Tensor

from videofusion.conditioning.prompt import Prompt
from videofusion.conditioning.text import WordEncoder
from videofusion.data.batch import Batch, Dataset
from videofusion.data.loader import workers_watched
from videofusion.errors import RunError
from videofusion.files import recover_folder
from videofusion.locking import locked
from videofusion.recipes.recipe import Recipe
from videofusion.systems.interface import System
from videofusion.training import checkpoints
from videofusion.training.beginning import (
    Beginning,
    beginning,
    changes,
    read_beginning,
    unknown_words,
    write_beginning,
)
from videofusion.training.boards import check_boards
from videofusion.training.export import MOST_PROMPTS, grid_clips, grid_prompts, write_model
from videofusion.training.gradients import average_gradients, clip_gradients
from videofusion.training.learning_rate import Pace, progress, rate_factor
from videofusion.training.logs import Log, NoLog
from videofusion.training.optimizers import check_optimizer
from videofusion.training.run_folder import Result, check_run, open_run
from videofusion.training.session import session
from videofusion.training.sharding import by_device, check_offload, check_sharding
from videofusion.training.signals import StopSignal, stop_signal
from videofusion.training.state import Batches, State, training_keys
from videofusion.training.world import World


def train(
    recipe: Recipe,
    run: Path,
    data: Path | None = None,
    *,
    steps: int | None = None,
    seconds: float | None = None,
    device: str | None = None,
    bar: bool = True,
) -> Result:
    """Train a recipe in a run folder, or go on with what the folder holds.

    Args:
        recipe: what to train.
        run: the run folder; made if absent.
        data: the folder of clips, for recipes that train on one.
        steps: overrides the recipe's.
        seconds: overrides the recipe's budget of seconds of training.
        device: "cpu", "cuda", ...; the first accelerator there is, when not given.
        bar: show a progress bar.

    Raises:
        InputError: bad recipe or data, a run folder of another recipe or one that another process trains in, a
            checkpoint of another shape.
        RunError: the loss is not a number, the disk is full, ...; the last good checkpoint stays.
    """
    changes = {"budget.steps": steps, "budget.seconds": seconds}
    recipe = recipe.replace({key: value for key, value in changes.items() if value is not None})
    world = World.of_environment()
    with locked(run, "run folder") if world.writes else nullcontext():
        return _train(recipe, run, data, world, device, bar)


def _train(recipe: Recipe, run: Path, data: Path | None, world: World, device: str | None, bar: bool) -> Result:
    from videofusion.systems.build import build_system
    from videofusion.training.batches import training_data

    where = world.device(torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu")))
    check_boards(recipe.log.boards)
    check_sharding(recipe, world)
    check_optimizer(recipe)
    batches, validation = training_data(recipe, data, world)
    began = read_beginning(run)
    torch.manual_seed(recipe.seed)  # the initial weights
    words, profiles = (None, None) if began is None else (began.words, began.profiles)
    system = build_system(recipe, batches.dataset, where, words, profiles)
    check_offload(recipe, [*system.modules, *system.frozen])
    # after all that can be refused, so that a slip of the pen claims no folder
    (open_run if world.writes else check_run)(recipe, run)
    notes = _beginning(run, system, batches.dataset, began) if world.writes else []
    with world.joined(where):
        return Trainer(recipe, system, batches, validation, run, where, world=world, bar=bar, notes=notes).train()


def _beginning(run: Path, system: Any, dataset: Dataset, began: Beginning | None) -> list[str]:
    """Keep what a run begins with; of one that goes on, say what is not as it was then."""
    encoder = getattr(system, "text_encoder", None)
    words = encoder.words if isinstance(encoder, WordEncoder) else None
    now = beginning(dataset, words, getattr(system, "profiles", None))
    if began is None:
        try:
            write_beginning(run, now)
        except OSError as error:
            raise RunError(f"could not write to {run}: {error}") from error
        return []
    changed = changes(began, now)
    if changed is None:
        return []
    unknown = None if words is None else unknown_words(getattr(dataset, "captions", ()), words)
    return [changed] + ([] if unknown is None else [unknown])


class Trainer:
    """One run: a system, its optimiser, its average, its data and its folder.

    Args:
        recipe: what to do.
        system: what to train.
        batches: the training data.
        validation: the batches of the validation loss.
        run: the run folder, which exists.
        device: where to compute.
        world: the processes that share the run.
        bar: show a progress bar.
        notes: what the log is to say first.
    """

    def __init__(
        self,
        recipe: Recipe,
        system: System,
        batches: Batches,
        validation: Sequence[Batch],
        run: Path,
        device: torch.device,
        *,
        world: World | None = None,
        bar: bool = False,
        notes: Sequence[str] = (),
    ) -> None:
        self.recipe, self.system, self.batches, self.validation = recipe, system, batches, validation
        self.run, self.device, self._show_bar, self._notes = run, device, bar, notes
        self.world = world or World()
        self.state = State(recipe, system, device, self.world)
        self._saved = time.monotonic()
        self._due = False  # a checkpoint, by the clock

    @cached_property
    def prompts(self) -> list[str]:
        """What the sample grids show; of clips that go on from a picture, so many empty texts."""
        conditions = getattr(self.system, "conditions", ())
        if any(each.option == "image" for each in conditions):
            return [""] * (MOST_PROMPTS if self.validation else 0)
        captions = [batch.captions for batch in self.validation]
        encoder = next((each.encoder for each in conditions if isinstance(each, Prompt)), None)
        return grid_prompts(self.recipe, captions, encoder, self.world)

    @cached_property
    def pictures(self) -> Tensor | None:
        """First frames of validation clips, from which sample grids go on; None where they show prompts."""
        return None if any(self.prompts) or not self.prompts else self._there(self.validation[0]).clip[:, :1]

    def train(self) -> Result:
        """Go on from the newest whole checkpoint until the steps or the seconds are spent, or a signal comes.

        Raises:
            InputError: the checkpoint's tensors are not those of this system.
            RunError: see `train`.
        """
        with session(self.run) if self.world.writes else nullcontext() as tell:
            with self.world.watched(self._what_is_left):
                result = self._train()
            if tell is not None:
                tell(result)
        return result

    def _train(self) -> Result:
        notes = list(self._notes)
        found = checkpoints.newest_of_all(self.run / "checkpoints", notes.append, self.world)
        if self.world.writes:
            recover_folder(self.run / "model")
        if found is None:
            torch.manual_seed(self.recipe.seed)  # dropout, where a network has it; all else is drawn by keys
        else:
            self.state.restore(found, str(self.run))
            notes.append(f"going on from step {found.step} in {self.run}")
        log = Log(self.run, self.recipe, self.state.step, self._show_bar) if self.world.writes else NoLog()
        try:
            for text in notes:
                log.note(text)
            with stop_signal(patient=self.world.size > 1) as signal, workers_watched():
                return self._loop(log, signal)
        except OSError as error:
            raise RunError(f"could not write to {self.run}: {error}; the last checkpoint stays") from error
        finally:
            log.close()

    def _what_is_left(self) -> str:
        last = checkpoints.last_name(self.run / "checkpoints")
        return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"

    def _loop(self, log: Log, signal: StopSignal) -> Result:
        recipe, state = self.recipe, self.state
        batches = self.batches.starting(state.step * recipe.batch.accumulation)
        pace = Pace(self._progress())
        stopped_by = self._stopped_by(signal, 0.0)
        while stopped_by is None:
            begin, used = time.perf_counter(), time.process_time()
            waited, read = self.batches.waited, self.batches.busy
            numbers = self._step([next(batches) for _ in range(recipe.batch.accumulation)])
            spent, used = time.perf_counter() - begin, time.process_time() - used
            stopped_by = self._stopped_by(signal, used if recipe.budget.clock == "processor" else spent)
            waited, read = self.batches.waited - waited, self.batches.busy - read
            used += read if recipe.batch.workers else 0.0  # in this process it is counted already
            pace.add(recipe.batch.size * recipe.batch.accumulation, spent, waited, used, read)
            log.advance(numbers["loss"], pace.rate, pace.left(self._progress()), pace.waiting, pace.reading)
            if state.step % recipe.log.interval == 0:
                log.numbers("train", state.step, {**numbers, **pace.numbers, "seconds": state.seconds})
                log.left_out(self._report())
            if stopped_by is None:
                self._look(log)
        if stopped_by in ("steps", "seconds"):
            self._look(log, last=True)
        self._save()
        model, report = self.run / "model", self._report()
        if report:
            log.left_out(report)
            log.note(f"{len(report)} clips could not be used; log.jsonl has their names and the reasons")
        log.note(f"stopped by {stopped_by} at step {state.step}; the model is {model}")
        return Result(step=state.step, seconds=state.seconds, stopped_by=stopped_by, model=model)

    def _progress(self) -> float:
        return progress(self.state.step, self.recipe.budget.steps, self.state.seconds, self.recipe.budget.seconds)

    def _report(self) -> dict[str, str]:
        """The clips that no process could use, reason by name."""
        return {name: reason for report in self.world.gathered(self.batches.report) for name, reason in report.items()}

    def _stopped_by(self, signal: StopSignal, spent: float) -> str | None:
        """Count the seconds of the slowest process; say why to stop, with a signal that any process got."""
        minutes = self.recipe.checkpoints.minutes
        due = minutes is not None and time.monotonic() - self._saved >= 60 * minutes
        spent, number, late = self.world.most(spent, signal.number, due)
        self.state.seconds += spent
        self._due = bool(late)
        if number:
            return Signals(int(number)).name
        if self.state.step >= self.recipe.budget.steps:
            return "steps"
        return "seconds" if self._progress() >= 1 else None

    def _step(self, batches: Sequence[Batch], progress: float | None = None) -> dict[str, float]:
        """Take one optimiser step over the micro-batches; returns loss, its parts, gradient norm and rate."""
        recipe, state = self.recipe, self.state
        progress = self._progress() if progress is None else progress
        rate = state.set_rate(rate_factor(recipe.optimizer.schedule, state.step, recipe.optimizer.warmup, progress))
        state.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        per_clip = []
        for batch in batches:
            losses = self._losses(batch, recipe.seed, state.step, progress)
            (losses.total / len(batches)).backward()
            for name, value in {"loss": losses.total, **losses.parts}.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() / len(batches)
            per_clip.append(losses.per_clip.detach())
        if not recipe.compute.shard:
            average_gradients(state.trained, self.world)
        sums["gradient_norm"] = clip_gradients(by_device(state.trained), recipe.optimizer.clip_gradient)
        numbers = self.world.mean({name: float(value) for name, value in sums.items()})
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(numbers[name]):
                self._fail(name.replace("_", " "), numbers[name], batches, torch.cat(per_clip))
        state.advance()
        return {**numbers, "learning_rate": rate}

    def _losses(self, batch: Batch, seed: int, step: int, progress: float = 1.0) -> Any:
        batch = self._there(batch)
        keys = training_keys(seed, batch.ids.tolist())
        if self.recipe.system.groups_clips and self.world.size > 1:
            own = list(zip(keys.content, batch.identities, batch.actions, strict=True))
            batch = dataclasses.replace(batch, mates=self.world.together(own))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.compute.precision == "bfloat16"):
            return self.system.loss(batch, keys, step, progress)

    def _there(self, batch: Batch) -> Batch:
        """A batch on the device and in the system's space, its pictures too."""
        clip = batch.clip.to(self.device, non_blocking=True)
        pictures = None if batch.pictures is None else self._there(batch.pictures)
        clip = clip if batch.encoded else self.system.space.encode(clip)
        return dataclasses.replace(batch, clip=clip, pictures=pictures)

    def _fail(self, what: str, value: float, batches: Sequence[Batch], per_clip: Tensor) -> None:
        names = [name for batch in batches for name in batch.names]
        bad = [name for name, finite in zip(names, per_clip.isfinite().tolist(), strict=True) if not finite]
        bad, names = self.world.together(bad), self.world.together(names)
        raise RunError(
            f"step {self.state.step + 1}: the {what} is {value}; clips of the batch: {', '.join(bad or names)}; "
            + self._what_is_left()
        )

    def _look(self, log: Log, last: bool = False) -> None:
        """Validate, sample and write a checkpoint when it is time to; at the last step validate and sample."""
        recipe, step, improved = self.recipe, self.state.step, False
        if (last or step % recipe.log.validation_interval == 0) and self.state.validation is None:
            improved = self._validate(log)
        if recipe.log.sample_interval and self.prompts and (last or step % recipe.log.sample_interval == 0):
            self._sample(log)
        if not last and (improved or self._due or step % recipe.checkpoints.interval == 0):
            self._save()

    def _validate(self, log: Log) -> bool:
        """Mean loss over the fixed validation batches with fixed noise; True if it is the lowest so far."""
        if not self.validation:
            return False
        # one seed and step for good: only the weights change from one validation to the next
        with self.state.averaged():
            losses = [self._losses(batch, self.recipe.seed + 1, 0) for batch in self.validation]
        rows = [{"loss": loss.total, **loss.parts} for loss in losses]
        numbers = self.world.mean({name: sum(float(row[name]) for row in rows) / len(rows) for name in rows[0]})
        log.numbers("validation", self.state.step, {**numbers, "seconds": self.state.seconds})
        return self.state.validated(numbers["loss"])

    def _sample(self, log: Log) -> None:
        """Write a contact sheet of the recipe's prompts, always with the same seeds."""
        from videofusion.clip import contact_sheet, save_sheet

        recipe, prompts = self.recipe, self.prompts
        precision = torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.compute.precision == "bfloat16")
        with self.state.averaged(), precision:
            clips = grid_clips(self.system, prompts, recipe.sampling.steps, self.world, self.pictures)
        if not self.world.writes:
            return
        path = self.run / "samples" / f"step-{self.state.step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        save_sheet(clips, path, prompts)
        log.picture(self.state.step, path, contact_sheet(clips, prompts))

    def _save(self) -> None:
        """Write a checkpoint and the model, and delete the checkpoints that are no longer wanted."""
        if self.world.writes or self.recipe.compute.shard:
            checkpoints.save(self.run / "checkpoints", self.state.checkpoint(), self.world)
            if self.world.writes:
                checkpoints.prune(self.run / "checkpoints", self.recipe.checkpoints.keep)
            with self.state.averaged():
                write_model(self.system, self.recipe, self.run / "model", self.world)
        self.world.wait()
        self._saved, self._due = time.monotonic(), False
