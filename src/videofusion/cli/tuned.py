"""A model that is tuned on a video before it edits it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videofusion.errors import InputError
from videofusion.models import find
from videofusion.trusted import read_config

if TYPE_CHECKING:
    from videofusion.systems.pipeline import VideoPipeline

TUNED = "tune-a-video"


def needs_tuning(method: str, model: str, run: Path | None, steps: int | None, source: str | None) -> bool:
    """Whether a model has to be tuned before a method edits with it.

    Args:
        method: of editing.
        model: that the user named.
        run: folder of the run that tunes it.
        steps: of that run.
        source: what the video shows.

    Raises:
        InputError: what tuning needs is not given, or given where nothing is tuned.
    """
    needed = False
    if method == TUNED:
        needed = read_config(find(model) / "model_index.json").get("_class_name") != "TuneAVideoPipeline"
    for name, value in (("run", run), ("tuning_steps", steps)):
        if value is not None and not needed:
            raise InputError(f"{name} is {value}, but nothing is to be tuned: method is {method!r}, model {model}")
    if needed and run is None:
        raise InputError(f"run is not given; {model} has to be tuned on the video first, name a folder for that")
    if needed and source is None:
        raise InputError(f"source is not given; {model} has to be tuned on the video first, say what it shows")
    return needed


def tune(base: str, video: Path, run: Path, device: str | None, asked: Mapping[str, Any]) -> int:
    """Tune an image model on a video, or go on with that; returns an exit code.

    Args:
        base: the image model.
        video: its file.
        run: folder of the run.
        device: where to compute; the fastest there is when None.
        asked: keys of the recipe; those that are None stay as there.
    """
    from videofusion.recipes.catalogue import get_recipe
    from videofusion.recipes.image_base import on_image_model
    from videofusion.training.trainer import train

    recipe = on_image_model(get_recipe(TUNED), base)
    recipe = recipe.replace({key: value for key, value in asked.items() if value is not None})
    return train(recipe, run, video, device=device).exit_code


def tuned_on(pipe: VideoPipeline) -> tuple[float, float | None]:
    """Where the clip that a model was tuned on begins, in seconds, and its rate; 0 and None for other models."""
    from videofusion.systems.tune_a_video import TuneAVideoPipeline

    if not isinstance(pipe, TuneAVideoPipeline):
        return 0.0, None
    return float(pipe.config.start), float(pipe.config.fps) or None
