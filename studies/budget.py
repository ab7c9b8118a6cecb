"""The budget of the plan `decomposed`: what VDM needs to keep a digit's place; `python -m studies.budget DIR`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import tyro

from studies.decomposed import DECOMPOSED
from videofusion.cli import run_command
from videofusion.comparison.compare import Budget, job_threads
from videofusion.comparison.runs import Run, train_run
from videofusion.digits.comparison import places_kept
from videofusion.errors import RunError
from videofusion.locking import locked

PLACE_KEPT = 0.8  # part of VDM's samples that must keep the digit's place at the budget of the comparison


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
    threads = job_threads(jobs)
    runs = {run.name: run for run in DECOMPOSED.runs(budget)}
    vdm = runs["vdm-0"]
    assert vdm.base is not None
    with locked(folder, "comparison folder"):
        train_run(folder, runs[vdm.base], threads)
        return _first_that_keeps(folder, vdm, budget, limit, threads, clips, say)


def _first_that_keeps(
    folder: Path, vdm: Run, budget: Budget, limit: float, threads: int, clips: int, say: Callable[[str], None]
) -> float:
    from videofusion.models import load

    seconds = budget.seconds
    while seconds <= limit:
        overrides = {**vdm.overrides, "optimizer.schedule": "constant"}
        run = replace(vdm, name="budget-vdm", overrides=overrides, seconds=seconds)
        train_run(folder, run, threads)
        kept = places_kept(load(folder / run.name / "model", device="cpu"), clips)
        say(f"{seconds:.0f} s of training: {100 * kept:.0f} % of VDM's samples keep the digit's place")
        if kept >= PLACE_KEPT:
            return seconds
        seconds *= 2
    raise RunError(f"VDM's samples did not keep a digit's place after {limit:.0f} s of training")


def budget(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    *,
    seconds: float = 1800.0,
    base_seconds: float = 600.0,
    jobs: int = 1,
) -> None:
    """Find the seconds after which VDM's samples keep a digit's place: SECONDS, or a double of them.

    Args:
        folder: for the runs
        seconds: of training at the first look
        base_seconds: of training the image model
        jobs: that the comparison will run side by side
    """
    found = find_budget(folder, Budget(seconds=seconds, base_seconds=base_seconds), 64 * seconds, jobs)
    print(f"--seconds {found:g} is the smallest budget tried at which VDM's samples keep a digit's place")


if __name__ == "__main__":
    sys.exit(run_command(budget, "python -m studies.budget"))
