"""VideoFusion on Stable Diffusion 1.x and 2.x in latents: 16 frames of 256x256 or 512x512, for `train ... --base SD`.

The image model's folder says schedule, prediction, sizes and frozen parts (`image_base.py`); here is what it does not:
the budget, and what fits a GPU of 24 GB (`--dry-run --gpu 24` counts it). All of it is chosen, nothing of it was
trained: adapters in the base generator, at the rate of what is drawn, and the residual generator trained whole.
"""

from __future__ import annotations

from typing import Any

from videofusion.errors import InputError
from videofusion.recipes.recipe import Recipe

_ALL: dict[str, Any] = {
    "start.trains": "lora",
    "start.lora_rank": 32,
    "system.base_rate_ratio": 1.0,  # adapters are drawn; a base that is trained whole wants a tenth
    "clips.frames": 16,
    "clips.fps": 8.0,
    "batch.workers": 8,
    "optimizer.learning_rate": 1e-4,
    "optimizer.schedule": "constant",
    "optimizer.warmup": 1000,
    "optimizer.ema_decay": 0.9999,
    "budget.steps": 50_000,
    "compute.precision": "bfloat16",
    "compute.gradient_checkpointing": True,
    "log.validation_interval": 1000,
    "log.sample_interval": 1000,
    "sampling.guidance": 7.5,
}

# Keys that count more than what is chosen for any image model, by the recipe's name; a step is of 32 clips.
STABLE_DIFFUSION: dict[str, dict[str, Any]] = {
    "videofusion-sd-256": {**_ALL, "clips.size": 256, "batch.size": 2, "batch.accumulation": 16},
    "videofusion-sd-512": {**_ALL, "clips.size": 512, "batch.size": 1, "batch.accumulation": 32},
}


def check_base(recipe: Recipe) -> None:
    """Raise InputError for a recipe of these that stands on no image model."""
    if recipe.name in STABLE_DIFFUSION and recipe.start.image_model is None:
        raise InputError(
            f"base is not given; the recipe {recipe.name} is for an image model such as Stable Diffusion 1.5"
        )
