"""The description of a clip of moving digits, from which its pixels are drawn."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[float, float, float]  # RGB in [0, 1]

# Seven colours that a person names at once on a dark background.
COLOURS: dict[str, Colour] = {
    "red": (1.0, 0.1, 0.1),
    "green": (0.1, 0.8, 0.15),
    "blue": (0.15, 0.3, 1.0),
    "yellow": (1.0, 0.9, 0.1),
    "cyan": (0.1, 0.9, 0.95),
    "magenta": (1.0, 0.15, 0.9),
    "white": (1.0, 1.0, 1.0),
}
GREY = "grey"  # the colour of stills without colour; not one of the seven
GREY_VALUE = (0.7, 0.7, 0.7)
GREY_OVER_PHOTO = (0.9, 0.9, 0.9)  # brighter than the brightest of a photograph

# Unit vectors (x to the right, y down).
_D = 0.5**0.5
DIRECTIONS: dict[str, tuple[float, float]] = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
    "up left": (-_D, -_D),
    "up right": (_D, -_D),
    "down left": (-_D, _D),
    "down right": (_D, _D),
}

# Along the path, in pixels per frame of a canvas of 32 pixels.
SPEEDS: dict[str, float] = {"slow": 0.5, "fast": 1.0}

CANVAS = 32  # pixels of the canvas that speeds and places refer to
DIGIT_SIZE = 14 / 32  # side of a digit's square, as a fraction of the canvas
ROOM = 1 - DIGIT_SIZE  # how far a digit can go from wall to wall, likewise

# Fixed shuffles, so that the held-out combinations follow no order that the eye can see.
_DIGIT_RANK = (7, 2, 9, 4, 0, 5, 8, 1, 3, 6)
_COLOUR_RANK = {"red": 5, "green": 2, "blue": 6, "yellow": 0, "cyan": 3, "magenta": 1, "white": 4}
_DIRECTION_RANK = {
    "left": 6,
    "right": 3,
    "up": 0,
    "down": 5,
    "up left": 1,
    "up right": 4,
    "down left": 2,
    "down right": 7,
}


def is_held_out(digit: int, colour: str, direction: str) -> bool:
    """Whether a combination is kept out of training: 140 of the 560 (25 %).

    A Latin design: of the eight directions of a (digit, colour) exactly two are held out, and
    every (digit, direction) and (colour, direction) keeps at least 70 % of its combinations.
    """
    return (_DIGIT_RANK[digit] + _COLOUR_RANK[colour] + _DIRECTION_RANK[direction]) % 4 == 0


def directions_of(digit: int, colour: str, combinations: str) -> tuple[str, ...]:
    """The directions that go with a digit and a colour in "seen", "held_out" or "all"."""
    if combinations == "all":
        return tuple(DIRECTIONS)
    wanted = combinations == "held_out"
    return tuple(d for d in DIRECTIONS if is_held_out(digit, colour, d) == wanted)


def velocity(direction: str | None, speed: str | None) -> tuple[float, float]:
    """Movement per frame, x and y, as a fraction of the way from wall to wall; 0 without a direction."""
    if direction is None or speed is None:
        return 0.0, 0.0
    step = SPEEDS[speed] / (32 * ROOM)
    x, y = DIRECTIONS[direction]
    return step * x, step * y


@dataclass(frozen=True, kw_only=True)
class DigitObject:
    """One digit of a clip.

    Args:
        digit: 0 to 9.
        colour: one of `COLOURS`, or "grey".
        image: number of the handwritten image in scikit-learn's `load_digits`.
        start: left and top of its square in frame 0, 0 at one wall and 1 at the other.
        direction: one of `DIRECTIONS` at the start, None for a digit that stands still.
        speed: one of `SPEEDS`, None for a digit that stands still.
    """

    digit: int
    colour: str
    image: int
    start: tuple[float, float]
    direction: str | None = None
    speed: str | None = None

    @property
    def held_out(self) -> bool:
        """Whether this is a combination that training never shows."""
        return self.direction is not None and is_held_out(self.digit, self.colour, self.direction)

    @property
    def velocity(self) -> tuple[float, float]:
        """Movement per frame, x and y, as a fraction of the way from wall to wall."""
        return velocity(self.direction, self.speed)


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A part of a photograph behind the digits, and how the camera pans over it.

    Args:
        photo: number of the photograph.
        split: whose part of the photograph it comes from.
        start: left and top of the crop in that part in frame 0, in pixels of a canvas of 32.
        pan: how far it goes in a frame, likewise; it turns round at the ends of the part.
    """

    photo: int
    split: str
    start: tuple[float, float]
    pan: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class DigitClipSpec:
    """A whole clip: what is in it and what is said about it.

    Args:
        objects: the digits, the last one on top.
        caption: the words that go with it.
        name: a made-up name that tells the clip from all others.
        background: RGB in [0, 1] of the gradient's two ends; black where left out.
        angle: the direction of the gradient, in radians.
        ground: the part of a photograph in place of the gradient.
    """

    objects: tuple[DigitObject, ...]
    caption: str
    name: str = ""
    background: tuple[Colour, Colour] | None = None
    angle: float = 0.0
    ground: Ground | None = None
