"""Captions of moving digits: written from a clip's contents, and read back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from videofusion.digits.spec import COLOURS, GREY, DigitObject

DIGIT_WORDS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
)  # fmt: skip
VERBS = ("moving", "drifts", "goes", "moves")
ADVERBS = {"slow": "slowly", "fast": "fast"}

# All that a caption can contain: the vocabulary of a model trained on these clips.
WORDS: tuple[str, ...] = (
    "a", "an", "the", "and", "digit", *DIGIT_WORDS, *"0123456789", *COLOURS, GREY,
    *VERBS, "left", "right", "up", "down", *ADVERBS.values(),
)  # fmt: skip

FULL = 0.75  # part of the captions that tell digit, colour and direction
SPEED_TOLD = 0.3  # share of the moving objects whose caption has a speed


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a caption says about one digit; None where it says nothing."""

    digit: int | None = None
    colour: str | None = None
    direction: str | None = None
    speed: str | None = None


def caption(objects: Sequence[DigitObject], draws: Iterator[float], full: bool = False) -> str:
    """Describe the digits of a clip in one of several wordings.

    Args:
        objects: what to describe, in this order.
        draws: numbers in [0, 1) that choose the wording; 1 + 5 per object are taken.
        full: leave out neither digit nor colour nor direction.
    """
    choice = next(draws)
    # What can be left out. "A grey digit" would say nothing at all of a grey still.
    parts = ["colour"] if objects[0].colour == GREY else ["colour", "digit"]
    if objects[0].direction is not None:
        parts.append("direction")
    left_out = ""
    if not full and choice >= FULL:
        # The same thing is left out of both halves, as a person would do it.
        left_out = parts[int((choice - FULL) / (1 - FULL) * len(parts))]
    return " and ".join(_phrase(thing, draws, left_out) for thing in objects)


def _phrase(thing: DigitObject, draws: Iterator[float], left_out: str) -> str:
    article, numeral, verb, told, rest = (next(draws) for _ in range(5))
    words = [] if left_out == "colour" else [thing.colour]
    if left_out == "digit":
        words.append("digit")
    else:
        words.append(str(thing.digit) if numeral < 0.5 else DIGIT_WORDS[thing.digit])
    indefinite = "an" if words[0] in ("eight", "8") else "a"
    words.insert(0, indefinite if article < 0.85 else "the")
    if thing.direction is None or thing.speed is None or (left_out == "direction" and rest < 0.5):
        return " ".join(words)
    words.append(VERBS[0] if verb < 0.55 else VERBS[1 + int((verb - 0.55) / 0.45 * 3)])
    if left_out != "direction":
        words.append(thing.direction)
    if told < SPEED_TOLD:
        words.append(ADVERBS[thing.speed])
    return " ".join(words)


def parse(prompt: str) -> list[Described]:
    """Read a caption back: one `Described` per digit that it speaks of.

    Words that say nothing about a digit's attributes are passed over.
    """
    speeds = {word: speed for speed, word in ADVERBS.items()}
    found = []
    for half in prompt.lower().split(" and "):
        words = half.split()
        digits = [
            DIGIT_WORDS.index(w) if w in DIGIT_WORDS else int(w)
            for w in words
            if w in DIGIT_WORDS or (len(w) == 1 and w in "0123456789")
        ]
        found.append(
            Described(
                digit=next(iter(digits), None),
                colour=next((w for w in words if w in COLOURS or w == GREY), None),
                direction=" ".join(w for w in words if w in ("left", "right", "up", "down")) or None,
                speed=next((speeds[w] for w in words if w in speeds), None),
            )
        )
    return found
