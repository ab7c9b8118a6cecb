"""Recipes of the real systems at sizes that train in a second, and what a run leaves."""

from pathlib import Path

import pytest
import torch

from videofusion.clip import write_clip
from videofusion.recipes.system_config import find_config
from videofusion.settings import kinds
from videofusion.training import Recipe, get_recipe
from videofusion.training.checkpoints import newest


def smallest(name: str = "tiny", **changes: object) -> Recipe:
    """A recipe of the right kind with hardly any weights."""
    sizes: dict[str, object] = {
        "network.channels": (16, 16),
        "system.residual_channels": (16, 16),
        "network.attention": ("none", "transformer"),
        "network.heads": 2,
        "network.blocks": 1,
        "text.size": 16,
        "clips.size": 8,
        "network.patch": 1,
        "batch.size": 2,
        "budget.steps": 4,
        "optimizer.warmup": 1,
        "optimizer.schedule": "constant",
        "log.validation_batches": 1,
        "checkpoints.interval": 2,
        "log.validation_interval": 2,
        "log.sample_interval": 0,
    }
    return get_recipe(name, {**fitting(sizes, str(changes.get("system") or get_recipe(name).system.name)), **changes})


def fitting(keys: dict[str, object], system: str) -> dict[str, object]:
    """The keys of a recipe, without those that a system has not."""
    own = kinds(find_config(system))
    return {key: value for key, value in keys.items() if not key.startswith("system.") or key[7:] in own}


def write_waves(folder: Path, frames: int) -> None:
    """Four clips of 8x8 pixels: 0.webp to 3.webp."""
    for number in range(4):
        clip = torch.sin(torch.arange(frames * 3 * 64.0).reshape(frames, 3, 8, 8) * (0.1 + number))
        write_clip(clip, folder / f"{number}.webp", 8, {}, scale=1)


def state_of(run: Path) -> dict[str, torch.Tensor]:
    found = newest(run / "checkpoints", pytest.fail)
    kinds = ("weights", "ema", "optimizer", "random")
    return {f"{kind}/{name}": value for kind in kinds for name, value in getattr(found, kind).items()}
