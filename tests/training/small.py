"""Recipes of the real systems at sizes that train in a second, and what a run leaves."""

from pathlib import Path

import pytest
import torch

from videofusion.clip import write_clip
from videofusion.training import Recipe, get_recipe
from videofusion.training.checkpoints import newest


def smallest(name: str = "tiny", **changes: object) -> Recipe:
    """A recipe of the right kind with hardly any weights."""
    sizes = {
        "channels": (16, 16),
        "residual_channels": (16, 16),
        "attention": ("none", "transformer"),
        "heads": 2,
        "blocks": 1,
        "text_dim": 16,
        "size": 8,
        "patch": 1,
        "batch_size": 2,
        "steps": 4,
        "warmup": 1,
        "schedule_rate": "constant",
        "validation_batches": 1,
        "checkpoint_interval": 2,
        "validation_interval": 2,
        "sample_interval": 0,
    }
    return get_recipe(name, {**sizes, **changes})


def write_waves(folder: Path, frames: int) -> None:
    """Four clips of 8x8 pixels: 0.webp to 3.webp."""
    for number in range(4):
        clip = torch.sin(torch.arange(frames * 3 * 64.0).reshape(frames, 3, 8, 8) * (0.1 + number))
        write_clip(clip, folder / f"{number}.webp", 8, {}, scale=1)


def state_of(run: Path) -> dict[str, torch.Tensor]:
    found = newest(run / "checkpoints", pytest.fail)
    kinds = ("weights", "ema", "optimizer", "random")
    return {f"{kind}/{name}": value for kind in kinds for name, value in getattr(found, kind).items()}
