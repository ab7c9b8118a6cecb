"""The recipes by name.

A recipe is a Python function that returns a `Recipe`; `get_recipe` finds it by name and applies overrides. The resolved
recipe is saved beside the weights and accepted back. A domain brings the recipes for its own clips (`domains.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from videofusion.domains import domains
from videofusion.errors import InputError, unknown
from videofusion.files import check_regular, parse_json
from videofusion.recipes.groups import (
    Batch,
    Budget,
    Clips,
    Compute,
    Diffusion,
    Log,
    Network,
    Optimizer,
    Sampling,
    Text,
)
from videofusion.recipes.image_to_video import STABLE_VIDEO
from videofusion.recipes.papers import PAPER_RECIPES
from videofusion.recipes.recipe import Recipe
from videofusion.recipes.stable_diffusion import STABLE_DIFFUSION
from videofusion.recipes.system_config import make_config


def magicvideo_folder64() -> Recipe:
    """MagicVideo on a folder of your own clips, 16 key frames at 64x64, each clip at a rate of its own."""
    return folder64().replace(
        {
            "name": "magicvideo-folder64",
            "system": "magicvideo",
            "network.temporal": "magicvideo",
            "network.channels": (64, 128, 192, 256, 256),
            "network.attention": ("none", "none", "transformer", "transformer", "transformer"),
            "clips.fps_range": (2.0, 24.0),
        }
    )


def video_ldm_folder() -> Recipe:
    """Video LDM on a folder of clips: key frames, two a second, in the latents of a Stable Diffusion 1.x folder.

    `--start.image-model SD --network.autoencoder SD --text.encoder SD` name that folder.
    """
    return Recipe(
        name="video-ldm-folder",
        system=make_config("video-ldm"),
        network=Network(temporal="video_ldm"),
        text=Text(size=768),
        diffusion=Diffusion(schedule="scaled_linear", prediction="eps", weighting="eps"),
        clips=Clips(kind="folder", frames=8, size=256, fps=2.0),
        batch=Batch(size=1, accumulation=16, workers=2),
        optimizer=Optimizer(learning_rate=1e-4),
        compute=Compute(precision="bfloat16", gradient_checkpointing=True),
        sampling=Sampling(guidance=7.5),
    )


def video_ldm_folder_x4() -> Recipe:
    """Both stages of interpolation in one model, conditioned on the rate: from 2 to 8 frames a second, and to 32."""
    return video_ldm_folder().replace(
        {"name": "video-ldm-folder-x4", "clips.frames": 5, "clips.fps": None, "clips.fps_range": (8.0, 32.0)}
        | {"system.key_frames": 4}
    )


def tune_a_video() -> Recipe:
    """Tune-A-Video: an image model learns one clip, by `--base MODEL --data CLIP --caption TEXT`."""
    return Recipe(
        name="tune-a-video",
        system=make_config("tune-a-video"),
        network=Network(temporal="tune_a_video"),
        text=Text(train=False, dropout=0.0),
        clips=Clips(kind="folder", fps=8.0, start=0.0),
        batch=Batch(size=1),
        optimizer=Optimizer(learning_rate=3e-5, schedule="constant", warmup=0, ema_decay=0.0),
        budget=Budget(steps=500),
        log=Log(sample_interval=0),
        sampling=Sampling(sampler="ddim", steps=50, guidance=12.5),
    )


def folder64() -> Recipe:
    """VideoFusion on a folder of your own clips, 16 frames at 64x64."""
    return Recipe(
        name="folder64",
        system=make_config("videofusion", residual_channels=(32, 64, 96, 128), adaptive=0.3),
        network=Network(channels=(64, 128, 192, 256), attention=("none", "none", "transformer", "transformer")),
        clips=Clips(kind="folder", size=64),
        batch=Batch(size=8, workers=2),
    )


def videofusion() -> Recipe:
    """VideoFusion on an image model that you have, by `videofusion train videofusion --base FOLDER --data CLIPS`."""
    return folder64().replace({"name": "videofusion", "log.sample_interval": 1000, "sampling.guidance": 7.5})


def videofusion_sd(name: str) -> Recipe:
    """VideoFusion on Stable Diffusion at a size, planned for one GPU; a key of `STABLE_DIFFUSION`."""
    return videofusion().replace({**STABLE_DIFFUSION[name], "name": name})


def vdm_folder64() -> Recipe:
    """The baseline on a folder of your own clips: Video Diffusion Models, 16 frames at 64x64."""
    return folder64().replace({"name": "vdm-folder64", "system": "vdm", "network.temporal": "factorised"})


def folder64_small() -> Recipe:
    """VideoFusion on a folder of a few clips, 16 frames at 64x64, small enough for a CPU."""
    return Recipe(
        name="folder64-small",
        system=make_config("videofusion", residual_channels=(48, 96, 128), residual_from_base=True, adaptive=0.3),
        network=Network(
            patch=4,
            blocks=1,
            channels=(48, 96, 128),
            attention=("none", "none", "transformer"),
            heads=2,
            temporal="residual_middle_place",
        ),
        diffusion=Diffusion(prediction="x0", weighting="x0", time_logit=(1.0, 1.2)),
        clips=Clips(kind="folder", size=64),
        batch=Batch(size=4, frames=5, reach=1, reach_share=0.075),
        optimizer=Optimizer(learning_rate=1e-3),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    **{name: recipe for domain in domains().values() for name, recipe in domain.recipes().items()},
    "video-ldm-folder": video_ldm_folder,
    "video-ldm-folder-x4": video_ldm_folder_x4,
    "tune-a-video": tune_a_video,
    "videofusion": videofusion,
    **{name: partial(videofusion_sd, name) for name in STABLE_DIFFUSION},
    "folder64": folder64,
    "folder64-small": folder64_small,
    "vdm-folder64": vdm_folder64,
    "magicvideo-folder64": magicvideo_folder64,
    **PAPER_RECIPES,
    **STABLE_VIDEO,
}


def get_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe by name, or from the `recipe.json` of a run, with some keys changed.

    Args:
        name: a key of `RECIPES`, or the path of a json file that `Recipe.to_json` made.
        overrides: dotted keys to values; see `Recipe.replace`.

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
        try:
            recipe = Recipe.from_json(values)
        except InputError as error:
            raise InputError(f"recipe file {name}: {error}") from error
    else:
        raise unknown("recipe", name, RECIPES, ", or a path to a recipe.json")
    return recipe.replace(overrides or {})
