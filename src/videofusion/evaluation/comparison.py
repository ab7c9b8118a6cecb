"""Decomposed against independent noise under equal conditions: `videofusion compare`.

A list of training runs with the same data, seconds of training, batch, sampler and number of parameters, each followed
by the same evaluation; every result is a line of `results.jsonl`. Stopped at any moment, the same command goes on:
finished runs are lines already, the one that was stopped goes on from its last checkpoint.

All systems start from an image model of static grey digits, trained for the same seconds: one of the base generator's
width, that all VideoFusions (and a narrow VDM) share, and one of the wider network that VDM needs for VideoFusion's
number of parameters.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event, Lock
from typing import Any

import torch

from videofusion.cores import cores
from videofusion.errors import InputError, RunError
from videofusion.evaluation.comparison_measure import evaluate, places_kept
from videofusion.evaluation.record import versions
from videofusion.training.recipes import get_recipe

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
WIDE = "48,96,176"  # channels of a VDM with as many parameters as VideoFusion's two generators
PLACE_KEPT = 0.8  # part of VDM's samples that must keep the digit's place at the budget of the comparison
REACH_STEPS = 400  # of training, in which the frames widen from the middle one's neighbours to the whole clip
_GRACE = 120  # seconds that a run has to write its checkpoint when the time is up


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run.

    Args:
        name: the run's folder, and its name in the results.
        recipe: what it starts from.
        overrides: keys of the recipe that differ.
        base: the run whose image model it starts from.
        seconds: of training.
    """

    name: str
    recipe: str
    overrides: dict[str, Any] = field(default_factory=dict)
    base: str | None = None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much everything gets.

    Args:
        seconds: of training, of each run.
        base_seconds: of each image model that runs start from.
        seeds: of the headline pair; everything else has one.
        clips: made and judged per run.
    """

    seconds: float = 1200.0
    base_seconds: float = 300.0
    seeds: int = 3
    clips: int = 256

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.base_seconds <= 0 or self.seeds < 1:
            raise InputError(
                f"seconds is {self.seconds}, base_seconds {self.base_seconds} and seeds {self.seeds}; "
                "all must be positive"
            )


def plan(budget: Budget) -> list[Run]:
    """The runs, the most important ones first."""
    vdm, fusion = "vdm-moving-digits", "moving-digits"
    quiet: dict[str, Any] = {"sample_interval": 0}
    near: dict[str, Any] = {"reach": 1, "reach_steps": REACH_STEPS}  # the same course of near frames for both systems
    narrow, wide = "base-narrow", "base-wide"
    runs = [
        Run(name=narrow, recipe="base-digits", overrides=quiet, seconds=budget.base_seconds),
        Run(name=wide, recipe="base-digits", overrides={**quiet, "channels": WIDE}, seconds=budget.base_seconds),
    ]

    def vdm_run(name: str, base: str | None, **more: Any) -> Run:
        return Run(name=name, recipe=vdm, overrides={**quiet, **near, **more}, base=base, seconds=budget.seconds)

    def fusion_run(name: str, base: str | None = narrow, **more: Any) -> Run:
        own = {**quiet, **near, "adaptive": 0.0, **more}  # the share is what is compared: fixed in all of them
        return Run(name=name, recipe=fusion, overrides=own, base=base, seconds=budget.seconds)

    for seed in range(budget.seeds):
        runs.append(vdm_run(f"vdm-{seed}", wide, channels=WIDE, seed=seed))
        runs.append(fusion_run(f"videofusion-{seed}", seed=seed))
    # Attention to the middle frame is for "anchored", where that frame is clean; frames that are all noisy agree as
    # VDM's do.
    noisy: dict[str, Any] = {"temporal": "residual", "time_logit": "1.5,1.5"}
    runs += [fusion_run(variant, variant=variant, **noisy) for variant in ("corrected", "framewise", "published")]
    # No image model to start from, so that neither generator has seen one.
    runs += [
        vdm_run("vdm-scratch", None, channels=WIDE),
        fusion_run("videofusion-scratch", None, residual_from_base=False, base_rate_ratio=1.0),
    ]
    # The default share is the headline run itself.
    default = get_recipe(fusion).share
    runs += [fusion_run(f"share-{share:g}", share=share) for share in SHARES if share != default]
    runs += [
        # beside "corrected": where the base frame is told clean, no gradient of other frames could reach the base
        fusion_run("no-stop-gradient", variant="corrected", base_loss="joint", **noisy),
        fusion_run("fixed-base", variant="corrected", base_loss="fixed", **noisy),
        vdm_run("vdm-narrow", narrow),
    ]
    return runs


def compare(
    folder: Path, budget: Budget, minutes: float | None = None, jobs: int = 1, say: Callable[[str], None] = print
) -> None:
    """Train and evaluate what is not finished yet, until the minutes are over.

    Args:
        folder: of all runs and results.
        budget: how much everything gets; a folder belongs to one.
        minutes: after which to stop and keep everything (a run's evaluation, once begun, is finished); None for no
            limit.
        jobs: runs side by side, each with its part of the machine's cores. Seconds of training are comparable only
            with as many cores, so that number belongs to the folder too.
        say: what tells the user how it goes.

    Raises:
        InputError: the folder belongs to another budget; jobs that the cores do not reach for.
        RunError: a training run failed.
    """
    threads = _threads(jobs)
    _claim(folder, budget, threads)
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    runs = plan(budget)
    done = {row["name"] for row in results(folder)}
    trained: dict[str, Future[bool]] = {}
    writing, over = Lock(), Event()

    def time_is_up() -> bool:
        if deadline is not None and time.monotonic() > deadline:
            over.set()
        return over.is_set()

    def one(number: int, run: Run) -> bool:
        """Train and evaluate a run; False when the time came first."""
        if run.base in trained and not trained[run.base].result():
            return False
        if time_is_up():
            return False
        say(f"[{number + 1}/{len(runs)}] {run.name}")
        if not train_run(folder, run, deadline, threads):
            over.set()
            return False
        row = {"name": run.name, **run_facts(folder / run.name)}
        if run.recipe != "base-digits":
            if time_is_up():
                return False
            from videofusion.models import load

            torch.set_num_threads(threads)  # of this job
            row |= evaluate(load(folder / run.name / "model", device="cpu"), budget.clips)
        with writing:
            _append(folder / "results.jsonl", {**row, "seconds": run.seconds, "versions": versions()})
        return True

    with ThreadPoolExecutor(jobs) as pool:
        for number, run in enumerate(runs):
            if run.name not in done:
                trained[run.name] = pool.submit(one, number, run)
        try:
            finished = [future.result() for future in trained.values()]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if not all(finished):
        say("the time is up; the same command goes on from here")


def find_budget(
    folder: Path, budget: Budget, limit: float, jobs: int = 1, clips: int = 48, say: Callable[[str], None] = print
) -> float:
    """The seconds after which VDM's samples keep a digit's place: tried at the budget's and at their doubles.

    One run with a constant learning rate, looked at on the way; it starts from the image model that the comparison's
    VDM starts from.

    Args:
        folder: of the run.
        budget: seconds at the first look, and of the image model.
        limit: seconds at which to give up.
        jobs: that the comparison will run side by side: this run gets one's part of the cores.
        clips: made at each look.
        say: what tells the user how it goes.

    Raises:
        RunError: not reached within the limit.
    """
    from videofusion.models import load

    threads = _threads(jobs)
    runs = {run.name: run for run in plan(budget)}
    vdm = runs["vdm-0"]
    assert vdm.base is not None
    train_run(folder, runs[vdm.base], None, threads)
    seconds = budget.seconds
    while seconds <= limit:
        overrides = {**vdm.overrides, "schedule_rate": "constant"}
        run = replace(vdm, name="budget-vdm", overrides=overrides, seconds=seconds)
        train_run(folder, run, None, threads)
        kept = places_kept(load(folder / run.name / "model", device="cpu"), clips)
        say(f"{seconds:.0f} s of training: {100 * kept:.0f} % of VDM's samples keep the digit's place")
        if kept >= PLACE_KEPT:
            return seconds
        seconds *= 2
    raise RunError(f"VDM's samples did not keep a digit's place after {limit:.0f} s of training")


def train_run(folder: Path, run: Run, deadline: float | None, threads: int) -> bool:
    """Train a run in a process of its own, or go on with it; False when the deadline came first.

    Raises:
        RunError: training failed.
    """
    overrides = dict(run.overrides)
    if run.base is not None:
        overrides["pretrained_base"] = str(folder / run.base)
    command = [sys.executable, "-m", "videofusion", "train", run.recipe, "--run", str(folder / run.name)]
    command += ["--steps", "1000000", *_budget(run.seconds, threads)]
    command += [word for key, value in overrides.items() for word in ("--set", f"{key}={_text(value)}")]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    try:
        code = process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _end(process, run)
        return False
    except BaseException:
        _end(process, run)
        raise
    if code != 0:
        raise RunError(f"the run {run.name} ended with code {code}; {' '.join(command)} says why")
    return True


def _end(process: subprocess.Popen[bytes], run: Run) -> None:
    """Have a run write its checkpoint and end; one that does not is killed, and goes on from its last checkpoint."""
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise RunError(
            f"the run {run.name} did not end within {_GRACE} s; the same command goes on from its last checkpoint"
        ) from error


def _budget(seconds: float, threads: int) -> list[str]:
    """Options for seconds of training: on CPUs those that its threads compute, whatever else the machine does."""
    if torch.cuda.is_available():
        return ["--seconds", str(seconds)]
    return ["--seconds", str(seconds * threads), "--set", "clock=processor"]


def run_facts(run: Path) -> dict[str, Any]:
    """Steps, clips and parameters of a finished run."""
    from safetensors import safe_open

    recipe = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    log = map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines())
    step = max(int(line.get("step", 0)) for line in log)
    parameters = 0
    for part in sorted((run / "model").glob("*/*.safetensors")):
        with safe_open(part, "pt") as file:
            parameters += sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118
    clips = step * recipe["batch_size"] * recipe["accumulation"]
    return {"recipe": recipe, "steps": step, "clips": clips, "parameters": parameters}


def results(folder: Path) -> list[dict[str, Any]]:
    """The finished runs of a folder, in the order in which they finished."""
    path = folder / "results.jsonl"
    return [json.loads(line) for line in _whole_lines(path)] if path.exists() else []


def _whole_lines(path: Path) -> Iterator[str]:
    """Lines that were written to their end; the last one may have been cut off."""
    return (line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n"))


def _append(path: Path, row: dict[str, Any]) -> None:
    lines = [*_whole_lines(path)] if path.exists() else []
    new = path.with_name(path.name + ".part")
    new.write_text("".join([*lines, json.dumps(row, sort_keys=True) + "\n"]), encoding="utf-8")
    new.replace(path)


def _threads(jobs: int) -> int:
    """The cores of each job."""
    most = cores()
    if not 1 <= jobs <= most:
        raise InputError(f"jobs is {jobs}; this machine allows 1 to {most}")
    return most // jobs


def _claim(folder: Path, budget: Budget, threads: int) -> None:
    """Make the folder, or check that it belongs to this budget."""
    path, mine = folder / "budget.json", {**asdict(budget), "threads": threads}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            theirs = json.loads(path.read_text(encoding="utf-8"))
            if theirs != mine:
                raise InputError(f"{folder} holds a comparison of the budget {theirs}, not {mine}")
        else:
            path.write_text(json.dumps(mine) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be used: {error.strerror}") from error


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
