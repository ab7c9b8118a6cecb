"""The plans of `videofusion compare` by name: lists of runs, and what a paper reports of each.

`compare.py` runs any of them; `paper_plans.py`, `vdm_plans.py` and `given_plans.py` have those of the papers' tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from videofusion.comparison.compare import Budget, Run
from videofusion.diffusion.kernels import KINDS
from videofusion.errors import InputError
from videofusion.recipes.catalogue import get_recipe
from videofusion.systems.decomposed import VARIANTS

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)
PAPERS_SHARE = 0.5
GUIDANCES = (1.0, 2.0)
# Networks so small that independent noise keeps a digit's place within half an hour of a core.
SMALL: dict[str, Any] = {"patch": 4, "attention": "none,transformer"}
NARROW, WIDE = "32,64", "56,88"  # channels: a wide VDM has as many parameters as two narrow generators
REACH_SHARE = 0.03  # of training, in which the frames widen from the middle one's neighbours to the whole clip
NARROW_BASE, WIDE_BASE = "base-narrow", "base-wide"
VDM, FUSION = "vdm-moving-digits", "moving-digits"
QUIET: dict[str, Any] = {"sample_interval": 0}
NEAR: dict[str, Any] = {"reach": 1, "reach_share": REACH_SHARE}  # the same course of near frames for both systems
# As VDM has them: attention at each place over time, the times that are trained at, and a rate for the image network,
# which learns from as many frames of a step too (docs/lab/2026-11-29-image-first-against-vdm.md: without).
ALIKE: dict[str, Any] = {"temporal": "residual", "time_logit": "1.5,1.5", "base_frames": "all", "base_rate_ratio": 1.0}
# trained without captions, sampled by the null condition alone; clips of two digits would be none of those asked for
UNCONDITIONAL: dict[str, Any] = {"caption_dropout": 1.0, "guidance": 0.0, "two_digits": 0.0}
UCF = "class folders with ucfTrainTestlist (docs/recipes.md)"
ONE_FRAME: dict[str, Any] = {"base_frames": "middle"}  # where a base learns nothing, or is told of the middle frame


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper says of two of a plan's systems.

    Args:
        better: the one that is said to be better.
        than: the other.
        measure: of ours, that stands beside theirs: a distance or another measure of the results (lower is better), a
            rate as "rate:digit" (higher is better), or a cost as "cost:gflops" (lower is better).
        theirs: what the paper reports, in words; its numbers where the seed still has them.
    """

    better: str
    than: str
    measure: str = "quality"
    theirs: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A named list of runs.

    Args:
        name: what `--plan` takes.
        shows: in a few words.
        runs: at the size that runs here, on moving digits; the most important ones first.
        full: at the paper's size, for one who has the data and GPUs; None where there is none.
        protocol: by which the full size is measured.
        data: that the full size trains on, in words.
        source: the table, and the seed whose text was read.
        claims: what the paper says, in its order.
        lost: what of it the seed's text has lost, or what is other here.
        pairs: of systems whose ratio of distances is told; the first is the headline.
        sweep: number by system, for a curve.
        sweep_label: of that number.
        measures: of the table, where it is not quality and consistency alone.
    """

    name: str
    shows: str
    runs: Callable[[Budget], list[Run]]
    full: Callable[[], list[Run]] | None = None
    protocol: str = ""
    data: str = ""
    source: str = ""
    claims: Sequence[Claim] = ()
    lost: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    sweep: Mapping[str, float] = field(default_factory=dict)
    sweep_label: str = ""
    measures: tuple[str, ...] = ()


def bases(budget: Budget) -> list[Run]:
    """The image models of static grey digits that runs start from: one of either width."""
    own: dict[str, Any] = {"recipe": "base-digits", "seconds": budget.base_seconds, "measured": ""}
    return [
        Run(name=NARROW_BASE, overrides={**QUIET, **SMALL, "channels": NARROW}, **own),
        Run(name=WIDE_BASE, overrides={**QUIET, **SMALL, "channels": WIDE}, **own),
    ]


def vdm_run(budget: Budget, name: str, base: str | None = WIDE_BASE, *, system: str = "", **more: Any) -> Run:
    """VDM, by default as large as VideoFusion; `more` are keys of its recipe."""
    channels = NARROW if base == NARROW_BASE else WIDE
    own = {**QUIET, **NEAR, **SMALL, "channels": channels, **more}
    return Run(name=name, recipe=VDM, overrides=own, base=base, seconds=budget.seconds, system=system)


def fusion_run(budget: Budget, name: str, base: str | None = NARROW_BASE, *, system: str = "", **more: Any) -> Run:
    """VideoFusion with a fixed share; `more` are keys of its recipe."""
    own = {**QUIET, **NEAR, **SMALL, **ALIKE, "channels": NARROW, "residual_channels": NARROW}
    own["adaptive"] = 0.0  # the share is what is compared: fixed in all of them
    own |= {} if base else {"residual_from_base": False}  # so that neither generator has seen an image model
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
    """VDM, for `each_seed`; `more` are keys of its recipe."""
    return {system: lambda b, seed: vdm_run(b, f"{system}-{seed}", system=system, seed=seed, **more)}


def full_size(*runs: tuple[str, str, dict[str, Any]]) -> Callable[[], list[Run]]:
    """Runs of the papers' recipes, as long as the recipes say: name, recipe, what differs."""
    return lambda: [Run(name=name, recipe=recipe, overrides=keys) for name, recipe, keys in runs]


