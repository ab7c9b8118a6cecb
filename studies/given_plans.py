"""Plans of the papers' tables in which frames are given: prediction, and videos that go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from studies.digit_runs import NARROW_BASE, UNCONDITIONAL, WIDE_BASE, bases, fusion_run, vdm_run
from studies.paper_plans import PUBLISHED
from videofusion.comparison.compare import Budget, Run
from videofusion.comparison.plan import Claim, Plan

WEIGHT = 2.0  # of reconstruction guidance; VDM says "above 1", not what its tables have
GUIDANCE_WEIGHTS = (2.0, 5.0)  # of text; VDM's w is our scale less 1
LONGER, LONGEST = 30, 51  # frames of videos that go on for 2 and for 5 windows
_METHODS = {"reconstruction": WEIGHT, "replacement": 0.0}


def _only(budget: Budget, *names: str) -> list[Run]:
    return [run for run in bases(budget) if run.name in names]


def _both(budget: Budget, given: int, *, factor: int = 1) -> dict[str, dict[str, Any]]:
    """Both samplers with as many calls of the network; `factor` as many as the budget has."""
    steps, own = factor * max(budget.steps), {"given": given, "weight": WEIGHT}
    return {
        "ancestral": {**own, "sampler": "ddpm", "steps": 2 * steps},
        "langevin": {**own, "sampler": "langevin", "steps": steps},
    }


def _prediction(budget: Budget, given: int) -> list[Run]:
    """One VDM for each seed, its clips made from a real clip's first frames by each sampler."""
    runs, both = _only(budget, WIDE_BASE), _both(budget, given)
    for seed in range(budget.seeds):
        trained = vdm_run(budget, f"vdm-{seed}", system="ancestral", seed=seed, **UNCONDITIONAL)
        runs.append(replace(trained, sampling=both["ancestral"]))
        runs.append(Run(name=f"langevin-{seed}", system="langevin", of=trained.name, sampling=both["langevin"]))
    return runs


def _prediction_full(recipe: str, given: int, steps: int) -> list[Run]:
    both = _both(Budget(steps=(steps,)), given)
    return [
        Run(name="ancestral", recipe=recipe, sampling=both["ancestral"]),
        Run(name="langevin", of="ancestral", sampling=both["langevin"]),
    ]


def _going_on(of: str, frames: int, suffix: str = "") -> list[Run]:
    """A model's videos by either method, at each weight of the text's guidance."""
    return [
        Run(
            name=f"{method}-{weight:g}{suffix}",
            system=f"{method}-{weight:g}",
            of=of,
            sampling={"guidance": 1.0 + weight, "frames": frames, "weight": strength},
        )
        for weight in GUIDANCE_WEIGHTS
        for method, strength in _METHODS.items()
    ]


def _extension(budget: Budget) -> list[Run]:
    runs = _only(budget, WIDE_BASE)
    for seed in range(budget.seeds):
        trained = vdm_run(budget, f"vdm-{seed}", system="vdm", seed=seed)
        runs += [trained, *_going_on(trained.name, LONGER, f"-{seed}")]
    return runs


def _figure_6(budget: Budget) -> list[Run]:
    """Clips of either system and the ends of longer videos; VideoFusion's with one base noise, and with new ones."""
    runs = _only(budget, NARROW_BASE, WIDE_BASE)
    for seed in range(budget.seeds):
        own = {"system": "videofusion", "seed": seed, **PUBLISHED, **UNCONDITIONAL}
        fusion = fusion_run(budget, f"videofusion-{seed}", **own)
        vdm = vdm_run(budget, f"vdm-{seed}", system="vdm", seed=seed, **UNCONDITIONAL)
        runs += [fusion, vdm]
        for name, of, held in (("held", fusion, True), ("fresh", fusion, False), ("vdm-longer", vdm, True)):
            longer = {"frames": LONGEST, "held": held}
            runs.append(Run(name=f"{name}-{seed}", system=name, of=of.name, sampling=longer))
    return runs


