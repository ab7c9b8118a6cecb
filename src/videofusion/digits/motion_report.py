"""Content and motion apart: `python -m tools.digits_motion`.

Same content seed and new motion seed must keep the digit and change its course, and the knob
`motion` must move it the farther the higher it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from videofusion.digits import protocol
from videofusion.digits.drawing import images_of
from videofusion.digits.judge import WEIGHTS, Findings, Judge
from videofusion.digits.moving_digits import GROUNDS, MovingDigits, evaluation_prompts
from videofusion.digits.spec import COLOURS
from videofusion.digits.tracker import SIZE
from videofusion.digits.words import DIGIT_WORDS
from videofusion.errors import InputError
from videofusion.evaluation import making
from videofusion.evaluation.making import Pipe, Sampling
from videofusion.evaluation.metrics.diversity import ratio_of_means
from videofusion.evaluation.metrics.proportions import Rate
from videofusion.evaluation.record import checksum, markdown_table

_MOST = 0.75  # of the frames must show the digit
WANTED = {"keeps": 0.9, "other course, over random pairs": 0.8, "Spearman": 0.9}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is measured.

    Args:
        pairs: pairs of clips with one content seed and two motion seeds.
        prompts: held-out prompts that the knob is turned for; 0 leaves the knob out.
        knob: its values, increasing.
        real: pairs of real clips that tell how alike two clips of one digit's form are, and of two.
        seed: chooses prompts and samples.
        grounds: what is behind the digits that the model was trained on, "plain" or "photos".
    """

    pairs: int = 200
    prompts: int = 100
    knob: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    real: int = 400
    seed: int = 0
    grounds: str = "plain"

    def __post_init__(self) -> None:
        if self.grounds not in GROUNDS:
            raise InputError(f'grounds is "{self.grounds}"; it can be {", ".join(GROUNDS)}')
        if self.pairs < 2 or self.real < 20:
            raise InputError(f"pairs is {self.pairs} and real {self.real}, but must be at least 2 and 20")
        if self.prompts < 0 or len(self.knob) < 3 or list(self.knob) != sorted(set(self.knob)):
            raise InputError(f"knob is {self.knob}, but must be three increasing values or more; prompts at least 0")


@dataclass(frozen=True, kw_only=True)
class Report:
    """The record, the table for people, and clips for two pictures: pairs under one another, knob values likewise."""

    record: dict[str, Any]
    table: str
    pairs: Tensor
    pair_captions: list[str]
    knob: Tensor | None
    knob_captions: list[str]