def _decomposed(budget: Budget) -> list[Run]:
    """From one image model each; the pair from scratch is in the plan "systems"."""
    runs = bases(budget)
    for seed in range(budget.seeds):
        runs.append(vdm_run(budget, f"vdm-{seed}", system="vdm", seed=seed))
        runs.append(fusion_run(budget, f"videofusion-{seed}", system="videofusion", seed=seed))
    for seed in range(budget.seeds):
        # the control: the same without decomposed noise, and with the paper's share
        runs += [
            fusion_run(budget, f"share-{share:g}-{seed}", system=f"share-{share:g}", share=share, seed=seed)
            for share in (0.0, PAPERS_SHARE)
        ]
        # as much arithmetic a call, and the very checkpoint, but half the parameters
        runs.append(vdm_run(budget, f"vdm-narrow-{seed}", NARROW_BASE, system="vdm-narrow", seed=seed))
        for variant in ("published", "image-first"):
            keys = {"variant": variant, "seed": seed, **(ONE_FRAME if variant == "published" else {})}
            runs.append(fusion_run(budget, f"{variant}-{seed}", system=variant, **keys))
    shares = [share for share in SHARES if share not in (0.0, PAPERS_SHARE)]
    runs += [fusion_run(budget, f"share-{share:g}", share=share) for share in shares]
    default = get_recipe(FUSION).variant
    runs += [fusion_run(budget, each, variant=each) for each in ("joint", "corrected", "framewise") if each != default]
    runs += [
        fusion_run(budget, "no-stop-gradient", base_loss="joint"),
        fusion_run(budget, "fixed-base", base_loss="fixed", **ONE_FRAME),
        # is it the noise, or that VideoFusion's frames are told their numbers?
        vdm_run(budget, "vdm-numbered", temporal="factorised_numbered"),
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
        keys = {"variant": name, **(ONE_FRAME if name == "published" else {})}
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
        make |= vdm_system(kind, noise=kind) if kind != "shuffled" else {}
    return each_seed(budget, make)


NOISES = Plan(
    name="noises",
    shows="plain diffusion with noise that is independent or correlated over frames (PYoCo and kernels)",
    runs=_noises,
    pairs=(("mixed", "independent"), ("progressive", "independent")),
)


def plans() -> dict[str, Plan]:
    """All plans by name."""
    from studies.given_plans import GIVEN_PLANS
    from studies.paper_plans import PAPER_PLANS
    from studies.vdm_plans import VDM_PLANS

    return {plan.name: plan for plan in (DECOMPOSED, SYSTEMS, *PAPER_PLANS, *VDM_PLANS, *GIVEN_PLANS, NOISES)}


def find_plan(name: str) -> Plan:
    """The plan of a name.

    Raises:
        InputError: there is none.
    """
    known = plans()
    if name not in known:
        raise InputError(f'plan is "{name}"; allowed are {", ".join(known)}')
    return known[name]


def some_systems(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """The runs of some of a plan's systems, and those that they start from.

    Args:
        runs: of the plan.
        names: of systems in it.

    Raises:
        InputError: the plan has no system of a name.
    """
    known = dict.fromkeys(run.group for run in runs if run.measured)
    for name in names:
        if name not in known:
            raise InputError(f'the plan has no system "{name}"; it has {", ".join(known)}')
    by_name = {run.name: run for run in runs}
    needed: set[str] = set()
    waiting = [run.name for run in runs if run.measured and run.group in names]
    while waiting:
        run = by_name[waiting.pop()]
        needed.add(run.name)
        waiting += [name for name in (run.base, run.of) if name is not None]
    return [run for run in runs if run.name in needed]


def plan_list() -> str:
    """The plans, a line each."""
    known = plans()
    width = max(map(len, known))
    return "\n".join(f"{name:<{width}}  {plan.shows}" for name, plan in known.items())
