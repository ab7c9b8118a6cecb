"""How well a model makes moving digits to order: `python -m tools.digits_report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from videofusion.digits import protocol
from videofusion.digits.judge import WEIGHTS, Findings, Judge
from videofusion.digits.moving_digits import GROUNDS, evaluation_prompts, render
from videofusion.digits.protocol import QUESTIONS
from videofusion.digits.spec import DigitClipSpec
from videofusion.digits.tracker import SIZE
from videofusion.digits.variety import Nearest, Space
from videofusion.errors import InputError
from videofusion.evaluation import making
from videofusion.evaluation.making import Pipe, Sampling
from videofusion.evaluation.metrics import base_frame
from videofusion.evaluation.metrics.base_frame import BaseFrameChange, base_frame_change
from videofusion.evaluation.metrics.diversity import diversity, ratio_of_means
from videofusion.evaluation.record import checksum, markdown_table

# What is asked of the shipped model (with one digit), and of the judge.
WANTED = {"digit": 0.90, "colour": 0.97, "direction": 0.92, "same ends": 0.95}
JUDGE_WANTED = 0.97
DIVERSITY_WANTED = 0.8


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What is measured.

    Args:
        count: prompts with one digit; half of them from held-out combinations.
        two_digits: prompts with two digits; half of them from held-out combinations.
        real: real test clips that the judge is tested on, of one digit and of two each.
        prompts: number of prompts whose diversity is measured; half of them held-out.
        samples: clips of each of those.
        training_clips: that the nearest is looked for among.
        seed: chooses the prompts; the samples' seeds follow it.
        grounds: what is behind the digits that the model was trained on, "plain" or "photos".
    """

    count: int = 400
    two_digits: int = 100
    real: int = 1000
    prompts: int = 20
    samples: int = 8
    training_clips: int = 4000
    seed: int = 0
    grounds: str = "plain"

    def __post_init__(self) -> None:
        if self.grounds not in GROUNDS:
            raise InputError(f'grounds is "{self.grounds}"; it can be {", ".join(GROUNDS)}')
        for name in ("count", "two_digits", "real", "prompts"):
            if getattr(self, name) < 2 or getattr(self, name) % 2:
                raise InputError(f"{name} is {getattr(self, name)}, but must be even and at least 2")
        if self.samples < 2 or self.training_clips < 1:
            raise InputError(f"samples is {self.samples}, but must be at least 2; training_clips at least 1")


@dataclass(frozen=True, kw_only=True)
class Report:
    """The record, the table for people, and the clips of the held-out prompts with one digit."""

    record: dict[str, Any]
    table: str
    clips: Tensor
    captions: list[str]


def digits_report(pipe: Pipe, protocol_: Protocol, sampling: Sampling) -> Report:
    """Measure a model on moving digits.

    Args:
        pipe: the model.
        protocol_: what to measure.
        sampling: how clips are made.

    Raises:
        InputError: the model makes clips that the judge cannot look at.
    """
    plan, frames, judge = protocol_, protocol.frames_of(pipe), Judge.load(grounds=protocol_.grounds)
    rows: dict[str, dict[str, protocol.Rate]] = {}
    looked: dict[bool, tuple[list[DigitClipSpec], Tensor, Findings]] = {}
    at_base: dict[str, BaseFrameChange | None] = {}
    for two in (False, True):
        what = "two digits" if two else "one digit"
        for held_out in (False, True):
            which = "held-out" if held_out else "seen"
            count = (plan.two_digits if two else plan.count) // 2
            specs = evaluation_prompts(count, held_out, plan.seed, two, frames, plan.grounds)
            seeds = [_seed(plan.seed, held_out + 2 * two, i) for i in range(count)]
            clips = making.make(pipe, [s.caption for s in specs], seeds, sampling, label=f"{what}, {which}")
            found = judge.look(clips, 1 + two)
            rows[f"model, {what}, {which} combinations"] = protocol.rates(protocol.answers(found, specs))
            if not two:
                looked[held_out] = specs, clips, found
        real = _real_specs(plan, plan.seed + 1, two, frames)
        found = protocol.look_at_real(judge, real, frames, 1 + two, label=f"real clips, {what}")
        rows[f"judge on real test clips, {what}"] = protocol.rates(protocol.answers(found, real))
        if not two:
            space = Space.of(found)
            at_base["model"] = base_frame_change(torch.cat([clips for _, clips, _ in looked.values()]))
            at_base["real"] = base_frame_change(render(real[: plan.count], frames, SIZE))

    variety = _diversity(pipe, plan, sampling, judge, space, frames)
    nearest = _nearest(plan, judge, space, frames, looked)
    record = {
        "protocol": asdict(plan),
        "sampling": asdict(sampling),
        "judge_sha256": checksum(WEIGHTS),
        "rates": {name: {q: rate.record() for q, rate in row.items()} for name, row in rows.items()},
        "diversity": asdict(variety),
        "nearest_training_clip": nearest,
        "change_at_base_frame": {name: found and found.record() for name, found in at_base.items()},
        "wanted": {
            **WANTED,
            "diversity": DIVERSITY_WANTED,
            "judge": JUDGE_WANTED,
            "change_at_base_frame": base_frame.WANTED,
        },
    }
    specs, clips, _ = looked[True]
    return Report(
        record=record,
        table=_table(rows, variety, nearest, at_base),
        clips=clips,
        captions=[spec.caption for spec in specs],
    )


