"""The training loop: `train` takes a recipe and a run folder and goes on from what the folder holds.

A run folder has `recipe.json`, `log.jsonl`, `checkpoints/`, `samples/` and `model/`, the finished pipeline with the
averaged weights, renewed at every checkpoint. Data order and noise are functions of (seed, step, sample), so a run that
was stopped or killed goes on to the same bits on the CPU.

SIGTERM and SIGINT finish the step, write a checkpoint and return a `Result` whose exit code is 128 + the signal's number
(143, 130), so that a script does not take the run for finished; a second signal ends the process at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from videofusion.data.batch import Batch
from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError, RunError
from videofusion.training import checkpoints
from videofusion.training.checkpoints import Checkpoint
from videofusion.training.ema import Ema
from videofusion.training.logs import Log
from videofusion.training.rates import progress, rate_factor
from videofusion.training.recipes import Recipe
from videofusion.training.signals import StopSignal, stop_signal

# What may differ between the sessions of one run: how long it goes, what it prints, how fast it computes.
_MAY_CHANGE = frozenset(
    "steps seconds workers compile log_interval validation_interval checkpoint_interval keep "
    "sample_interval prompts sample_steps guidance".split()
)


@dataclass(frozen=True)
class World:
    """The processes that share a run. There is one so far; all that would change with more asks here."""

    rank: int = 0
    size: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a session of training ended.

    Args:
        step: optimiser steps taken, all sessions together.
        seconds: seconds of training, all sessions together.
        stopped_by: "steps", "seconds", "SIGTERM" or "SIGINT".
        model: the folder of the finished pipeline.
    """

    step: int
    seconds: float
    stopped_by: str
    model: Path

    @property
    def exit_code(self) -> int:
        """0 when the run is finished, 143 or 130 when a signal stopped it."""
        return {"SIGTERM": 143, "SIGINT": 130}.get(self.stopped_by, 0)


class System(Protocol):
    """What the trainer needs of a system."""

    modules: dict[str, nn.Module]

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]: ...

    def loss(self, batch: Batch, keys: Keys, step: int) -> Any: ...

    def pipeline(self) -> Any: ...


