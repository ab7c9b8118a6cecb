"""Plans of VideoFusion's noise: against independent noise, its variants and ablations, and other kinds of noise."""

from __future__ import annotations

from typing import Any

from studies.digit_runs import (
    FUSION,
    NARROW_BASE,
    ONE_FRAME,
    Make,
    bases,
    each_seed,
    fusion_run,
    vdm_run,
    vdm_system,
)
from videofusion.comparison.compare import Budget, Run
from videofusion.comparison.plan import Plan
from videofusion.diffusion.kernels import KINDS
from videofusion.recipes.catalogue import get_recipe
from videofusion.systems.decomposed import VARIANTS

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
PAPERS_SHARE = 0.5
GUIDANCES = (1.0, 2.0)


def _share(share: float) -> dict[str, Any]:
    return {"system.share": share}


def _decomposed(budget: Budget) -> list[Run]:
    """From one image model each; the pair from scratch is in the plan "systems"."""
    runs = bases(budget)
    for seed in range(budget.seeds):
        runs.append(vdm_run(budget, f"vdm-{seed}", system="vdm", seed=seed))
        runs.append(fusion_run(budget, f"videofusion-{seed}", system="videofusion", seed=seed))
    for seed in range(budget.seeds):
        # the control: the same without decomposed noise, and with the paper's share
        runs += [
            fusion_run(budget, f"share-{share:g}-{seed}", system=f"share-{share:g}", seed=seed, **_share(share))
            for share in (0.0, PAPERS_SHARE)
        ]
        # as much arithmetic a call, and the very checkpoint, but half the parameters
        runs.append(vdm_run(budget, f"vdm-narrow-{seed}", NARROW_BASE, system="vdm-narrow", seed=seed))
        for variant in ("published", "image-first"):
            keys = {"system.variant": variant, "seed": seed, **(ONE_FRAME if variant == "published" else {})}
            runs.append(fusion_run(budget, f"{variant}-{seed}", system=variant, **keys))
    shares = [share for share in SHARES if share not in (0.0, PAPERS_SHARE)]
    runs += [fusion_run(budget, f"share-{share:g}", **_share(share)) for share in shares]
    default = get_recipe(FUSION).dotted()["system.variant"]
    runs += [
        fusion_run(budget, each, **{"system.variant": each})
        for each in ("joint", "corrected", "framewise")
        if each != default
    ]
    runs += [
        fusion_run(budget, "no-stop-gradient", **{"system.base_loss": "joint"}),
        fusion_run(budget, "fixed-base", **{"system.base_loss": "fixed", **ONE_FRAME}),
        # is it the noise, or that VideoFusion's frames are told their numbers?
        vdm_run(budget, "vdm-numbered", **{"network.temporal": "factorised_numbered"}),
    ]
    for scale in GUIDANCES:  # the models of every seed again, guided less than the recipes have it
        for system in ("vdm", "videofusion", "share-0", "vdm-narrow"):
            name = f"{system}-guidance-{scale:g}"
            runs += [
                Run(name=f"{name}-{seed}", system=name, of=f"{system}-{seed}", sampling={"guidance": scale})
                for seed in range(budget.seeds)
            ]
    return runs


DECOMPOSED = Plan(
    name="decomposed",
    shows="decomposed against independent noise, with VideoFusion's variants and ablations",
    runs=_decomposed,
    pairs=(
        ("videofusion", "vdm"),
        ("videofusion", "vdm-narrow"),
        ("videofusion", "share-0"),  # is it the noise?
        ("videofusion", f"share-{PAPERS_SHARE:g}"),
        ("videofusion", "published"),
        ("videofusion", "image-first"),
        ("videofusion-guidance-1", "vdm-guidance-1"),
        ("videofusion-guidance-1", "share-0-guidance-1"),
        ("videofusion-guidance-1", "vdm-narrow-guidance-1"),
        ("videofusion-guidance-2", "vdm-guidance-2"),
        ("videofusion-guidance-2", "share-0-guidance-2"),
        ("videofusion-guidance-2", "vdm-narrow-guidance-2"),
    ),
    sweep={f"share-{share:g}": share for share in SHARES},
    sweep_label="share λ of frames other than the middle one",
)


def _systems(budget: Budget) -> list[Run]:
    """VDM and VideoFusion's variants at each seed, from scratch."""
    make: dict[str, Make] = vdm_system("vdm", base=None)

    def variant(name: str) -> Make:
        keys = {"system.variant": name, **(ONE_FRAME if name == "published" else {})}
        return lambda b, seed: fusion_run(b, f"{name}-{seed}", None, system=name, seed=seed, **keys)

    return each_seed(budget, make | {name: variant(name) for name in VARIANTS})


SYSTEMS = Plan(
    name="systems",
    shows="VDM and VideoFusion's variants at every seed, from scratch",
    runs=_systems,
    pairs=(("joint", "vdm"), ("corrected", "vdm"), ("image-first", "vdm")),
)


def _noises(budget: Budget) -> list[Run]:
    """VDM with noise of each kind; shuffled noise is independent within a clip of a model's own length."""
    make: dict[str, Make] = vdm_system("independent")
    for kind in KINDS:
        make |= vdm_system(kind, **{"system.noise": kind}) if kind != "shuffled" else {}
    return each_seed(budget, make)


NOISES = Plan(
    name="noises",
    shows="plain diffusion with noise that is independent or correlated over frames (PYoCo and kernels)",
    runs=_noises,
    pairs=(("mixed", "independent"), ("progressive", "independent")),
)
