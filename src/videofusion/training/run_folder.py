"""A run's folder: whose it is, and how a session in it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from videofusion.errors import InputError
from videofusion.files import check_regular, parse_json, replacing
from videofusion.recipes.recipe import Recipe
from videofusion.training.signals import exit_code

# What may differ between the sessions of one run: how long it goes, what it prints, how fast it computes.
_MAY_CHANGE = {
    *("budget", "log", "checkpoints", "sampling"),  # whole groups
    *("batch.workers", "compute.compile", "compute.gradient_checkpointing", "compute.shard", "compute.offload"),
}


def _may_change(recipe: Recipe, key: str) -> bool:
    group, _, rest = key.partition(".")
    return key in _MAY_CHANGE or group in _MAY_CHANGE or (group == "system" and rest in recipe.system.may_change)


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a session of training ended.

    Args:
        step: optimiser steps taken, all sessions together.
        seconds: seconds of training, all sessions together.
        stopped_by: "steps", "seconds", or the name of a signal.
        model: the folder of the finished pipeline.
    """

    step: int
    seconds: float
    stopped_by: str
    model: Path

    @property
    def exit_code(self) -> int:
        """0 when the run is finished, 143, 130 or 129 when SIGTERM, SIGINT or SIGHUP stopped it."""
        return exit_code(self.stopped_by)


def open_run(recipe: Recipe, run: Path) -> None:
    """Make the run folder, or check that it belongs to this recipe.

    Raises:
        InputError: it cannot be made, or holds a run of another recipe (the keys that differ are named).
    """
    check_run(recipe, run)
    path = run / "recipe.json"
    try:
        run.mkdir(parents=True, exist_ok=True)
        with replacing(path) as new:
            new.write_text(json.dumps(recipe.to_json(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"run folder {run} cannot be used: {error.strerror or error}") from error


def check_run(recipe: Recipe, run: Path) -> None:
    """Check that what is in a run folder, if anything, belongs to this recipe; nothing is written.

    Raises:
        InputError: it holds a run of another recipe (the keys that differ are named), or cannot be read.
    """
    path = run / "recipe.json"
    try:
        if path.exists():
            check_regular(path)
            saved, mine = Recipe.from_json(parse_json(path.read_text(encoding="utf-8"))).dotted(), recipe.dotted()
            differing = [
                f"{key} ({_shown(saved.get(key))} there, {_shown(mine.get(key))} here)"
                for key in dict.fromkeys((*mine, *saved))
                if saved.get(key) != mine.get(key) and not _may_change(recipe, key)
            ]
            if differing:
                raise InputError(f"run folder {run} is of another recipe; what differs: {', '.join(differing)}")
    except OSError as error:
        raise InputError(f"run folder {run} cannot be used: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"run folder {run} has a recipe.json that cannot be read: {error}") from error


def _shown(value: object) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)
