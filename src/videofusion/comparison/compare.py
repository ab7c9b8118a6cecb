"""The machinery of `videofusion compare`: trains the runs of a plan one after the other, and measures each.

It knows no plan (`plans.py` has them): only a list of runs with the same data, seconds of training, sampler and
measure. Every result is a line of `results.jsonl`. Stopped at any moment, the same command resumes: finished runs
are lines already, and the one that was stopped continues from its last checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event, Lock
from types import MappingProxyType
from typing import Any

import torch

from videofusion.comparison.cost import cost_apart
from videofusion.comparison.finding import Measure
from videofusion.comparison.runs import (
    RESULTS,
    append,
    claim,
    results,
    run_facts,
    run_recipe,
    train_run,
    whole_lines,
)
from videofusion.comparison.runs import Run as Run
from videofusion.cores import cores
from videofusion.errors import InputError
from videofusion.evaluation.making import Sampling
from videofusion.evaluation.record import versions
from videofusion.files import whole_path
from videofusion.locking import locked
from videofusion.training.signals import stop_signal

REAL = "real clips"  # the line that no model has
LOOKS = "looks.jsonl"
_CONSTANT = {"optimizer.schedule": "constant"}
SHOWN = "shown.safetensors"  # in a run's folder: its first clips, for the pictures


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much everything gets.

    Args:
        seconds: of training, of each run, where `flops` is None.
        flops: of training, of each run that is measured: see `steps_within`.
        base_seconds: of each image model that runs start from.
        seeds: of what the plan repeats.
        clips: made and judged per run.
        steps: of the sampler; with several, each run is measured with each, and the table has the most.
        sampler: by name.
        looks: at each run on its way, evenly over its seconds; with more than one, learning rates stay constant.
    """

    seconds: float = 1800.0
    flops: float | None = None
    base_seconds: float = 600.0
    seeds: int = 3
    clips: int = 256
    steps: tuple[int, ...] = (10,)
    sampler: str = "dpm++"
    looks: int = 1

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.base_seconds <= 0 or self.seeds < 1:
            raise InputError(
                f"seconds is {self.seconds}, base_seconds {self.base_seconds} and seeds {self.seeds}; "
                "all must be positive"
            )
        if not self.steps or min(self.steps) < 1 or len(set(self.steps)) != len(self.steps):
            raise InputError(f"steps is {self.steps}; they must be different whole numbers of at least 1")
        if self.flops is not None and (self.flops <= 0 or self.looks > 1):
            raise InputError(
                f"flops is {self.flops} and looks {self.looks}; a budget of arithmetic is positive and allows one look"
            )
        if self.looks < 1:
            raise InputError(f"looks is {self.looks}; at least 1 is needed, at the end")

    def sampling(self, steps: int, differs: Mapping[str, Any] = MappingProxyType({})) -> Sampling:
        """How clips are made, and what differs from it in a run."""
        return replace(Sampling(steps=steps, sampler=self.sampler, batch=32), **differs)