class Batches(Protocol):
    """Batch number n of a run, a function of n alone; `starting` goes through them in order."""

    def starting(self, number: int) -> Iterator[Batch]: ...


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
        InputError: bad recipe or data, a run folder of another recipe, a checkpoint of another shape.
        RunError: the loss is not a number, the disk is full, ...; the last good checkpoint stays.
    """
    from videofusion.training.build import build_system, training_data

    changes = {"steps": steps, "seconds": seconds}
    recipe = recipe.replace({key: value for key, value in changes.items() if value is not None})
    open_run(recipe, run)
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    train_batches, validation = training_data(recipe, data)
    torch.manual_seed(recipe.seed)  # the initial weights, and dropout where a network has it
    trainer = Trainer(recipe, build_system(recipe), train_batches, validation, run, where, bar)
    return trainer.train()


def open_run(recipe: Recipe, run: Path) -> None:
    """Make the run folder, or check that it belongs to this recipe.

    Raises:
        InputError: it cannot be made, or holds a run of another recipe (the keys that differ are named).
    """
    path = run / "recipe.json"
    try:
        run.mkdir(parents=True, exist_ok=True)
        if path.exists():
            saved = Recipe.from_json(json.loads(path.read_text(encoding="utf-8"))).to_json()
            differing = [
                f"{key} ({saved[key]!r} there, {value!r} here)"
                for key, value in recipe.to_json().items()
                if saved[key] != value and key not in _MAY_CHANGE
            ]
            if differing:
                raise InputError(f"run folder {run} is of another recipe; what differs: {', '.join(differing)}")
        new = path.with_name(".recipe.json.new")
        new.write_text(json.dumps(recipe.to_json(), indent=1) + "\n", encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise InputError(f"run folder {run} cannot be used: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"run folder {run} has a recipe.json that cannot be read: {error}") from error


def training_keys(seed: int, ids: Sequence[int]) -> Keys:
    """Noise keys of samples in the run `seed`: far apart for neighbouring seeds and samples alike."""
    digests = (hashlib.blake2b(f"{seed}/{sample}".encode(), digest_size=8).digest() for sample in ids)
    return Keys.of([int.from_bytes(digest, "little") >> 1 for digest in digests])


class Trainer:
    """One run: a system, its optimiser, its average, its data and its folder.

    Args:
        recipe: what to do.
        system: what to train.
        batches: the training data.
        validation: the batches of the validation loss.
        run: the run folder, which exists.
        device: where to compute.
        bar: show a progress bar.
    """

    def __init__(
        self,
        recipe: Recipe,
        system: System,
        batches: Batches,
        validation: Sequence[Batch],
        run: Path,
        device: torch.device,
        bar: bool = False,
    ) -> None:
        self.recipe, self.system, self.batches, self.validation = recipe, system, batches, validation
        self.run, self.device, self._show_bar = run, device, bar
        self.world = World()
        for name, module in system.modules.items():
            module.to(device).train()
            if recipe.compile and name != "text_encoder":  # a table of words: nothing to compile
                module.compile()
        self.tensors = {
            f"{name}.{key}": value for name, module in system.modules.items() for key, value in module.state_dict(keep_vars=True).items()
        }
        self.parameters = {name: value for name, value in self.tensors.items() if isinstance(value, nn.Parameter)}
        groups = system.parameter_groups(recipe.learning_rate)
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.99))
        self._peaks = [group["lr"] for group in self.optimizer.param_groups]
        names = {id(value): name for name, value in self.parameters.items()}
        self._trained = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self._names = [names[id(parameter)] for parameter in self._trained]
        self.ema = Ema(self.parameters, recipe.ema_decay)
        self.step, self.seconds = 0, 0.0
        self.best: float | None = None
        self.best_step: int | None = None
        self._validated: float | None = None  # the validation loss of this very step

    def train(self) -> Result:
        """Go on from the newest whole checkpoint until the steps or the seconds are spent, or a signal comes.

        Raises:
            RunError: see `train`.
        """
        notes: list[str] = []
        found = checkpoints.newest(self.run / "checkpoints", notes.append)
        checkpoints.recover_folder(self.run / "model")
        if found is not None:
            self.restore(found)
            notes.append(f"going on from step {self.step} in {self.run}")
        log = Log(self.run, self.recipe.steps, self.step, self._show_bar)
        try:
            for text in notes:
                log.note(text)
            with stop_signal() as signal:
                return self._loop(log, signal)
        except OSError as error:
            raise RunError(f"could not write to {self.run}: {error.strerror or error}; the last checkpoint stays") from error
        finally:
            log.close()

    def _loop(self, log: Log, signal: StopSignal) -> Result:
        recipe = self.recipe
        batches = self.batches.starting(self.step * recipe.accumulation)
        started = self._progress()
        session, window, window_steps = 0.0, 0.0, 0
        stopped_by = self._stopped_by(signal)
        while stopped_by is None:
            begin = time.perf_counter()
            numbers = self._step([next(batches) for _ in range(recipe.accumulation)])
            spent = time.perf_counter() - begin
            self.seconds, session, window, window_steps = self.seconds + spent, session + spent, window + spent, window_steps + 1
            rate = window_steps * recipe.batch_size * recipe.accumulation / window
            done = self._progress()
            log.advance(numbers["loss"], rate, session * (1 - done) / (done - started))
            if self.step % recipe.log_interval == 0:
                log.numbers("train", self.step, {**numbers, "clips_per_second": rate, "seconds": self.seconds})
                window, window_steps = 0.0, 0
            stopped_by = self._stopped_by(signal)
            if stopped_by is None:
                self._look(log)
        if signal.name is None:
            self._look(log, last=True)
        self._save()
        log.note(f"stopped by {stopped_by} at step {self.step}; the model is {self.run / 'model'}")
        return Result(step=self.step, seconds=self.seconds, stopped_by=stopped_by, model=self.run / "model")

    def _progress(self) -> float:
        return progress(self.step, self.recipe.steps, self.seconds, self.recipe.seconds)

    def _stopped_by(self, signal: StopSignal) -> str | None:
        if signal.name is not None:
            return signal.name
        if self.step >= self.recipe.steps:
            return "steps"
        return "seconds" if self._progress() >= 1 else None

    def _look(self, log: Log, last: bool = False) -> None:
        """Validate, sample and write a checkpoint when it is time to; at the last step validate and sample."""
        recipe, improved = self.recipe, False
        if (last or self.step % recipe.validation_interval == 0) and self._validated is None:
            improved = self._validate(log)
        if recipe.prompts and recipe.sample_interval and (last or self.step % recipe.sample_interval == 0):
            self._sample(log)
        if not last and (improved or self.step % recipe.checkpoint_interval == 0):
            self._save()

    def _step(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Take one optimiser step over the micro-batches; returns loss, its parts, gradient norm and rate."""
        recipe = self.recipe
        factor = rate_factor(recipe.schedule_rate, self.step, recipe.warmup, self._progress())
        for group, peak in zip(self.optimizer.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        bad: list[str] = []
        for batch in batches:
            losses = self._losses(batch, recipe.seed, self.step)
            (losses.total / len(batches)).backward()
            for name, value in {"loss": losses.total, **losses.parts}.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(batches)
            finite = torch.isfinite(losses.per_clip.detach()).tolist()
            bad += [name for name, good in zip(batch.names, finite, strict=True) if not good]
        norm = nn.utils.clip_grad_norm_(self._trained, recipe.clip_gradient)
        numbers = {name: float(value) for name, value in {**sums, "gradient_norm": norm}.items()}
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(numbers[name]):
                self._fail(name.replace("_", " "), numbers[name], bad or [name for batch in batches for name in batch.names])
        self.optimizer.step()
        self.ema.update()
        self.step += 1
        self._validated = None
        return {**numbers, "learning_rate": self._peaks[-1] * factor}

    def _losses(self, batch: Batch, seed: int, step: int) -> Any:
        batch = dataclasses.replace(batch, clip=batch.clip.to(self.device, non_blocking=True))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            return self.system.loss(batch, training_keys(seed, batch.ids.tolist()), step)

    def _fail(self, what: str, value: float, clips: Sequence[str]) -> None:
        last = checkpoints.last_name(self.run / "checkpoints")
        raise RunError(
            f"step {self.step + 1}: the {what} is {value}; clips of the batch: {', '.join(clips)}; "
            + (f"the last good checkpoint is {last}" if last else "there is no checkpoint yet")
        )

    def _averaged(self, work: Callable[[], Any]) -> Any:
        """Do `work` with the averaged weights in evaluation mode; leaves weights, modes and random state as they were."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad(), self.ema.applied():
            for module in self.system.modules.values():
                module.eval()
            try:
                return work()
            finally:
                for module in self.system.modules.values():
                    module.train()

    def _validate(self, log: Log) -> bool:
        """Mean loss over the fixed validation batches with fixed noise; True if it is the lowest so far."""
        if not self.validation:
            return False
        # one seed and step for good: only the weights change from one validation to the next
        losses = self._averaged(lambda: [self._losses(batch, self.recipe.seed + 1, 0) for batch in self.validation])
        value = sum(float(loss.total) for loss in losses) / len(losses)
        parts = {name: sum(float(loss.parts[name]) for loss in losses) / len(losses) for name in losses[0].parts}
        log.numbers("validation", self.step, {"loss": value, **parts, "seconds": self.seconds})
        self._validated = value
        improved = self.best is None or value < self.best
        if improved:
            self.best, self.best_step = value, self.step
        return improved

    def _sample(self, log: Log) -> None:
        """Write a contact sheet of the recipe's prompts, always with the same seeds."""
        from videofusion.clip import contact_sheet, save_sheet

        recipe, prompts = self.recipe, list(self.recipe.prompts)

        def clips() -> Tensor:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                pipe = self.system.pipeline()
                return pipe(prompts, seed=list(range(len(prompts))), steps=recipe.sample_steps, guidance=recipe.guidance)

        made = self._averaged(clips).float().cpu()
        path = self.run / "samples" / f"step-{self.step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        save_sheet(made, path)
        log.picture(self.step, path, contact_sheet(made))

    def _save(self) -> None:
        """Write a checkpoint and the model, and delete the checkpoints that are no longer wanted."""
        if not self.world.writes:
            return
        checkpoints.save(self.run / "checkpoints", self.checkpoint())
        checkpoints.prune(self.run / "checkpoints", self.recipe.keep)

        def fill(new: Path) -> None:
            self.system.pipeline().save_pretrained(new)
            (new / "recipe.json").write_text(json.dumps(self.recipe.to_json(), indent=1) + "\n", encoding="utf-8")

        self._averaged(lambda: checkpoints.write_folder(self.run / "model", fill))

    def checkpoint(self) -> Checkpoint:
        """All of the run's state."""
        moments = self.optimizer.state_dict()["state"]
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        return Checkpoint(
            step=self.step,
            seconds=self.seconds,
            weights=self.tensors,
            ema=self.ema.shadow,
            optimizer={f"{kind}/{self._names[i]}": value for i, kinds in moments.items() for kind, value in kinds.items()},
            random=random,
            recipe=self.recipe.to_json(),
            ema_updates=self.ema.updates,
            validation=self._validated,
            best=self.best,
            best_step=self.best_step,
        )

    @torch.no_grad()
    def restore(self, found: Checkpoint) -> None:
        """Take over a checkpoint's state.

        Raises:
            InputError: its tensors are not those of this system.
        """
        for what, mine, theirs in (("weights", self.tensors, found.weights), ("average", self.ema.shadow, found.ema)):
            checkpoints.check_shapes(f"the {what} of step {found.step} in {self.run}", mine, theirs)
            for name, value in mine.items():
                value.copy_(theirs[name])
        state: dict[int, dict[str, Tensor]] = {}
        index = {name: i for i, name in enumerate(self._names)}
        for key, value in found.optimizer.items():
            kind, name = key.split("/", 1)
            if name not in index:
                raise InputError(f"the optimiser of step {found.step} in {self.run} has {name}, which this system does not train")
            state.setdefault(index[name], {})[kind] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": self.optimizer.state_dict()["param_groups"]})
        torch.set_rng_state(found.random["cpu"])
        if self.device.type == "cuda" and "cuda" in found.random:
            torch.cuda.set_rng_state(found.random["cuda"], self.device)
        self.step, self.seconds, self.ema.updates = found.step, found.seconds, found.ema_updates
        self.best, self.best_step = found.best, found.best_step
        self._validated = found.validation
