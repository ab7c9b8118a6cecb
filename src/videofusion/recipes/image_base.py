"""A recipe on an image or video model, of others or of this library: what its folder says takes the place of keys."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from videofusion.diffusion.grids import shift_at
from videofusion.errors import InputError
from videofusion.interop.diffusers_folder import DiffusersFolder, read_folder
from videofusion.interop.unpacked import find_folder
from videofusion.recipes.own_base import on_own_model
from videofusion.recipes.recipe import Recipe
from videofusion.recipes.stable_diffusion import STABLE_DIFFUSION

LARGEST_HEAD = 64  # features of an attention head of the residual generator
REFINER_IDS = 5  # numbers that XL's refiner is told beside the text; its base model is told 6
BASE_RATE = 0.1  # of a pretrained base generator, over that of what is drawn


def on_image_model(recipe: Recipe, path: str | Path) -> Recipe:
    """A recipe whose base generator, or image network, is an image model's, with schedule, space, text and sizes.

    VideoFusion's residual generator has half of the base's channels, or those that go with a transformer's width, and
    the base a tenth of its learning rate. On a video model (ModelScope's) a plain diffusion goes on with all of its
    layers.

    Args:
        recipe: of any system.
        path: folder of a diffusers pipeline, a name on the Hub, or a model in one file; or an image model of this
            library, see `on_own_model`.

    Raises:
        InputError: no such folder, or a model that a recipe cannot have.
    """
    own = on_own_model(recipe, Path(path))
    if own is not None:
        return own
    folder = find_folder(path)
    facts = read_folder(folder)
    _check(facts, recipe)
    if facts.height != facts.width:
        raise InputError(f"{folder} makes pictures of {facts.width}x{facts.height}; a recipe's clips are square")
    keys: dict[str, Any] = {
        "start.image_model": str(folder),
        "network.autoencoder": str(folder),
        "text.encoder": str(folder),
        "text.size": sum(each.width for each in facts.text)
        if facts.transformer is None
        else facts.transformer.text_size,
        "text.train": False,
        "diffusion.schedule": _schedule(facts),
        "diffusion.prediction": facts.prediction,
        "diffusion.weighting": facts.prediction,
        "clips.kind": "folder",
        "clips.size": facts.height,
        "compute.gradient_checkpointing": True,
        "compute.precision": "bfloat16",
    }
    channels, sizes = _sizes(facts)
    keys |= sizes | ({} if facts.transformer is None else {"sampling.guidance": facts.transformer.guidance})
    if recipe.system.name != "tune-a-video":  # whose batch is its one clip
        keys |= {"batch.size": 1, "batch.accumulation": 8, "optimizer.learning_rate": 1e-4}
    if "temporal" in facts.unet:
        keys["network.temporal"] = facts.unet["temporal"]
    if recipe.system.name == "videofusion":
        keys |= {"system.base_rate_ratio": BASE_RATE, "system.residual_from_base": False}
        keys["system.residual_channels"] = channels
    return recipe.replace(keys | STABLE_DIFFUSION.get(recipe.name, {}))


def _check(facts: DiffusersFolder, recipe: Recipe) -> None:
    config = facts.folder / "unet" / "config.json"
    if "temporal" in facts.unet and recipe.system.name != "vdm":
        raise InputError(
            f"{config} is of a video model, whose layers over time the system {recipe.system.name!r} would lose; "
            "train vdm-folder64 on it, or another recipe on an image model"
        )
    if facts.beside:
        raise InputError(
            f"{config} is of a U-Net that takes {' and '.join(facts.beside)} beside the latents; expected was a model "
            "that makes pictures of text alone"
        )
    if facts.time_ids == REFINER_IDS:
        raise InputError(f"{facts.folder} is the refiner of Stable Diffusion XL; expected was its base model")
    if facts.time_ids and recipe.system.name != "videofusion":
        raise InputError(
            f"{config} is of Stable Diffusion XL, which has to be told sizes and a second text; the system "
            f"{recipe.system.name!r} has neither, expected was a model such as Stable Diffusion 1.5 or 2.1"
        )


def _schedule(facts: DiffusersFolder) -> str:
    """The schedule, with the shift of the model's own size where that follows the size."""
    if facts.transformer is None or facts.transformer.shifts is None:
        return facts.schedule
    patch = facts.transformer.patch
    shift = shift_at(
        (facts.height // facts.factor // patch) * (facts.width // facts.factor // patch), *facts.transformer.shifts
    )
    return f"rectified_flow:{shift:.4g}"


def _sizes(facts: DiffusersFolder) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Channels of the residual generator, and keys of the networks that are drawn: the levels of the image model's."""
    if facts.transformer is not None:
        return _beside_transformer(facts, facts.transformer.width)
    channels = _half(facts)
    return channels, {
        "network.channels": tuple(facts.unet["channels"]),
        "network.attention": tuple(facts.unet["attention"]),
        "network.blocks": facts.unet["blocks"],
        "network.groups": facts.unet["groups"],
        "network.head_size": min(LARGEST_HEAD, _power(math.gcd(*channels))),
    }


def _beside_transformer(facts: DiffusersFolder, width: int) -> tuple[tuple[int, ...], dict[str, Any]]:
    """A U-Net beside a transformer: an eighth, a quarter and half of its width, down to no fewer than 4 places a side.

    Whoever changes the clips' size may have to leave out a level.
    """
    levels = max(1, min(3, _power(facts.height // facts.factor).bit_length() - 2))
    groups = 32 if width >= 256 else 8
    channels = tuple(max(1, round(width / part / groups)) * groups for part in (8, 4, 2)[-levels:])
    return channels, {
        "network.channels": channels,
        "network.attention": ("none", *("transformer",) * (levels - 1)) if levels > 1 else ("transformer",),
        "network.blocks": 2,
        "network.groups": groups,
        "network.head_size": min(LARGEST_HEAD, _power(math.gcd(*channels))),
    }


def _half(facts: DiffusersFolder) -> tuple[int, ...]:
    """Half of the channels of each level, in whole groups of the norms."""
    groups = facts.unet["groups"]
    return tuple(max(1, round(width / 2 / groups)) * groups for width in facts.unet["channels"])


def _power(number: int) -> int:
    """The largest power of 2 that divides a number."""
    return number & -number