def compare(
    folder: Path,
    plan: str,
    runs: Sequence[Run],
    budget: Budget,
    measure: Measure,
    *,
    data: str | None = None,
    protocol: str = "",
    minutes: float | None = None,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> int:
    """Train and measure what is not finished yet, until the minutes are over or a signal comes.

    Args:
        folder: of all runs and results.
        plan: its name; a folder belongs to one.
        runs: of the plan, a base before what starts from it.
        budget: how much everything gets; a folder belongs to one.
        measure: of the clips.
        data: what runs train on instead of what their recipes make; a folder belongs to one.
        protocol: name of the measure, where it is no default; a folder belongs to one.
        minutes: after which to stop and keep everything (a run's evaluation, once begun, is finished); None for no
            limit.
        jobs: runs side by side, each with its part of the machine's cores. Seconds of training are comparable only
            with as many cores, so that number belongs to the folder too.
        say: what tells the user how it goes.

    Returns:
        What a command ends with: 0, or 143, 130 or 129 where SIGTERM, SIGINT or SIGHUP stopped it.

    Raises:
        InputError: the folder belongs to another plan or budget, or to another run of a name, or another process
            compares in it; jobs that the cores do not reach for.
        RunError: a training run failed.
    """
    threads = job_threads(jobs)
    with locked(folder, "comparison folder"):
        return _compare(folder, plan, runs, budget, measure, data, protocol, minutes, jobs, threads, say)


def _compare(
    folder: Path,
    plan: str,
    runs: Sequence[Run],
    budget: Budget,
    measure: Measure,
    data: str | None,
    protocol: str,
    minutes: float | None,
    jobs: int,
    threads: int,
    say: Callable[[str], None],
) -> int:
    if budget.looks > 1:  # a rate that falls towards the end of a part would rise again in the next one
        runs = [replace(run, overrides={**run.overrides, **(_CONSTANT if run.measured else {})}) for run in runs]
    _check_names(folder, runs, data)
    claim(folder, {"plan": plan, **asdict(budget), "threads": threads, "data": data, "protocol": protocol})
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    done = {row["name"] for row in results(folder)}
    working: dict[str, Future[bool]] = {}
    writing, over = Lock(), Event()

    def is_over() -> bool:
        if stop.name is not None or (deadline is not None and time.monotonic() > deadline):
            over.set()
        return over.is_set()

    def one(number: int, run: Run) -> bool:
        """Train and measure a run; False when it was to stop first."""
        for needed in (run.base, run.of):
            if needed in working and not working[needed].result():
                return False
        if is_over():
            return False
        say(f"[{number + 1}/{len(runs)}] {run.name}")
        row: dict[str, Any] = {"name": run.name, "system": run.group, "seconds": run.seconds}
        looks: list[dict[str, Any]] = []
        for part in _parts(run, budget):
            seen = None if part is run else _seen(folder, part, writing)
            if seen is not None:
                looks.append(seen)
                continue
            if part.recipe and not train_run(folder, part, threads, data, is_over):
                over.set()
                return False
            if part is not run:
                looks.append(_look(folder, part, budget, measure, threads, writing))
            if is_over() and run.measured:
                return False
        if run.recipe:
            row |= {"flops": budget.flops} if budget.flops and run.measured else {}
            row |= run_facts(folder / run.name, threads)
        if run.measured == "all":
            row |= _measured(folder, run, budget, measure, threads)
        if looks:
            last = {key: row[key] for key in row["measures"]}
            row["looks"] = [*looks, {"name": run.name, "at": run.seconds, **last}]
        if run.measured:
            sampling = budget.sampling(max(budget.steps), run.sampling)
            row["cost"] = cost_apart(run.model_in(folder), measure.prompt(), sampling, threads)
            row.setdefault("parameters", row["cost"]["parameters"])
        with writing:
            append(folder / RESULTS, {**row, "note": measure.note, "versions": versions()})
        return True

    if REAL not in done and any(run.measured == "all" for run in runs):
        floor = measure.real()
        if floor is not None:
            append(
                folder / RESULTS, {"name": REAL, "system": REAL, **floor, "note": measure.note, "versions": versions()}
            )
    with stop_signal() as stop, ThreadPoolExecutor(jobs) as pool:
        for number, run in enumerate(runs):
            if run.name not in done:
                working[run.name] = pool.submit(one, number, run)
        try:
            finished = [future.result() for future in working.values()]
        except BaseException:
            over.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if not all(finished):
        say(f"{f'stopped by {stop.name}' if stop.name else 'the time is up'}; run the same command to resume")
    return 128 + stop.number if stop.name else 0


def job_threads(jobs: int) -> int:
    """The cores of each job.

    Raises:
        InputError: more jobs than cores, or none.
    """
    most = cores()
    if not 1 <= jobs <= most:
        raise InputError(f"jobs is {jobs}; this machine allows 1 to {most}")
    return most // jobs


def _parts(run: Run, budget: Budget) -> Iterator[Run]:
    """The run itself, and before it the run with a part of its seconds, for each look on the way."""
    if budget.looks > 1 and run.recipe and run.seconds is not None and run.measured == "all":
        for look in range(1, budget.looks):
            yield replace(run, seconds=run.seconds * look / budget.looks)
    yield run


def _seen(folder: Path, part: Run, writing: Lock) -> dict[str, Any] | None:
    """What an earlier session saw of a run on its way."""
    path = folder / LOOKS
    with writing:
        known = [json.loads(line) for line in whole_lines(path)] if path.exists() else []
    return next((row for row in known if (row["name"], row["at"]) == (part.name, part.seconds)), None)


def _look(folder: Path, part: Run, budget: Budget, measure: Measure, threads: int, writing: Lock) -> dict[str, Any]:
    """What a run's clips are like on its way."""
    found = _clips(folder, part, budget, measure, threads, max(budget.steps)).row
    row = {"name": part.name, "at": part.seconds, **{name: found[name] for name in found["measures"]}}
    with writing:
        append(folder / LOOKS, row)
    return row


def _measured(folder: Path, run: Run, budget: Budget, measure: Measure, threads: int) -> dict[str, Any]:
    """The measures of a finished run, with each number of sampler steps."""
    row: dict[str, Any] = {}
    by_steps = []
    for steps in sorted(budget.steps):
        found = _clips(folder, run, budget, measure, threads, steps)
        row = found.row
        by_steps.append({"steps": steps, **{name: row[name] for name in row["measures"]}})
        _keep_clips(folder / run.name / SHOWN, found.clips, found.captions)
        _, frames, _, height, width = found.clips.shape
        row["shape"] = [frames, height, width]
    return row | ({"by_steps": by_steps} if len(by_steps) > 1 else {})


def _clips(folder: Path, run: Run, budget: Budget, measure: Measure, threads: int, steps: int) -> Any:
    from videofusion.models import load

    torch.set_num_threads(threads)  # of this job
    return measure(load(run.model_in(folder)), budget.sampling(steps, run.sampling))


def _keep_clips(path: Path, clips: torch.Tensor, captions: Sequence[str]) -> None:
    from safetensors.torch import save_file

    from videofusion.clip.check import to_uint8

    path.parent.mkdir(parents=True, exist_ok=True)
    frames = to_uint8(clips).contiguous()
    with whole_path(path) as new:
        save_file({"clips": frames}, new, metadata={"captions": json.dumps(list(captions))})


def _check_names(folder: Path, runs: Sequence[Run], data: str | None) -> None:
    """Refuse a run whose folder, or whose line, is another one's."""
    from videofusion.training.run_folder import check_run

    names = [run.name for run in runs]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise InputError(f'two lines of the comparison would be named "{twice[0]}"; each needs a name of its own')
    for run in runs:
        if run.recipe:
            check_run(run_recipe(folder, run, data), folder / run.name)
