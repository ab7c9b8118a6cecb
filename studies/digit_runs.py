"""Runs of the papers' plans at the size that runs here, on moving digits; and of the papers' recipes at full size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from videofusion.comparison.compare import Budget, Run

# Networks so small that independent noise keeps a digit's place within half an hour of a core.
SMALL: dict[str, Any] = {"network.patch": 4, "network.attention": "none,transformer"}
NARROW, WIDE = "32,64", "56,88"  # channels: a wide VDM has as many parameters as two narrow generators
REACH_SHARE = 0.03  # of training, in which the frames widen from the middle one's neighbours to the whole clip
NARROW_BASE, WIDE_BASE = "base-narrow", "base-wide"
VDM, FUSION, MAGICVIDEO = "vdm-moving-digits", "moving-digits", "magicvideo-moving-digits"
QUIET: dict[str, Any] = {"log.sample_interval": 0}
NEAR: dict[str, Any] = {
    "batch.reach": 1,
    "batch.reach_share": REACH_SHARE,
}  # the same course of near frames for both systems
# As VDM has them: attention at each place over time, the times that are trained at, and a rate for the image network,
# which learns from as many frames of a step too (docs/lab/2026-11-29-image-first-against-vdm.md: without).
ALIKE: dict[str, Any] = {
    "network.temporal": "residual",
    "diffusion.time_logit": "1.5,1.5",
    "system.base_frames": "all",
    "system.base_rate_ratio": 1.0,
}
# trained without captions, sampled by the null condition alone; clips of two digits would be none of those asked for
UNCONDITIONAL: dict[str, Any] = {"text.dropout": 1.0, "sampling.guidance": 0.0, "clips.two_digits": 0.0}
UCF = "class folders with ucfTrainTestlist (docs/recipes.md)"
ONE_FRAME: dict[str, Any] = {
    "system.base_frames": "middle"
}  # where a base learns nothing, or is told of the middle frame


def bases(budget: Budget) -> list[Run]:
    """The image models of static grey digits that runs start from: one of either width."""
    own: dict[str, Any] = {"recipe": "base-digits", "seconds": budget.base_seconds, "measured": ""}
    return [
        Run(name=NARROW_BASE, overrides={**QUIET, **SMALL, "network.channels": NARROW}, **own),
        Run(name=WIDE_BASE, overrides={**QUIET, **SMALL, "network.channels": WIDE}, **own),
    ]


def vdm_run(budget: Budget, name: str, base: str | None = WIDE_BASE, *, system: str = "", **more: Any) -> Run:
    """VDM, by default as large as VideoFusion; `more` are its recipe's dotted keys."""
    channels = NARROW if base == NARROW_BASE else WIDE
    own = {**QUIET, **NEAR, **SMALL, "network.channels": channels, **more}
    return Run(name=name, recipe=VDM, overrides=own, base=base, seconds=budget.seconds, system=system)


def fusion_run(budget: Budget, name: str, base: str | None = NARROW_BASE, *, system: str = "", **more: Any) -> Run:
    """VideoFusion with a fixed share; `more` are its recipe's dotted keys."""
    own = {**QUIET, **NEAR, **SMALL, **ALIKE, "network.channels": NARROW, "system.residual_channels": NARROW}
    own["system.adaptive"] = 0.0  # the share is what is compared: fixed in all of them
    own |= {} if base else {"system.residual_from_base": False}  # so that neither generator has seen an image model
    own |= more
    return Run(name=name, recipe=FUSION, overrides=own, base=base, seconds=budget.seconds, system=system)


Make = Callable[[Budget, int], Run]


def each_seed(budget: Budget, make: dict[str, Make]) -> list[Run]:
    """The bases, and each system at each seed."""
    runs = bases(budget)
    runs += [one(budget, seed) for seed in range(budget.seeds) for one in make.values()]
    needed = {run.base for run in runs}
    return [run for run in runs if run.measured or run.name in needed]


def vdm_system(system: str, **more: Any) -> dict[str, Make]:
    """VDM, for `each_seed`; `more` are its recipe's dotted keys."""
    return {system: lambda b, seed: vdm_run(b, f"{system}-{seed}", system=system, seed=seed, **more)}


def full_size(*runs: tuple[str, str, dict[str, Any]]) -> Callable[[], list[Run]]:
    """Runs of the papers' recipes, as long as the recipes say: name, recipe, what differs."""
    return lambda: [Run(name=name, recipe=recipe, overrides=keys) for name, recipe, keys in runs]
