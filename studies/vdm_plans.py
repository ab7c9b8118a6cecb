"""VDM's tables of generation and training, MagicVideo's ablation and a survey's claim on parameterization, as plans."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from studies.digit_runs import (
    MAGICVIDEO,
    NARROW_BASE,
    NEAR,
    QUIET,
    SMALL,
    UCF,
    UNCONDITIONAL,
    WIDE,
    WIDE_BASE,
    Make,
    bases,
    each_seed,
    full_size,
    vdm_run,
    vdm_system,
)
from videofusion.comparison.compare import Budget, Run
from videofusion.comparison.plan import Claim, Plan

GUIDANCE_WEIGHTS = (1.0, 2.0, 5.0)
IMAGE_FRAMES = (0, 4, 8)


def _guidance(budget: Budget) -> list[Run]:
    """One VDM for each seed, its clips made with each weight; VDM's w is our scale less 1."""
    runs = [run for run in bases(budget) if run.name != NARROW_BASE]
    for seed in range(budget.seeds):
        trained = vdm_run(budget, f"vdm-{seed}", system="no guidance", seed=seed)
        runs.append(replace(trained, sampling={"guidance": 1.0}))
        for weight in GUIDANCE_WEIGHTS:
            name = f"weight-{weight:g}"
            runs.append(Run(name=f"{name}-{seed}", system=name, of=trained.name, sampling={"guidance": 1.0 + weight}))
    return runs


def _guidance_full() -> list[Run]:
    runs = [Run(name="vdm", recipe="vdm-webvid", sampling={"guidance": 1.0})]
    for weight in GUIDANCE_WEIGHTS:
        runs.append(Run(name=f"weight-{weight:g}", of="vdm", sampling={"guidance": 1.0 + weight}))
    return runs


# Both predictions on one schedule that ends with some signal, where eps still says something of the clip. "eps" and "v"
# have the loss that belongs to each; the third has v's output under the loss of eps.
_PREDICTIONS: dict[str, dict[str, Any]] = {
    "eps": {"diffusion.prediction": "eps", "diffusion.weighting": "eps"},
    "v": {"diffusion.prediction": "v", "diffusion.weighting": "v"},
    "v-eps-loss": {"diffusion.prediction": "v", "diffusion.weighting": "eps"},
}


def _colour(budget: Budget) -> list[Run]:
    systems: dict[str, Make] = {}
    for name, keys in _PREDICTIONS.items():
        systems |= vdm_system(name, **{"diffusion.schedule": "linear", **keys})
    return each_seed(budget, systems)


def _joint(budget: Budget) -> list[Run]:
    systems: dict[str, Make] = {}
    for count in IMAGE_FRAMES:
        systems |= vdm_system(f"images-{count}", **{"system.image_frames": count})
    return each_seed(budget, systems)


def _joint_claims() -> tuple[Claim, ...]:
    reported = {
        0: ("FVD 202.28", "FID-avg 37.52", "IS-avg 7.91"),
        4: ("FVD 68.11", "FID-avg 18.62", "IS-avg 9.02"),
        8: ("FVD 57.84", "FID-avg 15.57", "IS-avg 9.32"),
    }
    return tuple(
        Claim(better=f"images-{more}", than=f"images-{less}", measure=measure, theirs=f"{one} against {other}")
        for less, more in pairwise(IMAGE_FRAMES)
        for measure, one, other in zip(
            ("consistency", "quality", "rate:digit"),
            reported[more],
            (n.split()[-1] for n in reported[less]),
            strict=True,
        )
    )


# What MagicVideo has for frames, and either of its two parts taken away.
_ROWS = {
    "magicvideo": "magicvideo",
    "bidirectional": "magicvideo_bidirectional",
    "no-adaptor": "magicvideo_no_adaptor",
}
_FRAMES = {"network.temporal": "magicvideo", "system.stage": "frames"}


def _magicvideo_run(budget: Budget, name: str, base: str = WIDE_BASE, *, system: str = "", **more: Any) -> Run:
    """MagicVideo, in an image model as wide as VDM's, whose attention stands where that model's does."""
    own = {**QUIET, **NEAR, **SMALL, "network.channels": WIDE, **more}
    return Run(name=name, recipe=MAGICVIDEO, overrides=own, base=base, seconds=budget.seconds, system=system)


def _magicvideo(budget: Budget) -> list[Run]:
    """Each design at each seed; and the first with half of its seconds spent on clips without captions, before."""
    runs = [run for run in bases(budget) if run.name == WIDE_BASE]
    for seed in range(budget.seeds):
        runs += [
            _magicvideo_run(budget, f"{name}-{seed}", system=name, seed=seed, **{"network.temporal": row})
            for name, row in _ROWS.items()
        ]
        first = _magicvideo_run(budget, f"frames-{seed}", seed=seed, **_FRAMES)
        runs.append(replace(first, seconds=budget.seconds / 2, measured=""))
        then = _magicvideo_run(budget, f"pretrained-{seed}", first.name, system="pretrained", seed=seed)
        runs.append(replace(then, seconds=budget.seconds / 2, start="start.model"))
    return runs