def _seed(seed: int, group: int, number: int) -> int:
    """The seed of a sample: no two of a report's are the same."""
    return (seed * 100 + group) * 100_000 + number


def _real_specs(plan: Protocol, seed: int, two: bool, frames: int) -> list[DigitClipSpec]:
    """Real clips, other ones than the prompts describe, half of them of held-out combinations."""
    return [
        spec
        for held_out in (False, True)
        for spec in evaluation_prompts(plan.real // 2, held_out, seed, two, frames, plan.grounds)
    ]


def _diversity(pipe: Pipe, plan: Protocol, sampling: Sampling, judge: Judge, space: Space, frames: int) -> Any:
    combinations: list[tuple[int, str, str]] = []
    for held_out in (False, True):
        for spec in evaluation_prompts(40 * plan.prompts, held_out, plan.seed + 2, frames=frames):
            new = protocol.combination_of(spec.objects[0])
            if new not in combinations:
                combinations.append(new)  # type: ignore[arg-type]
            if len(combinations) == plan.prompts // 2 * (1 + held_out):
                break
    prompts = [f"a {colour} {digit} moving {direction}" for digit, colour, direction in combinations]
    repeated = [prompt for prompt in prompts for _ in range(plan.samples)]
    seeds = [_seed(plan.seed, 8, i) for i in range(len(repeated))]
    clips = making.make(pipe, repeated, seeds, sampling, label="diversity")
    made = space.place(judge.look(clips)).split(plan.samples)
    # More real ones than made ones, since all that they cost is to draw them.
    each = 4 * plan.samples
    specs = protocol.real_clips_of(combinations, each, frames, plan.seed + 3, plan.grounds)
    real = space.place(protocol.look_at_real(judge, [s for group in specs for s in group], frames)).split(each)
    return diversity(made, real)


def _nearest(
    plan: Protocol,
    judge: Judge,
    space: Space,
    frames: int,
    looked: dict[bool, tuple[list[DigitClipSpec], Tensor, Findings]],
) -> dict[str, dict[str, Any]]:
    """Distance to the nearest training clip, of made clips and of real test clips of the same prompts."""
    groups = []
    for specs, clips, found in looked.values():
        real = render(specs, frames, SIZE)
        groups += [(clips, found), (real, judge.look(real))]
    distances = Nearest(judge, space, plan.training_clips, frames)(groups)
    result = {}
    for i, held_out in enumerate(looked):
        made, real_ones = distances[2 * i], distances[2 * i + 1]
        result["held-out" if held_out else "seen"] = {
            name: {
                "made": float(made[name].mean()),
                "real": float(real_ones[name].mean()),
                "ratio": asdict(ratio_of_means(made[name], real_ones[name], paired=True)),
            }
            for name in made
        }
    return result


def _table(
    rows: dict[str, dict[str, Any]],
    variety: Any,
    nearest: dict[str, dict[str, Any]],
    at_base: dict[str, BaseFrameChange | None],
) -> str:
    header = ["clips", "n", *QUESTIONS]
    body = [[name, row["digit"].count, *(str(row[q]) for q in QUESTIONS)] for name, row in rows.items()]
    asked = [
        "asked of a model, one digit",
        "",
        *(f">= {100 * WANTED[q]:.0f} %" if q in WANTED else "" for q in QUESTIONS),
    ]
    body.append(asked)
    more: list[Sequence[object]] = [
        [
            "diversity at a fixed prompt, over real clips'",
            f"{variety.value:.2f} ± {variety.deviation:.2f}",
            f">= {DIVERSITY_WANTED}",
        ]
    ]
    for which, spaces in nearest.items():
        for name, value in spaces.items():
            ratio = value["ratio"]
            more.append(
                [
                    f"distance to the nearest training clip, {name}, {which} combinations, over real test clips'",
                    f"{ratio['value']:.2f} ± {ratio['deviation']:.2f} ({value['made']:.3g} / {value['real']:.3g})",
                    ">= 1",
                ]
            )
    if at_base["model"] is not None:
        model, real = at_base["model"], at_base["real"]
        beside = f"; real clips {real}" if real is not None else ""
        most = f"<= {base_frame.WANTED}"
        more.append(["change at the base frame over that of the other steps, median clip", f"{model}{beside}", most])
    return "\n\n".join(
        [
            markdown_table(header, body),
            'In brackets: 95 % intervals. "Same ends": the same digit in the first and in the last frame.',
            markdown_table(["measure", "found (± bootstrap deviation, or 95 % interval)", "asked"], more),
        ]
    )
