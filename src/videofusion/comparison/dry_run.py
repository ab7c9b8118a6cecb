"""A comparison's dry run: what each run would train, counted without computing, and the commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from videofusion.comparison.runs import Run, run_recipe, train_command
from videofusion.errors import InputError
from videofusion.evaluation.record import markdown_table
from videofusion.training.batches import training_data
from videofusion.training.estimate.sizes import recipe_work
from videofusion.training.world import World


def dry_run(folder: Path, runs: Sequence[Run], data: str | None = None) -> str:
    """Resolve every recipe, build its system on torch's meta device and take a step; look at the data, where given.

    Nothing is written, and nothing is trained.

    Args:
        folder: of the comparison.
        runs: of it.
        data: what runs train on instead of what their recipes make.

    Returns:
        a table of the runs, and the commands that train them.

    Raises:
        InputError: a recipe, its system or the data cannot be had.
    """
    body: list[list[object]] = []
    commands, looked = [], False
    for run in runs:
        if not run.recipe:
            place = f"the model of {run.of}" if run.of else str(run.model)
            differs = "".join(f", {key} {value}" for key, value in run.sampling.items())
            body.append([run.name, place + differs, "–", "–", "–", "–", "–"])
            continue
        recipe = run_recipe(folder, run, data)
        try:
            work = recipe_work(recipe)
        except InputError as error:
            raise InputError(f"the run {run.name} cannot be built: {error}") from error
        if not looked and data is not None and recipe.clips.kind == "folder":
            training_data(recipe.replace({"batch.workers": 0}), Path(data), World())
            looked = True
        budget = f"{recipe.budget.steps:,} steps" if run.seconds is None else f"{run.seconds:g} s"
        size, clip = f"{work.trained / 1e6:.2f} M", f"{work.flops / 1e12:.3g} TFLOP"
        clips = recipe.batch.size * recipe.batch.accumulation
        body.append([run.name, run.recipe, run.base or "–", size, clip, clips, budget])
        commands.append(shlex.join(train_command(folder, run, data)))
    header = ["run", "recipe", "starts from", "trained parameters", "a clip forward and back", "clips a step", "budget"]
    seen = "the data can be read" if looked else "no folder of data was looked at"
    return "\n".join([markdown_table(header, body), "", *commands, "", f"{seen}; nothing was trained or written"])