def digits_motion(pipe: Pipe, protocol_: Protocol, sampling: Sampling) -> Report:
    """Measure how content and motion come apart.

    Args:
        pipe: the model.
        protocol_: what to measure.
        sampling: how clips are made.
    """
    plan, frames, judge = protocol_, protocol.frames_of(pipe), Judge.load(grounds=protocol_.grounds)
    prompts = _prompts(plan.pairs, plan.seed)
    if plan.prompts:  # a model without the knob says so now, not after the pairs
        making.make(pipe, prompts[:1], [0], replace(sampling, steps=1), motion=plan.knob[0])
    seeds = [plan.seed * 1_000_000 + i for i in range(plan.pairs)]
    first, second = (
        making.make(
            pipe, prompts, seeds, sampling, motion_seeds=[s + offset for s in seeds], label=f"pairs, motion seed {n}"
        )
        for n, offset in ((1, 10**8), (2, 2 * 10**8))
    )
    a, b = judge.look(first), judge.look(second)
    threshold, apart = form_threshold(judge, frames, plan.real, plan.seed)
    form = same_form(a, b) > threshold
    keeps = [bool(k) for k in form & same_digit(a, b) & (a.tracks.colour == b.tracks.colour)[:, 0]]
    other = other_course(a, b)
    # A random pair: neither seed is shared. A prompt names no direction, so any two will do.
    random = other_course(a, _rolled(b))
    rates = {
        "keeps digit, form and colour": Rate.of(keeps),
        "keeps the digit": Rate.of(bool(k) for k in same_digit(a, b)),
        "keeps the form": Rate.of(bool(k) for k in form),
        "keeps the colour": Rate.of(bool(k) for k in (a.tracks.colour == b.tracks.colour)[:, 0]),
        "keeps its place from frame to frame, first motion seed": Rate.of(bool(k) for k in a.place_kept[:, 0]),
        "other course": Rate.of(bool(o) for o in other),
        "other course, random pairs": Rate.of(bool(o) for o in random),
    }
    ratio = rates["other course"].value / max(rates["other course, random pairs"].value, 1e-9)
    record: dict[str, Any] = {
        "protocol": asdict(plan),
        "sampling": asdict(sampling),
        "judge_sha256": checksum(WEIGHTS),
        "rates": {name: rate.record() for name, rate in rates.items()},
        "other_course_over_random_pairs": ratio,
        "form_threshold": threshold,
        "form_threshold_right_on_real_pairs": apart.record(),
        "wanted": WANTED,
    }
    rows: list[Sequence[object]] = [[name, str(rate), ""] for name, rate in rates.items()]
    rows[0] = [*rows[0][:2], f">= {100 * WANTED['keeps']:.0f} %"]
    rows.append(["other course, over random pairs", f"{ratio:.2f}", f">= {WANTED['other course, over random pairs']}"])
    rows.append(["real pairs told apart by the form's threshold", str(apart), ""])

    shown = min(6, plan.pairs)
    grid = rearrange(torch.stack([first[:shown], second[:shown]], 1), "n two t c h w -> (n two) t c h w")
    captions = [f"{prompts[i]}, motion seed {n}" for i in range(shown) for n in (1, 2)]
    knob_clips: Tensor | None = None
    knob_captions: list[str] = []
    if plan.prompts:
        knob_clips, knob_captions, found = _turn_knob(pipe, plan, sampling, judge, frames)
        record["knob"] = found
        rows += [
            [f"displacement at motion {value:g}, pixels", f"{distance:.2f}", ""]
            for value, distance in zip(plan.knob, found["mean_displacement"], strict=True)
        ]
        rows.append(["the same of real clips of the prompts", f"{found['mean_displacement_of_real']:.2f}", ""])
        if found["strength"] is not None:
            left = f"{100 * found['strength']['left']:.0f} % ± {100 * found['strength']['left_deviation']:.0f}"
            ends = f"{plan.knob[0]:g}, of that at {plan.knob[-1]:g}"
            rows.append([f"displacement left at motion {ends}", left, "0 % is still, 100 % no effect"])
        asked = f">= {WANTED['Spearman']}"
        rows.append(
            ["Spearman of knob and displacement, mean of prompts", f"{found['spearman_per_prompt']:.3f}", asked]
        )
        rows.append(["the same over all clips together", f"{found['spearman_all']:.3f}", ""])
    table = markdown_table(["measure", "found", "asked"], rows)
    return Report(
        record=record, table=table, pairs=grid, pair_captions=captions, knob=knob_clips, knob_captions=knob_captions
    )


def _prompts(count: int, seed: int) -> list[str]:
    """Digit and colour, but no direction."""
    rng = np.random.default_rng(seed)
    colours = list(COLOURS)
    prompts = []
    for _ in range(count):
        digit, colour = DIGIT_WORDS[rng.integers(10)], colours[rng.integers(len(colours))]
        prompts.append(f"a {colour} {digit} moving")
    return prompts


def _others(x: Tensor) -> Tensor:
    """The frames other than the middle one of [b t ...]."""
    middle = x.shape[1] // 2
    return torch.cat([x[:, :middle], x[:, middle + 1 :]], 1)


def same_form(a: Findings, b: Findings) -> Tensor:
    """How much each clip's digit looks like the other clip's middle frame, in the frames other than the middle one.

    Returns:
        [b], the mean over those frames of the correlation of outlines. A mean of the outlines first would let a
        digit pass that changes from frame to frame.
    """
    x, y = (rearrange(f.outline[:, :, 0], "b t h w -> b t (h w)") for f in (a, b))
    x, y = x - x.mean(-1, keepdim=True), y - y.mean(-1, keepdim=True)
    x, y = x / x.norm(dim=-1, keepdim=True).clamp(min=1e-6), y / y.norm(dim=-1, keepdim=True).clamp(min=1e-6)
    middle = x.shape[1] // 2
    there, back = ((_others(p) * q[:, middle : middle + 1]).sum(-1).mean(1) for p, q in ((x, y), (y, x)))
    return (there + back) / 2


def same_digit(a: Findings, b: Findings) -> Tensor:
    """Whether three quarters of the frames other than the middle one show one digit, the same in both: bool [b]."""
    digit = a.digit[:, :1]
    shown = [(_others(f.frame_digit[:, :, 0]) == digit).float().mean(1) >= _MOST for f in (a, b)]
    return shown[0] & shown[1]