def _magicvideo_full() -> list[Run]:
    own = {"system": "magicvideo", "network.temporal": "magicvideo"}
    runs = full_size(*((name, "vdm-webvid", {**own, "network.temporal": row}) for name, row in _ROWS.items()))()
    first = Run(name="frames", recipe="vdm-webvid", overrides={**own, **_FRAMES}, measured="")
    then = Run(name="pretrained", recipe="vdm-webvid", overrides=own, base=first.name, start="start.model")
    return [*runs, first, then]


VDM_PLANS: tuple[Plan, ...] = (
    Plan(
        name="vdm-unconditional",
        shows="VDM, unconditional, beside the distance that real clips have",
        runs=partial(each_seed, make=vdm_system("vdm", **UNCONDITIONAL)),
        full=full_size(("vdm", "vdm-ucf101", {})),
        protocol="vdm-ucf101",
        data=UCF,
        source="Video Diffusion Models, its table of unconditional generation on UCF101",
        claims=(Claim(better="real clips", than="vdm", theirs="FID 295 ± 3, IS 57 ± 0.62; IS of real data 68.12"),),
        lost="the other methods of the table are not in this library",
    ),
    Plan(
        name="vdm-guidance",
        shows="VDM's clips at several weights of guidance, one model",
        runs=_guidance,
        full=_guidance_full,
        protocol="vdm-text",
        data="results_10M_train.csv of WebVid (docs/recipes.md); VDM's own captioned videos are not public",
        source="Video Diffusion Models, its table of guidance weights, frame skip 1",
        claims=(
            Claim(better="weight-2", than="weight-1", theirs="FID-avg 10.53 against 12.49"),
            Claim(better="weight-2", than="weight-5", theirs="FID-avg 10.53 against 13.54"),
            Claim(better="weight-1", than="weight-2", measure="consistency", theirs="FVD 41.65 against 50.19"),
            Claim(better="weight-2", than="weight-5", measure="consistency", theirs="FVD 50.19 against 163.74"),
            Claim(better="weight-2", than="weight-1", measure="rate:digit", theirs="IS-avg 13.22 against 10.80"),
            Claim(better="weight-5", than="weight-2", measure="rate:digit", theirs="IS-avg 14.80 against 13.22"),
        ),
        lost="the rows of frame skip 4 have no counterpart in moving digits; of each pair of numbers, against the "
        "training and the validation set, the first is quoted. A weight w is our scale 1 + w, as the paper's formula "
        "has it; the paper does not say whether the table's 1.0 means that",
    ),
    Plan(
        name="colour-shift",
        shows="VDM predicting eps or v: whether the clips' colours are shifted",
        runs=_colour,
        full=full_size(
            *((name, "vdm-ucf101", {"diffusion.schedule": "linear", **keys}) for name, keys in _PREDICTIONS.items())
        ),
        protocol="videofusion-ucf101-64",
        data=UCF,
        source="Diffusion Models for Video Generation, parameterization",
        claims=tuple(
            Claim(
                better="v",
                than="eps",
                measure=measure,
                theirs="v-prediction has been shown to help avoid colour shift, compared to eps",
            )
            for measure in ("colour_shift", "colour_drift")
        ),
        lost="the survey has no numbers; at full size no protocol measures colours, so only the distances are compared",
        measures=("quality", "consistency", "colour_shift", "colour_drift"),
    ),
    Plan(
        name="vdm-joint-training",
        shows="VDM trained on clips alone, and with 4 and 8 pictures beside each",
        runs=_joint,
        full=full_size(*((f"images-{count}", "vdm-webvid", {"system.image_frames": count}) for count in IMAGE_FRAMES)),
        protocol="vdm-text",
        data="results_10M_train.csv of WebVid (docs/recipes.md); VDM's own captioned videos are not public",
        source="Video Diffusion Models, its table of joint training on videos and images",
        claims=_joint_claims(),
        lost="VDM trains each for as many steps; here it is as many seconds, in which pictures leave time for fewer "
        "clips. Pictures are single frames of other clips. Of each pair of numbers the first is quoted",
    ),
    Plan(
        name="magicvideo-ablation",
        shows="MagicVideo without its directed attention or adaptor, and with training without captions before",
        runs=_magicvideo,
        full=_magicvideo_full,
        protocol="vdm-text",
        data="results_10M_train.csv of WebVid (docs/recipes.md); MagicVideo takes 50,000 of its videos at random",
        source="MagicVideo, its ablation (experiments, figure 7)",
        claims=tuple(
            Claim(better=better, than=than, measure=measure, theirs=says)
            for better, than, says in (
                ("magicvideo", "bidirectional", "directed attention can substantially reduce the FVD"),
                ("magicvideo", "no-adaptor", "the adaptor not only saves computation but also benefits the quality"),
                ("pretrained", "magicvideo", "training on embeddings of frames before reduces the FVD by around 60"),
            )
            for measure in ("consistency", "quality")
        ),
        lost="the figure is a picture, its numbers are not in the text. Not here: its latents; and here "
        "the adaptor's scale and shift are made from a frame's number, so that they cost next to nothing but replace "
        "no convolution. "
        "Training on embeddings of frames takes half of the run's seconds here (at full size it comes on top, as in "
        "the paper), and the embeddings are of an encoder that learns with the network, not CLIP's",
    ),
)
