"""What the protocols on moving digits share: making clips, real clips to hold beside them, right and wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from videofusion.diffusion.known import Known
from videofusion.digits.judge import Findings, Judge, join
from videofusion.digits.moving_digits import MovingDigits, render
from videofusion.digits.spec import DigitClipSpec, DigitObject
from videofusion.digits.tracker import COLOUR_NAMES, DIRECTION_NAMES, SIZE, STILL
from videofusion.errors import InputError
from videofusion.evaluation.metrics.proportions import Rate
from videofusion.tasks.extend import default_overlap, extend

CHUNK = 256
_OTHER_BASE = 2**40  # far from all seeds that are counted on from
QUESTIONS = ("digit", "colour", "direction", "all three", "same ends", "place kept")

Pipe = Callable[..., Tensor]  # a `VideoPipeline`, or what answers like one


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How clips are made.

    Args:
        steps: of the sampler.
        sampler: its name; the model's own when None.
        guidance: classifier-free guidance scale, 1 = off; the model's own when None.
        batch: clips made together.
        given: first frames of each clip that are a real clip's, from which the others follow.
        weight: of reconstruction guidance by given frames; 0 is the replacement method.
        frames: of a longer video, whose end is what counts as the clip; None for the clip itself.
        held: whether the windows of a longer video have one base noise; each its own otherwise.
    """

    steps: int = 20
    sampler: str | None = None
    guidance: float | None = None
    batch: int = 16
    given: int = 0
    weight: float = 0.0
    frames: int | None = None
    held: bool = True

    def known(self, real: Tensor) -> dict[str, Any]:
        """What a pipeline is told of the frames that are given; `real` clips have them [b t c h w]."""
        return {"known": Known(real[:, : self.given], range(self.given), self.weight)} if self.given else {}


def make(
    pipe: Pipe,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    *,
    motion_seeds: Sequence[int] | None = None,
    motion: float | None = None,
    real: Tensor | None = None,
    label: str = "",
) -> Tensor:
    """Make a clip for each prompt, in batches, with a progress bar; `b t c h w` on the CPU.

    Args:
        pipe: the model.
        prompts: b texts.
        seeds: b seeds.
        sampling: how.
        motion_seeds: b seeds of the residual noise.
        motion: the knob.
        real: clips whose first frames are given, where sampling asks for it [b t c h w].
        label: what the bar says.

    Raises:
        InputError: a video that is to go on is shorter than a clip.
    """
    parts = []
    with tqdm(total=len(prompts), desc=label, unit="clip", leave=False) as bar:
        for start in range(0, len(prompts), sampling.batch):
            some = slice(start, start + sampling.batch)
            own: dict[str, Any] = {} if motion_seeds is None else {"motion_seed": list(motion_seeds[some])}
            own |= {"steps": sampling.steps, "sampler": sampling.sampler, "guidance": sampling.guidance}
            own |= {} if motion is None else {"motion": motion}
            given = {} if real is None else sampling.known(real[some])
            clips = pipe(list(prompts[some]), seed=list(seeds[some]), **given, **own)
            if sampling.frames is not None:
                own |= {"motion_seed": own.get("motion_seed", list(seeds[some])), "weight": sampling.weight}
                clips = _went_on(pipe, clips, prompts[some], seeds[some], sampling.frames, sampling.held, own)
            parts.append(clips.cpu())
            bar.update(len(parts[-1]))
    return torch.cat(parts)


def _went_on(
    pipe: Pipe,
    clips: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    frames: int,
    held: bool,
    own: dict[str, Any],
) -> Tensor:
    """The end, as long as a clip, of the videos of so many frames that clips are the beginning of."""
    length, base = clips.shape[1], list(seeds)
    if frames < length:
        raise InputError(f"frames is {frames}; a video that goes on has at least those of a clip, {length}")
    new = length - default_overlap(length)
    while clips.shape[1] < frames:
        base = base if held else [seed + _OTHER_BASE for seed in base]
        longer = min(frames, clips.shape[1] + new)
        clips = extend(pipe, clips, list(prompts), frames=longer, seed=base, **own)  # type: ignore[arg-type]
    return clips[:, -length:]