_SAMPLERS: dict[str, tuple[int, int, str, str]] = {
    # given frames, steps of the Langevin sampler, what the paper reports, the data
    "bair": (1, 256, "FVD 66.92 (256 steps) against 68.19 (512 steps)", "folders of frames of BAIR robot pushing"),
    "k600": (5, 128, "FVD 16.2 ± 0.34 (128 steps) against 18.6 (256 steps)", "a table of Kinetics-600"),
}
_RECIPES = {"bair": "vdm-bair", "k600": "vdm-kinetics600"}


def _prediction_plan(name: str) -> Plan:
    given, steps, said, data = _SAMPLERS[name]
    runs: Callable[[Budget], list[Run]] = partial(_prediction, given=given)
    scores = [Claim(better="langevin", than="ancestral", measure="rate:digit", theirs="IS 15.54 against 15.39")]
    return Plan(
        name=f"vdm-prediction-{name}",
        shows=f"VDM, {given} frame{'s' if given > 1 else ''} given and the rest predicted, by either sampler",
        runs=runs,
        full=partial(_prediction_full, _RECIPES[name], given, steps),
        protocol=f"vdm-{name}",
        data=f"{data} (docs/recipes.md)",
        source="Video Diffusion Models, its tables of video prediction",
        claims=(
            Claim(better="langevin", than="ancestral", measure="consistency", theirs=said),
            *(scores if name == "k600" else ()),
        ),
        lost="the other methods of the table are not in this library; the paper does not give the weight of "
        f"reconstruction guidance, here it is {WEIGHT:g}. Digit and colour are right if they are the given "
        "frame's; the model ignores the prompt",
    )


def _claims() -> tuple[Claim, ...]:
    said = {
        2.0: ("FVD 136.22 against 451.45", "FID-avg 13.77 against 25.95", "IS-avg 10.30 against 7.00"),
        5.0: ("FVD 133.92 against 456.24", "FID-avg 13.59 against 26.05", "IS-avg 10.31 against 7.04"),
    }
    measures = ("consistency", "quality", "rate:digit")
    return tuple(
        Claim(better=f"reconstruction-{weight:g}", than=f"replacement-{weight:g}", measure=measure, theirs=theirs)
        for weight, numbers in said.items()
        for measure, theirs in zip(measures, numbers, strict=True)
    )


GIVEN_PLANS: tuple[Plan, ...] = (
    _prediction_plan("bair"),
    _prediction_plan("k600"),
    Plan(
        name="vdm-extension",
        shows="VDM's videos that go on, by reconstruction guidance and by replacement, one model",
        runs=_extension,
        full=lambda: [Run(name="vdm", recipe="vdm-webvid"), *_going_on("vdm", 64)],
        protocol="vdm-text",
        data="results_10M_train.csv of WebVid (docs/recipes.md); VDM's own captioned videos are not public",
        source="Video Diffusion Models, its table of autoregressive extension",
        claims=_claims(),
        lost="the paper says neither how long the videos are nor how many frames of a window are given (here 9 of 16, "
        f"{LONGER} frames, at full size 64), nor the weight of reconstruction guidance (here {WEIGHT:g}). Measured is "
        "the end of each video, as long as a clip. Of each pair of numbers the first is quoted",
    ),
    Plan(
        name="videofusion-figure-6",
        shows="videos that go on by replacement: VideoFusion with one base noise and with new ones, and VDM",
        runs=_figure_6,
        source="VideoFusion, section 4.6, figure 6",
        claims=(
            *(
                Claim(
                    better="held",
                    than="fresh",
                    measure=measure,
                    theirs="incoherence may be largely alleviated, since the base noise can be kept fixed",
                )
                for measure in ("quality", "consistency")
            ),
            Claim(
                better="held",
                than="vdm-longer",
                measure="consistency",
                theirs="quality and coherence can be well-kept; before, it often fails to keep the content",
            ),
        ),
        lost=f"the figure is pictures; there 512 frames, here {LONGEST}, measured at their ends",
    ),
)
