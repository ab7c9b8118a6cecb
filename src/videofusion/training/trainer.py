"""The training loop: `train` takes a recipe and a run folder and goes on from what the folder holds.

A run folder has `recipe.json`, `log.jsonl`, `checkpoints/`, `samples/` and `model/`, the finished pipeline with the
averaged weights, renewed at every checkpoint; `session.json` tells who trains in it or how that ended, `crash.txt` why
it crashed. Data order and noise are functions of (seed, step, sample), so a run that
was stopped or killed goes on to the same bits on the CPU.

SIGTERM and SIGINT finish the step, write a checkpoint and return a `Result` whose exit code is 128 + the signal's
number (143, 130), so that a script does not take the run for finished; a second signal ends the process at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from videofusion.data.batch import Batch
from videofusion.diffusion.noise import Keys
from videofusion.errors import RunError
from videofusion.networks.lora import save_pipeline
from videofusion.training import checkpoints
from videofusion.training.boards import check_boards
from videofusion.training.logs import Log
from videofusion.training.rates import Pace, progress, rate_factor
from videofusion.training.recipe import Recipe
from videofusion.training.run_folder import Result, open_run
from videofusion.training.session import session
from videofusion.training.signals import StopSignal, stop_signal
from videofusion.training.state import State, System
from videofusion.training.world import World

_MOST_PROMPTS = 8  # of a sample grid


class Batches(Protocol):
    """Batch number n of a run, a function of n alone; `starting` goes through them in order.

    `report` names the clips that could not be used, with the reason.
    """

    report: dict[str, str]

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
    from videofusion.systems.build import build_system
    from videofusion.training.batches import training_data

    changes = {"steps": steps, "seconds": seconds}
    recipe = recipe.replace({key: value for key, value in changes.items() if value is not None})
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    world = World()
    check_boards(recipe.log)
    batches, validation = training_data(recipe, data, world)
    torch.manual_seed(recipe.seed)  # the initial weights
    system = build_system(recipe, batches.dataset)
    open_run(recipe, run)  # after all that can be refused, so that a slip of the pen claims no folder
    return Trainer(recipe, system, batches, validation, run, where, world=world, bar=bar).train()


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
        world: the processes that share the run.
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
        *,
        world: World | None = None,
        bar: bool = False,
    ) -> None:
        self.recipe, self.system, self.batches, self.validation = recipe, system, batches, validation
        self.run, self.device, self._show_bar = run, device, bar
        self.world = world or World()
        self.state = State(recipe, system, device)
        captions = (caption for batch in validation for caption in batch.captions if caption)
        self.prompts = list(recipe.prompts or dict.fromkeys(captions))[:_MOST_PROMPTS]

    def train(self) -> Result:
        """Go on from the newest whole checkpoint until the steps or the seconds are spent, or a signal comes.

        Raises:
            InputError: the checkpoint's tensors are not those of this system.
            RunError: see `train`.
        """
        with session(self.run) as tell:
            result = self._train()
            tell(result)
        return result

    def _train(self) -> Result:
        notes: list[str] = []
        found = checkpoints.newest(self.run / "checkpoints", notes.append)
        checkpoints.recover_folder(self.run / "model")
        if found is None:
            torch.manual_seed(self.recipe.seed)  # dropout, where a network has it; all else is drawn by keys
        else:
            self.state.restore(found, str(self.run))
            notes.append(f"going on from step {found.step} in {self.run}")
        log = Log(self.run, self.recipe, self.state.step, self._show_bar)
        try:
            for text in notes:
                log.note(text)
            with stop_signal() as signal:
                return self._loop(log, signal)
        except OSError as error:
            raise RunError(f"could not write to {self.run}: {error}; the last checkpoint stays") from error
        finally:
            log.close()

    def _loop(self, log: Log, signal: StopSignal) -> Result:
        recipe, state = self.recipe, self.state
        batches = self.batches.starting(state.step * recipe.accumulation)
        pace = Pace(self._progress())
        stopped_by = self._stopped_by(signal)
        while stopped_by is None:
            begin, used = time.perf_counter(), time.process_time()
            numbers = self._step([next(batches) for _ in range(recipe.accumulation)])
            spent, used = time.perf_counter() - begin, time.process_time() - used
            state.seconds += used if recipe.clock == "processor" else spent
            pace.add(recipe.batch_size * recipe.accumulation, spent)
            log.advance(numbers["loss"], pace.rate, pace.left(self._progress()))
            if state.step % recipe.log_interval == 0:
                log.numbers("train", state.step, {**numbers, "clips_per_second": pace.rate, "seconds": state.seconds})
                log.left_out(self.batches.report)
            stopped_by = self._stopped_by(signal)
            if stopped_by is None:
                self._look(log)
        if signal.name is None:
            self._look(log, last=True)
        self._save()
        model = self.run / "model"
        if self.batches.report:
            log.left_out(self.batches.report)
            log.note(f"{len(self.batches.report)} clips could not be used; log.jsonl has their names and the reasons")
        log.note(f"stopped by {stopped_by} at step {state.step}; the model is {model}")
        return Result(step=state.step, seconds=state.seconds, stopped_by=stopped_by, model=model)

    def _progress(self) -> float:
        return progress(self.state.step, self.recipe.steps, self.state.seconds, self.recipe.seconds)

    def _stopped_by(self, signal: StopSignal) -> str | None:
        if signal.name is not None:
            return signal.name
        if self.state.step >= self.recipe.steps:
            return "steps"
        return "seconds" if self._progress() >= 1 else None

    def _step(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Take one optimiser step over the micro-batches; returns loss, its parts, gradient norm and rate."""
        recipe, state = self.recipe, self.state
        rate = state.set_rate(rate_factor(recipe.schedule_rate, state.step, recipe.warmup, self._progress()))
        state.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        per_clip = []
        for batch in batches:
            losses = self._losses(batch, recipe.seed, state.step)
            (losses.total / len(batches)).backward()
            for name, value in {"loss": losses.total, **losses.parts}.items():
                sums[name] = sums.get(name, torch.zeros_like(value)) + value.detach() / len(batches)
            per_clip.append(losses.per_clip.detach())
        sums["gradient_norm"] = nn.utils.clip_grad_norm_(state.trained, recipe.clip_gradient)
        numbers = {name: float(value) for name, value in sums.items()}
        for name in ("loss", "gradient_norm"):
            if not math.isfinite(numbers[name]):
                self._fail(name.replace("_", " "), numbers[name], batches, torch.cat(per_clip))
        state.advance()
        return {**numbers, "learning_rate": rate}

    def _losses(self, batch: Batch, seed: int, step: int) -> Any:
        batch = dataclasses.replace(batch, clip=batch.clip.to(self.device, non_blocking=True))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            return self.system.loss(batch, training_keys(seed, batch.ids.tolist()), step)

    def _fail(self, what: str, value: float, batches: Sequence[Batch], per_clip: Tensor) -> None:
        names = [name for batch in batches for name in batch.names]
        bad = [name for name, finite in zip(names, per_clip.isfinite().tolist(), strict=True) if not finite]
        last = checkpoints.last_name(self.run / "checkpoints")
        raise RunError(
            f"step {self.state.step + 1}: the {what} is {value}; clips of the batch: {', '.join(bad or names)}; "
            + (f"the last good checkpoint is {last}" if last else "there is no checkpoint yet")
        )

    def _look(self, log: Log, last: bool = False) -> None:
        """Validate, sample and write a checkpoint when it is time to; at the last step validate and sample."""
        recipe, step, improved = self.recipe, self.state.step, False
        if (last or step % recipe.validation_interval == 0) and self.state.validation is None:
            improved = self._validate(log)
        if self.prompts and recipe.sample_interval and (last or step % recipe.sample_interval == 0):
            self._sample(log)
        if not last and (improved or step % recipe.checkpoint_interval == 0):
            self._save()

    def _validate(self, log: Log) -> bool:
        """Mean loss over the fixed validation batches with fixed noise; True if it is the lowest so far."""
        if not self.validation:
            return False
        # one seed and step for good: only the weights change from one validation to the next
        with self.state.averaged():
            losses = [self._losses(batch, self.recipe.seed + 1, 0) for batch in self.validation]
        value = sum(float(loss.total) for loss in losses) / len(losses)
        parts = {name: sum(float(loss.parts[name]) for loss in losses) / len(losses) for name in losses[0].parts}
        log.numbers("validation", self.state.step, {"loss": value, **parts, "seconds": self.state.seconds})
        return self.state.validated(value)

    def _sample(self, log: Log) -> None:
        """Write a contact sheet of the recipe's prompts, always with the same seeds."""
        from videofusion.clip import contact_sheet, save_sheet

        recipe, prompts = self.recipe, self.prompts
        precision = torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16")
        with self.state.averaged(), precision:
            seeds = list(range(len(prompts)))
            clips = self.system.pipeline()(prompts, seed=seeds, steps=recipe.sample_steps)
        clips = clips.float().cpu()
        path = self.run / "samples" / f"step-{self.state.step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        save_sheet(clips, path, prompts)
        log.picture(self.state.step, path, contact_sheet(clips, prompts))

    def _save(self) -> None:
        """Write a checkpoint and the model, and delete the checkpoints that are no longer wanted."""
        if not self.world.writes:
            return
        checkpoints.save(self.run / "checkpoints", self.state.checkpoint())
        checkpoints.prune(self.run / "checkpoints", self.recipe.keep)

        def fill(new: Path) -> None:
            if self.recipe.trains == "lora":
                save_pipeline(self.system.pipeline(), new)
            else:
                self.system.pipeline().save_pretrained(new)
            (new / "recipe.json").write_text(json.dumps(self.recipe.to_json(), indent=1) + "\n", encoding="utf-8")

        with self.state.averaged():
            checkpoints.write_folder(self.run / "model", fill)