def frames_of(pipe: Pipe) -> int:
    """Frames of the clips that a model makes.

    Raises:
        InputError: the model makes no clips that the judge could look at.
    """
    config = pipe.config  # type: ignore[attr-defined]
    if config.frames < 2 or config.height != config.width or config.height < SIZE:
        raise InputError(
            f"the model makes {config.frames} frames of {config.height}x{config.width}; the judge looks at clips "
            f"of 2 frames or more, square, of {SIZE} pixels or more"
        )
    return int(config.frames)


def look_at_real(
    judge: Judge, specs: Sequence[DigitClipSpec], frames: int, count: int = 1, *, label: str = "real clips"
) -> Findings:
    """What the judge says about the clips that the specs describe; they must all hold `count` digits."""
    starts = tqdm(range(0, len(specs), CHUNK), desc=label, unit="batch", leave=False)
    return join(judge.look(render(specs[i : i + CHUNK], frames, SIZE), count) for i in starts)


def answers(findings: Findings, specs: Sequence[DigitClipSpec]) -> dict[str, list[bool]]:
    """For each digit that was asked for, whether each of `QUESTIONS` is answered with yes.

    In a clip of two digits, the digit of a colour is asked about what was said of that colour; if no digit has the
    colour, all is wrong.
    """
    found: dict[str, list[bool]] = {question: [] for question in QUESTIONS}
    tracks, same_ends, place_kept = findings.tracks, findings.same_ends, findings.place_kept
    for i, spec in enumerate(specs):
        for wanted in spec.objects:
            colours = [COLOUR_NAMES[int(c)] for c in tracks.colour[i]]
            # One digit is asked about its colour and everything else; of two, only the colour tells them apart.
            there = len(spec.objects) == 1 or wanted.colour in colours
            k = colours.index(wanted.colour) if wanted.colour in colours else 0
            said = {
                "digit": there and int(findings.digit[i, k]) == wanted.digit,
                "colour": wanted.colour in colours,
                "direction": there and direction_name(int(tracks.direction[i, k])) == wanted.direction,
                "same ends": there and bool(same_ends[i, k]),
                "place kept": there and bool(place_kept[i, k]),
            }
            said["all three"] = said["digit"] and said["colour"] and said["direction"]
            for question in QUESTIONS:
                found[question].append(said[question])
    return found


def direction_name(index: int) -> str | None:
    """The direction's name, None for a digit that stands still."""
    return None if index == STILL else DIRECTION_NAMES[index]


def rates(outcomes: dict[str, list[bool]]) -> dict[str, Rate]:
    """The rate of each question."""
    return {question: Rate.of(values) for question, values in outcomes.items()}


def real_clips_of(
    combinations: Iterable[tuple[int, str, str]], each: int, frames: int, seed: int, grounds: str = "plain"
) -> list[list[DigitClipSpec]]:
    """Descriptions of test clips, `each` of them, for (digit, colour, direction)s; both speeds, any such ground."""
    wanted = list(combinations)
    found: dict[tuple[int, str, str | None], list[DigitClipSpec]] = {combination: [] for combination in wanted}
    digits = MovingDigits(frames, SIZE, "test", 0.0, combinations="all", full_captions=True, grounds=grounds)
    start, step = 0, 4096
    while any(len(specs) < each for specs in found.values()):
        for spec in digits.specs(range(start, start + step), seed=seed):
            place = found.get(combination_of(spec.objects[0]))
            if place is not None and len(place) < each:
                place.append(spec)
        start += step
    return [found[combination] for combination in wanted]


def combination_of(thing: DigitObject) -> tuple[int, str, str | None]:
    """Digit, colour and direction."""
    return thing.digit, thing.colour, thing.direction
