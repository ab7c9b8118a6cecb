"""`videofusion train`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import tyro

from videofusion.errors import InputError
from videofusion.recipes.catalogue import RECIPES, get_recipe
from videofusion.recipes.recipe import Recipe

BUILT_IN = [kind for kind in get_args(get_type_hints(Recipe)["data"]) if kind != "folder"]


def train(
    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")],
    *,
    run: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    data: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None,
    steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    seconds: Annotated[float | None, tyro.conf.arg(metavar="S")] = None,
    set: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(metavar="KEY=VALUE")] = (),
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    fetch: Annotated[str | None, tyro.conf.arg(metavar="HOW")] = None,
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> int:
    """Train a recipe. The finished model is the folder DIR/model, which `generate --model` takes.

    The same command goes on with a run that was stopped. Recipes: RECIPE_NAMES, or the path of a recipe.json.

    Args:
        recipe: name of a recipe, or the path of the recipe.json of another run
        run: the run folder: checkpoints, logs, sample grids and the model
        data: your folder of clips, or built-in ones: BUILT_IN
        steps: optimiser steps, instead of the recipe's
        seconds: seconds of training after which the run ends
        set: change a value of the recipe; --dry-run prints them all
        device: cpu, cuda, ...; the fastest there is by default
        fetch: allow an index.json to name shards elsewhere: https, or a command such as "aws s3 cp {} -"
        dry_run: print the recipe, try its data and one step, say what memory and disk it needs, and leave nothing
    """
    overrides: dict[str, Any] = {}
    folder = None
    if data in BUILT_IN:
        overrides["data"] = data
    elif data is not None:
        overrides["data"] = "folder"
        folder = Path(data)
    overrides.update(read_settings(set))
    if steps is not None:
        overrides["steps"] = str(steps)
    if seconds is not None:
        overrides["seconds"] = str(seconds)
    resolved = get_recipe(recipe, overrides)
    from videofusion.data.addresses import fetching
    from videofusion.device import pick_device

    if dry_run:
        print(json.dumps(resolved.to_json(), indent=1))

        from videofusion.training.estimate import trial

        with fetching(fetch):
            found = trial.dry_run(resolved, run, folder, device=str(pick_device(device)))
        print(f"\n{found.report()}")
        found.check()
        print("the run can begin; nothing was written")
        return 0

    from videofusion.training.trainer import train as run_recipe

    with fetching(fetch):
        return run_recipe(resolved, run, folder, device=str(pick_device(device))).exit_code


def read_settings(items: Sequence[str]) -> dict[str, str]:
    """Keys and values of --set."""
    found = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals:
            raise InputError(f'--set is "{item}", but must be KEY=VALUE, as in --set batch_size=8')
        found[key.strip().replace("-", "_")] = value.strip()
    return found


train.__doc__ = str(train.__doc__).replace("RECIPE_NAMES", ", ".join(RECIPES)).replace("BUILT_IN", ", ".join(BUILT_IN))
