"""Recipes of papers' systems on papers' data sets: each joined from rows of tables for its system, data and budget.

VideoFusion (Luo et al. 2023): clips of 16 x 64 x 64, λ = 0.5, the loss (14) with its stop-gradient, T = 1000, networks
of 2.00 and 0.59 billion parameters for WebVid, "relative smaller models" for the rest. Its tables 8 and 9, which have
the sizes, are not in the text that this project was made from, nor is anything said there of batches, rates and steps.
Video Diffusion Models (Ho et al. 2022): its appendix lists all of it for UCF101, BAIR, Kinetics-600 and its own text
data. What is marked "chosen" is in neither. docs/recipes.md has the table, and what differs from the papers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from videofusion.recipes.recipe import Recipe
from videofusion.recipes.system_config import find_config

# trained without captions and sampled without, by the null condition alone; where the data have no captions, sample
# grids show four clips of a word that the model ignores
_UNCONDITIONAL: dict[str, Any] = {"text.dropout": 1.0, "sampling.guidance": 0.0}
_NO_CAPTIONS: dict[str, Any] = {**_UNCONDITIONAL, "sampling.prompts": ("clip",) * 4}

# chosen: how often a run looks, and how it starts
_RUN: dict[str, Any] = {
    "clips.kind": "folder",
    "clips.frames": 16,
    "clips.size": 64,
    "network.attention": ("none", "plain", "plain", "plain"),  # VDM: at 32, 16 and 8; VideoFusion's is not known
    "network.groups": 32,
    "compute.precision": "bfloat16",
    "batch.workers": 8,
    "optimizer.schedule": "constant",
    "optimizer.warmup": 1000,
    "optimizer.ema_decay": 0.9999,  # VDM's, but for BAIR
    "optimizer.weight_decay": 0.0,  # VDM's, but for BAIR
    "diffusion.weighting": "eps",  # VideoFusion, eq. (14); VDM, where it predicts eps
    "log.interval": 50,
    "log.validation_interval": 1000,
    "checkpoints.interval": 1000,
    "log.sample_interval": 5000,
}

_SYSTEMS: dict[str, dict[str, Any]] = {
    "videofusion": {
        "system.variant": "published",
        "system.share": 0.5,
        "network.temporal": "residual",
        "diffusion.schedule": "linear",  # the betas of Ho et al. 2020, T = 1000
        "diffusion.prediction": "eps",
        "network.channels": (192, 384, 576, 768),  # chosen, as are those below: 0.28 billion parameters
        "system.residual_channels": (96, 192, 288, 384),  # 0.08 billion, about the proportion of the large ones
        "network.blocks": 3,
        "network.head_size": 32,
        "text.size": 512,
        "batch.size": 8,
    },
    # v has the same minimum as eps under the loss of eps, and says something at no signal too, where our cosine ends;
    # VDM's ends at a log-SNR of -20, and its sampler clips the clean clip at each step, which ours does not
    "vdm": {
        "network.temporal": "factorised",
        "diffusion.schedule": "cosine",
        "diffusion.prediction": "v",
        "network.channels": (256, 512, 1024, 2048),
        "network.blocks": 2,
        "network.head_size": 64,
        "text.size": 128,
        "batch.size": 4,
    },
}

# How the data are read. Which part is held out for tests is the data's own business (docs/data.md).
_DATA: dict[str, dict[str, Any]] = {
    "ucf101": {"clips.layout": "folder", "clips.fold": 1, **_UNCONDITIONAL},
    "ucf101-classes": {"clips.layout": "folder", "clips.fold": 1},  # the classes' names are the captions
    "sky": {"clips.layout": "frames", **_NO_CAPTIONS},
    "taichi": {
        "clips.layout": "frames",
        "clips.stride": 4,
        **_NO_CAPTIONS,
    },  # chosen: as the protocol videofusion-taichi
    "webvid": {"clips.layout": "table"},
    "bair": {"clips.layout": "frames", **_NO_CAPTIONS},
    "kinetics600": {"clips.layout": "table", **_UNCONDITIONAL},
    # 81 videos: chosen, 9 clips of each an epoch
    "weizmann": {"clips.layout": "folder", "clips.per_video": 9, **_UNCONDITIONAL},
}

# VDM's optimisation of each data set; both systems have it, so that they can be compared. Where VDM has none: UCF101's.
_UCF101: dict[str, Any] = {"clips": 128, "budget.steps": 60_000, "optimizer.learning_rate": 3e-4}
_BUDGETS: dict[str, dict[str, Any]] = {
    "ucf101": _UCF101,
    "ucf101-classes": _UCF101,
    "sky": _UCF101,
    "taichi": _UCF101,
    "webvid": {
        "clips": 128,
        "budget.steps": 700_000,
        "optimizer.learning_rate": 3e-4,
    },  # of its large text-to-video model
    "bair": {
        "clips": 128,
        "budget.steps": 660_000,
        "optimizer.learning_rate": 2e-4,
        "optimizer.weight_decay": 0.01,
        "optimizer.ema_decay": 0.999,
        "clips.flip": True,
    },
    "kinetics600": {"clips": 256, "budget.steps": 220_000, "optimizer.learning_rate": 2e-4},
    "weizmann": {**_UCF101, "budget.steps": 20_000},  # chosen
}

# What a single row has of its own.
_ROWS: dict[tuple[str, str], dict[str, Any]] = {
    ("videofusion", "webvid"): {
        "network.channels": (512, 1024, 1536, 2048),  # 1.98 billion parameters; the paper's 2.00
        "system.residual_channels": (256, 512, 832, 1024),  # 0.59 billion
        "network.head_size": 64,
        "text.size": 768,  # that of CLIP's embeddings
        "clips.fps": 8.0,  # chosen: two seconds
        "batch.size": 1,
    },
    ("videofusion", "weizmann"): {"system.share": 0.9, "system.grouped": True},  # sec. 4.7
    ("vdm", "webvid"): {"text.size": 1024, "clips.strides": (1, 4)},  # BERT-large's; frame skips 1 and 4
    ("vdm", "bair"): {
        "network.channels": (128, 256, 384, 512),
        "network.blocks": 3,
        "diffusion.weighting": "v",
        "batch.size": 8,
    },
    ("vdm", "kinetics600"): {"diffusion.weighting": "v"},
}


def paper_recipe(system: str, data: str) -> Recipe:
    """A paper's system on a data set at its settings.

    Args:
        system: "videofusion" or "vdm".
        data: a data set of the table, such as "ucf101".
    """
    budget = dict(_BUDGETS[data])
    clips = budget.pop("clips")
    keys = {**_RUN, **_SYSTEMS[system], **_DATA[data], **budget, **_ROWS.get((system, data), {})}
    # a batch is the paper's; how many micro-batches it takes is memory's business
    keys["batch.accumulation"] = clips // keys["batch.size"]
    return Recipe(name=f"{system}-{data}", system=find_config(system)()).replace(keys)


PAPER_RECIPES: dict[str, Callable[[], Recipe]] = {
    f"{system}-{data}": partial(paper_recipe, system, data) for system in _SYSTEMS for data in _DATA
}