def other_course(a: Findings, b: Findings) -> Tensor:
    """Whether two clips differ in direction or in speed: bool [b]."""
    differs = (a.tracks.direction != b.tracks.direction) | (a.tracks.speed != b.tracks.speed)
    return differs[:, 0]


def _rolled(findings: Findings) -> Findings:
    """The findings of the next clip in the place of each."""
    tracks = replace(findings.tracks, velocity=findings.tracks.velocity.roll(1, 0))
    return replace(findings, tracks=tracks)


def form_threshold(judge: Judge, frames: int, count: int, seed: int) -> tuple[float, Rate]:
    """The correlation of outlines that best tells one handwritten image on two courses from two of one digit.

    From real clips of the test split; returns it with the rate at which it is right on those.
    """
    digits = MovingDigits(frames, SIZE, "test", 0.0, combinations="all", full_captions=True, grounds=judge.grounds)
    one = digits.specs(range(count), seed=seed + 11)
    two = digits.specs(range(count, 2 * count), seed=seed + 11)
    same, different = [], []
    for i, (spec, course) in enumerate(zip(one, two, strict=True)):
        mine, route = spec.objects[0], course.objects[0]
        moved = replace(route, digit=mine.digit, image=mine.image)
        same.append(replace(course, objects=(moved,)))
        rest = [image for image in images_of()["test"][mine.digit] if image != mine.image]
        different.append(replace(course, objects=(replace(moved, image=rest[i % len(rest)]),)))
    base, again, others = (protocol.look_at_real(judge, s, frames) for s in (one, same, different))
    yes, no = same_form(base, again).numpy(), same_form(base, others).numpy()
    candidates = np.sort(np.concatenate([yes, no]))
    right = [(yes > c).mean() + (no <= c).mean() for c in candidates]
    threshold = float(candidates[int(np.argmax(right))])
    return threshold, Rate.of([*(yes > threshold), *(no <= threshold)])


def _strength(stillest: np.ndarray, freest: np.ndarray) -> dict[str, float] | None:
    """What is left of the motion at the knob's lowest value; None for a model that never moves anything.

    Args:
        stillest: displacement of each prompt's clip at that value [n].
        freest: at the highest value [n].
    """
    if not freest.any():
        return None
    left = ratio_of_means(stillest, freest, paired=True)
    ends = {"lowest": float(stillest.mean()), "highest": float(freest.mean())}
    return {**ends, "left": left.value, "left_deviation": left.deviation}


def _turn_knob(
    pipe: Pipe, plan: Protocol, sampling: Sampling, judge: Judge, frames: int
) -> tuple[Tensor, list[str], dict[str, Any]]:
    """Displacement against the knob over held-out prompts, the seeds of a prompt the same at each value."""
    from scipy.stats import spearmanr

    specs = evaluation_prompts(plan.prompts, True, plan.seed + 5, frames=frames, grounds=plan.grounds)
    prompts = [spec.caption for spec in specs]
    seeds = [plan.seed * 1_000_000 + 500_000 + i for i in range(len(prompts))]
    clips = [
        making.make(pipe, prompts, seeds, sampling, motion=value, label=f"motion {value:g}") for value in plan.knob
    ]
    distance = torch.stack([judge.look(part).tracks.displacement[:, 0] for part in clips], 1).numpy()  # prompt, knob
    knob = np.broadcast_to(plan.knob, distance.shape)
    # A digit that moves as far at every value has no rank correlation: that counts as none.
    each = [0.0 if np.ptp(row) == 0 else float(spearmanr(plan.knob, row).statistic) for row in distance]
    real = protocol.look_at_real(judge, specs, frames).tracks.displacement[:, 0]
    found = {
        "mean_displacement": distance.mean(0).tolist(),
        "strength": _strength(distance[:, 0], distance[:, -1]),
        "mean_displacement_of_real": float(real.mean()),
        "spearman_per_prompt": float(np.mean(each)),
        "spearman_all": float(spearmanr(knob.ravel(), distance.ravel()).statistic),
    }
    shown = min(3, len(prompts))
    grid = rearrange(torch.stack([part[:shown] for part in clips], 1), "n k t c h w -> (n k) t c h w")
    captions = [f"{prompts[i]}, motion {value:g}" for i in range(shown) for value in plan.knob]
    return grid, captions, found
