"""The recipes by name.

A recipe is a Python function that returns a `Recipe`; `get_recipe` finds it by name and applies
overrides. The resolved recipe is saved beside the weights and accepted back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from videofusion.errors import InputError, unknown
from videofusion.files import check_regular, parse_json
from videofusion.models import find
from videofusion.recipes.papers import PAPER_RECIPES
from videofusion.recipes.recipe import Recipe


def tiny() -> Recipe:
    """A little VideoFusion on moving digits that trains anywhere in a minute: to see that all works."""
    return Recipe(
        name="tiny",
        channels=(32, 64),
        residual_channels=(32, 32),
        attention=("none", "transformer"),
        temporal="residual",
        blocks=1,
        text_dim=32,
        frames=4,
        size=16,
        two_digits=0.0,
        batch_size=8,
        steps=60,
        warmup=10,
        ema_decay=0.95,
        log_interval=5,
        validation_interval=30,
        validation_batches=1,
        checkpoint_interval=30,
        sample_interval=30,
        sample_steps=5,
        prompts=("a red three moving left", "a blue seven moving up"),
    )


_DIGIT_PROMPTS = (
    "a red three moving left",
    "a blue seven moving up",
    "a green five moving right",
    "a yellow zero moving down",
    "a white eight moving up left",
    "a magenta two moving down right",
    "a red four",
    "a green two moving right and a white five moving down",
)


_DIGIT_NETWORK: dict[str, Any] = {
    # squares of 2x2 pixels: with larger ones a digit looks another way at every place within the square
    "patch": 2,
    "blocks": 1,
    "channels": (32, 64, 128),
    "attention": ("none", "none", "transformer"),
    "heads": 2,
    "groups": 8,
    # as it is drawn it keeps all words apart; trained with the rest it soon hears colours only (docs/moving-digits.md)
    "train_text": False,
    "prediction": "x0",
    "weighting": "x0",
    # which digit it is shows at these times: later only noise is seen, earlier hardly any
    "time_logit": (1.0, 1.2),
    "two_digits": 0.2,
    "learning_rate": 1e-3,
    "ema_decay": 0.999,
    "guidance": 4.0,
}

_DIGIT_CLIPS: dict[str, Any] = {**_DIGIT_NETWORK, "train_frames": 5, "batch_size": 4, "prompts": _DIGIT_PROMPTS}


def moving_digits() -> Recipe:
    """VideoFusion, text to video, on moving digits: the model that ships, its base pretrained by `digit-images`."""
    return Recipe(
        name="moving-digits",
        temporal="residual_middle_place",
        residual_channels=(32, 64, 128),
        residual_from_base=True,
        base_rate_ratio=0.3,
        adaptive=0.25,
        # to bring a shape over from the middle frame is learned where it has hardly moved
        reach=1,
        reach_share=0.15,
        **_DIGIT_CLIPS,
    )


def digit_crops() -> Recipe:
    """An image model of digits close up: a quarter of the frame, and the digit is nearly all that there is."""
    return digit_images().replace(
        {"name": "digit-crops", "data": "digit-crops", "size": 16, "two_digits": 0.0, "batch_size": 64}
    )


def digit_images() -> Recipe:
    """An image model of the clips' middle frames, told the clips' captions: the base of `moving-digits`.

    It starts from `digit-crops`.
    """
    return Recipe(
        name="digit-images",
        system="vdm",
        temporal="image",
        data="middle-digits",
        frames=1,
        batch_size=24,
        prompts=_DIGIT_PROMPTS,
        **_DIGIT_NETWORK,
    )


def vdm_moving_digits() -> Recipe:
    """The baseline: Video Diffusion Models' independent noise, same data and budget."""
    own: dict[str, Any] = {
        "temporal": "factorised",
        # with independent noise frames must agree while each shows hardly anything yet
        "time_logit": (1.5, 1.5),
    }
    return Recipe(name="vdm-moving-digits", system="vdm", **{**_DIGIT_CLIPS, **own})


def base_digits() -> Recipe:
    """An image model of static grey digits, from which base generators (and VDM) start in comparisons."""
    return Recipe(
        name="base-digits",
        system="vdm",
        temporal="image",
        data="static-digits",
        frames=1,
        batch_size=48,
        prompts=("a three", "a seven", "a five", "a zero"),
        **_DIGIT_NETWORK,
    )


def folder64() -> Recipe:
    """VideoFusion on a folder of your own clips, 16 frames at 64x64."""
    return Recipe(
        name="folder64",
        data="folder",
        size=64,
        channels=(64, 128, 192, 256),
        residual_channels=(32, 64, 96, 128),
        attention=("none", "none", "transformer", "transformer"),
        batch_size=8,
        workers=2,
        adaptive=0.3,
    )


def vdm_folder64() -> Recipe:
    """The baseline on a folder of your own clips: Video Diffusion Models, 16 frames at 64x64."""
    return folder64().replace({"name": "vdm-folder64", "system": "vdm", "temporal": "factorised", "adaptive": 0.0})


def folder64_small() -> Recipe:
    """VideoFusion on a folder of a few clips, 16 frames at 64x64, small enough for a CPU."""
    return Recipe(
        name="folder64-small",
        data="folder",
        size=64,
        patch=4,
        blocks=1,
        channels=(48, 96, 128),
        residual_channels=(48, 96, 128),
        attention=("none", "none", "transformer"),
        heads=2,
        temporal="residual_middle_place",
        prediction="x0",
        weighting="x0",
        residual_from_base=True,
        adaptive=0.3,
        time_logit=(1.0, 1.2),
        reach=1,
        reach_share=0.075,
        train_frames=5,
        batch_size=4,
        learning_rate=1e-3,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "moving-digits": moving_digits,
    "vdm-moving-digits": vdm_moving_digits,
    "digit-crops": digit_crops,
    "digit-images": digit_images,
    "base-digits": base_digits,
    "folder64": folder64,
    "folder64-small": folder64_small,
    "vdm-folder64": vdm_folder64,
    **PAPER_RECIPES,
}


def trained_model(name: str) -> Path | None:
    """The folder of a model, where a name is no recipe's; None for a recipe's.

    Args:
        name: of a recipe, the path of a json file, or what `load` takes.

    Raises:
        InputError: it is neither.
    """
    if name in RECIPES or name.endswith(".json"):
        return None
    try:
        return find(name)
    except InputError as error:
        raise InputError(
            f'"{name}" is neither a recipe ({", ".join(RECIPES)}, or the path of a recipe.json) nor a model: {error}'
        ) from error


def get_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name, or from the `recipe.json` of a run, with some keys changed.

    Args:
        name: a key of `RECIPES`, or the path of a json file that `Recipe.to_json` made.
        overrides: keys of `Recipe` to values, or to text as a command line gives it.

    Raises:
        InputError: unknown name or key (the message lists what there is), or a value of the wrong kind.
    """
    if name in RECIPES:
        recipe = RECIPES[name]()
    elif name.endswith(".json"):
        try:
            check_regular(name)
            values = parse_json(Path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"recipe file {name} cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise InputError(f"recipe file {name} holds no json object")
        recipe = Recipe.from_json(values)
    else:
        raise unknown("recipe", name, RECIPES, ", or a path to a recipe.json")
    return recipe.replace(overrides or {})
