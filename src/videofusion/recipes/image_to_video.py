"""The three stages of Stable Video Diffusion at its size: Stable Diffusion 2.1's network with layers over time.

Sizes are those of the published configuration. Batches, steps, rates and noise levels follow the paper as remembered
(Blattmann et al. 2023, appendix D; its text was not at hand): check them before money depends on them. Clips are square
here; the paper's are 256x384, 320x576 and 576x1024.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from videofusion.recipes.recipe import Recipe
from videofusion.recipes.system_config import make_config

_ALL: dict[str, Any] = {
    "network.temporal": "svd",
    "network.channels": (320, 640, 1280, 1280),
    "network.attention": ("transformer", "transformer", "transformer", "none"),
    "network.blocks": 2,
    "network.head_size": 64,
    "network.groups": 32,
    "text.size": 1024,  # that of OpenCLIP's ViT-H, of texts and of pictures
    "text.train": False,
    "diffusion.schedule": "edm:700",
    "diffusion.prediction": "v",
    "diffusion.weighting": "v",  # that of Karras et al. for data of unit power
    "clips.kind": "folder",
    "clips.frames": 14,
    "clips.size": 256,
    "batch.size": 1,
    "batch.workers": 8,
    "optimizer.schedule": "constant",
    "optimizer.ema_decay": 0.9999,
    "compute.precision": "bfloat16",
    "compute.gradient_checkpointing": True,
    "sampling.sampler": "ddim",
    "sampling.options": ("spacing=karras",),
}
# of each stage its noise (mean and deviation of log sigma), and what else it has of its own
_STAGES: dict[str, tuple[tuple[float, float], dict[str, Any]]] = {
    "images": (
        (-1.2, 1.0),
        {"clips.frames": 1, "batch.size": 8, "batch.accumulation": 8, "budget.steps": 31_000}
        | {"optimizer.learning_rate": 1e-4, "sampling.guidance": 7.5},
    ),
    "video": (
        (0.0, 1.0),
        {"batch.accumulation": 1536, "budget.steps": 150_000, "clips.fps_range": (2.0, 24.0)}
        | {"optimizer.learning_rate": 1e-4, "sampling.guidance": 7.5},
    ),
    "image-to-video": (
        (0.7, 1.6),
        {"clips.size": 576, "batch.accumulation": 768, "budget.steps": 50_000, "clips.fps_range": (2.0, 24.0)}
        | {"optimizer.learning_rate": 3e-5, "sampling.guidance": 3.0},
    ),
}


def stage_recipe(stage: str) -> Recipe:
    """A stage at the paper's size: "images", "video" or "image-to-video".

    `--start.model` names the run before, `--network.autoencoder`, `--text.encoder` and `--system.image-encoder` the
    folders of its frozen parts.
    """
    noise, own = _STAGES[stage]
    system = make_config("svd", stage=stage, log_sigma=noise)
    return Recipe(name=f"svd-{stage}", system=system).replace({**_ALL, **own})


STABLE_VIDEO: dict[str, Callable[[], Recipe]] = {f"svd-{stage}": partial(stage_recipe, stage) for stage in _STAGES}
