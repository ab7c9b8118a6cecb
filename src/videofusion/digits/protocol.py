"""What the measures of moving digits share: real clips to hold beside those that a model makes, right and wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tqdm import tqdm

from videofusion.digits.judge import Findings, Judge, join
from videofusion.digits.moving_digits import MovingDigits, render
from videofusion.digits.spec import DigitClipSpec, DigitObject
from videofusion.digits.tracker import COLOUR_NAMES, DIRECTION_NAMES, SIZE, STILL
from videofusion.errors import InputError
from videofusion.evaluation.making import Pipe
from videofusion.evaluation.metrics.proportions import Rate

CHUNK = 256
QUESTIONS = ("digit", "colour", "direction", "all three", "same ends", "place kept")


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
