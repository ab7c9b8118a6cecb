"""`videofusion train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import tyro

from videofusion.cli.recipe_keys import RecipeKeys
from videofusion.errors import InputError
from videofusion.recipes.catalogue import RECIPES
from videofusion.recipes.groups import Clips
from videofusion.recipes.stable_diffusion import check_base

BUILT_IN = [kind for kind in get_args(get_type_hints(Clips)["kind"]) if kind != "folder"]


def train(
    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")],
    *,
    run: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    data: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None,
    caption: Annotated[str | None, tyro.conf.arg(metavar="TEXT")] = None,
    steps: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    seconds: Annotated[float | None, tyro.conf.arg(metavar="S")] = None,
    system: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    base: Annotated[str | None, tyro.conf.arg(metavar="MODEL")] = None,
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    fetch: Annotated[str | None, tyro.conf.arg(metavar="HOW")] = None,
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False,
    gpu: Annotated[float | None, tyro.conf.arg(metavar="GB")] = None,
    keys: RecipeKeys,
) -> int:
    """Train a recipe. The finished model is the folder DIR/model, which `generate --model` takes.

    The same command goes on with a run that was stopped. Recipes: RECIPE_NAMES, or the path of a recipe.json.
    `videofusion train RECIPE --help` shows what a recipe says, and the options that change it.

    Args:
        recipe: name of a recipe, or the path of the recipe.json of another run
        run: the run folder: checkpoints, logs, sample grids and the model
        data: your folder of clips, a single video, or built-in ones: BUILT_IN
        caption: what your clips show, all of them, such as that single video
        steps: optimiser steps, instead of the recipe's
        seconds: seconds of training after which the run ends
        system: train another system than the recipe's, with that one's own keys as they are by default
        base: a model to train on, from which schedule, prediction, autoencoder, text encoder and sizes are read: of
            diffusers (Stable Diffusion 1.5 or 2.1, for vdm-folder64 also ModelScope's text-to-video, for videofusion
            also PixArt, Stable Diffusion 3, Sana or Flux), its folder or owner/name on the Hugging Face Hub; or an
            image model of this library, a run, a folder or a name
        device: cpu, cuda, ...; the fastest there is by default
        fetch: allow an index.json to name shards elsewhere: https, or a command such as "aws s3 cp {} -"
        dry_run: print the recipe, try its data and one step, say what memory and disk it needs, and leave nothing
        gpu: with --dry-run, plan the run on paper for one GPU of so many gigabytes instead: no data and no weights are
            read, and no GPU is needed
        keys: the recipe's own
    """
    if gpu is not None and not (dry_run and gpu > 0):
        raise InputError(
            f"gpu is {gpu:g}; it is the memory of a GPU in gigabytes, above 0, and goes with --dry-run only"
        )
    changes: dict[str, Any] = {"budget.steps": steps, "budget.seconds": seconds, "clips.caption": caption}
    folder = None
    if data in BUILT_IN:
        changes["clips.kind"] = data
    elif data is not None:
        changes["clips.kind"] = "folder"
        folder = Path(data)
    resolved = keys.replace({key: value for key, value in changes.items() if value is not None})
    check_base(resolved)
    if gpu is not None:
        from videofusion.data.layouts.encoded import SETTINGS
        from videofusion.training.estimate.gpu_plan import plan_for_gpu

        plan = plan_for_gpu(resolved, encoded=folder is not None and (folder / SETTINGS).is_file())
        print(f"{json.dumps(resolved.to_json(), indent=1)}\n\n{plan.report(gpu)}")
        plan.check(gpu)
        return 0
    from videofusion.data.addresses import fetching
    from videofusion.device import pick_device

    if dry_run:
        print(json.dumps(resolved.to_json(), indent=1))

        from videofusion.training.estimate import trial

        with fetching(fetch):
            found = trial.dry_run(resolved, run, folder, device=str(pick_device(device)))
        print(f"\n{found.report()}")
        found.check()
        print("the run is ready to start; nothing was written")
        return 0

    from videofusion.training.trainer import train as run_recipe

    with fetching(fetch):
        return run_recipe(resolved, run, folder, device=str(pick_device(device))).exit_code


train.__doc__ = str(train.__doc__).replace("RECIPE_NAMES", ", ".join(RECIPES)).replace("BUILT_IN", ", ".join(BUILT_IN))
