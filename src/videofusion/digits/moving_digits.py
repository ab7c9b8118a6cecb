"""Moving digits: real handwritten digits, coloured, moving, captioned; made as they are needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, dist, sin, tau

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videofusion.data.batch import Batch, Sample
from videofusion.data.counter import keys, uniforms
from videofusion.diffusion.noise import base_frame
from videofusion.digits.drawing import SPLITS, check_shape, images_of, positions, render
from videofusion.digits.grounds import PHOTOS, room
from videofusion.digits.spec import (
    COLOURS,
    DIGIT_SIZE,
    DIRECTIONS,
    GREY,
    ROOM,
    SPEEDS,
    Colour,
    DigitClipSpec,
    DigitObject,
    Ground,
    directions_of,
    is_held_out,
    velocity,
)
from videofusion.digits.words import WORDS, caption, parse
from videofusion.errors import InputError
from videofusion.keys import Stream

__all__ = [
    "COLOURS",
    "DIRECTIONS",
    "SPEEDS",
    "WORDS",
    "DigitClipSpec",
    "DigitObject",
    "MovingDigits",
    "evaluation_prompts",
    "is_held_out",
    "parse",
    "render",
]

COMBINATIONS = ("seen", "held_out", "all")
GROUNDS = ("plain", "photos")
RESTS = 0.5  # part of the clips over photographs whose camera rests
FASTEST_PAN = 0.15  # pixels of 32 in a frame
GRADIENTS = 0.3  # part of the clips with a gradient behind the digits
BRIGHTEST = 0.35  # of any channel of a gradient
PLACES_TRIED = 4  # for the second digit

_DRAWS = 48  # random numbers that one clip may take


class MovingDigits:
    """Clips of one or two moving digits with captions; endless, in "epochs" of `length`.

    A clip depends on (seed, split, epoch, index) only, not on what was asked for before.

    Args:
        frames: frames per clip, at least 1.
        size: height and width in pixels, at least 8.
        split: "train", "val" or "test": which people's handwriting is used.
        two_digits: part of the clips that hold two digits, of two colours, in [0, 1].
        combinations: which (digit, colour, direction) occur: "seen", "held_out" (25 %, never
            trained on; for the test split only) or "all" (likewise).
        length: clips in an epoch.
        static: the digits stand still, as in single images.
        only_middle: give only the middle frame of each clip, with the caption of the clip.
        crop: side in pixels of a square to cut from the middle frame, the first digit in it; the whole frame when None.
        grey: grey digits on black or grey, without colours.
        full_captions: captions leave out neither digit nor colour nor direction.
        grounds: what is behind the digits: "plain" (black or a dark gradient), or "photos" (grey crops of two
            photographs, the camera resting or panning slowly; each split has its own part of them).

    Raises:
        InputError: a value outside of what is said above.
    """

    words = tuple(WORDS)  # that captions may have

    def __init__(
        self,
        frames: int = 16,
        size: int = 32,
        split: str = "train",
        two_digits: float = 0.25,
        *,
        combinations: str = "seen",
        length: int = 100_000,
        static: bool = False,
        only_middle: bool = False,
        crop: int | None = None,
        grey: bool = False,
        full_captions: bool = False,
        grounds: str = "plain",
    ) -> None:
        check_shape(frames, size)
        if split not in SPLITS:
            raise InputError(f'split is "{split}"; it can be {", ".join(SPLITS)}')
        if combinations not in COMBINATIONS:
            raise InputError(f'combinations is "{combinations}"; it can be {", ".join(COMBINATIONS)}')
        if grounds not in GROUNDS:
            raise InputError(f'grounds is "{grounds}"; it can be {", ".join(GROUNDS)}')
        if combinations != "seen" and split != "test":
            raise InputError(
                f'combinations is "{combinations}" in the split "{split}"; '
                'outside of the split "test" only "seen" is allowed'
            )
        if not 0 <= two_digits <= 1:
            raise InputError(f"two_digits is {two_digits}; it is a part of the clips, 0 to 1")
        if length < 1:
            raise InputError(f"length is {length}; an epoch has at least 1 clip")
        if grey and not static:
            raise InputError("grey is set without static; grey digits only come as stills")
        least = int(DIGIT_SIZE * size) + 1
        if crop is not None and not (only_middle and least <= crop <= size):
            raise InputError(f"crop is {crop}; it is for only_middle, and must be in [{least}, {size}]")
        self.frames, self.size, self.split, self.length = frames, size, split, length
        self.two_digits, self.combinations = two_digits, combinations
        self.static, self.grey, self.full_captions = static, grey, full_captions
        self.only_middle, self.crop, self.grounds = only_middle, crop, grounds

    def __len__(self) -> int:
        return self.length

    def specs(self, indices: Sequence[int], epoch: int = 0, seed: int = 0) -> list[DigitClipSpec]:
        """What the clips of these numbers show and say, without drawing them."""
        numbers = np.asarray(indices, np.int64)
        draws = uniforms(keys(seed, SPLITS.index(self.split), epoch, numbers), _DRAWS)
        return [
            self._spec(iter(row), f"moving-digits/{self.split}/{seed}/{epoch}/{index}")
            for row, index in zip(draws.tolist(), numbers.tolist(), strict=True)
        ]

    def batch(self, indices: Sequence[int], epoch: int = 0, seed: int = 0) -> Batch:
        """The clips of these numbers, drawn together."""
        specs = self.specs(indices, epoch, seed)
        clip = render(specs, self.frames, self.size)
        if self.only_middle:
            middle = base_frame(self.frames)
            clip = clip[:, middle : middle + 1].contiguous()
            if self.crop is not None:
                first = positions([spec.objects[0] for spec in specs], self.frames)[:, middle]
                # the stream stands where the clips' own numbers have that of the split
                draws = uniforms(keys(seed, Stream.DIGIT_CROP, epoch, np.asarray(indices, np.int64)), 2)
                clip = self._cut(clip, first * (ROOM * self.size), draws, self.crop)
        return Batch(
            clip,
            [spec.caption for spec in specs],
            [spec.name for spec in specs],
            torch.as_tensor(indices, dtype=torch.int64),
        )

    def sample(self, index: int, epoch: int = 0, seed: int = 0) -> Sample:
        """Clip number `index` of an epoch."""
        batch = self.batch([index], epoch, seed)
        return Sample(batch.clip[0], batch.captions[0], batch.names[0])

    def _cut(self, frames: Tensor, corners: Tensor, draws: NDArray[np.float64], side: int) -> Tensor:
        """Squares of frames [b 1 c h w] around the digits whose left and top corners are [b 2], in pixels."""
        digit = DIGIT_SIZE * self.size
        lowest = (corners + digit - side).ceil().clamp(0, self.size - side)
        highest = torch.maximum(corners.floor().clamp(0, self.size - side), lowest)
        edges = (lowest + torch.from_numpy(draws) * (highest - lowest + 1)).floor().long().tolist()
        return torch.stack(
            [frame[..., top : top + side, left : left + side] for frame, (left, top) in zip(frames, edges, strict=True)]
        )

    def _spec(self, draws: Iterator[float], name: str) -> DigitClipSpec:
        digit, colour = int(next(draws) * 10), int(next(draws) * len(COLOURS))
        objects = [self._object(digit, colour, draws)]
        if next(draws) < self.two_digits:
            # Another digit and another colour, so that a caption means one of the two.
            digit = (digit + 1 + int(next(draws) * 9)) % 10
            colour = (colour + 1 + int(next(draws) * (len(COLOURS) - 1))) % len(COLOURS)
            objects.append(self._object(digit, colour, draws, beside=objects[0]))
        background, angle, ground = None, 0.0, None
        if self.grounds == "photos":
            ground = self._photo(draws)
        elif next(draws) < GRADIENTS:
            angle = tau * next(draws)
            background = self._dark(draws), self._dark(draws)
        text = caption(objects, draws, self.full_captions)
        return DigitClipSpec(
            objects=tuple(objects), caption=text, name=name, background=background, angle=angle, ground=ground
        )

    def _photo(self, draws: Iterator[float]) -> Ground:
        photo = int(next(draws) * len(PHOTOS))
        right, down = room(photo, self.split)
        start = (right * next(draws), down * next(draws))
        pace = max(next(draws) - RESTS, 0.0) / (1 - RESTS) * FASTEST_PAN
        angle = tau * next(draws)
        pan = (0.0, 0.0) if self.static else (pace * cos(angle), pace * sin(angle))
        return Ground(photo=photo, split=self.split, start=start, pan=pan)

    def _dark(self, draws: Iterator[float]) -> Colour:
        red, green, blue = (BRIGHTEST * next(draws) for _ in range(3))
        return (red, red, red) if self.grey else (red, green, blue)

    def _object(
        self, digit: int, colour_number: int, draws: Iterator[float], beside: DigitObject | None = None
    ) -> DigitObject:
        colour = tuple(COLOURS)[colour_number]
        images = images_of()[self.split][digit]
        image = images[int(next(draws) * len(images))]
        course, pace = next(draws), next(draws)
        direction, speed = None, None
        if not self.static:
            allowed = directions_of(digit, colour, self.combinations)
            direction = allowed[int(course * len(allowed))]
            speed = tuple(SPEEDS)[int(pace * len(SPEEDS))]
        right, down = (step * (self.frames // 2) for step in velocity(direction, speed))
        starts = [
            (_start(next(draws), right), _start(next(draws), down))
            for _ in range(1 if beside is None else PLACES_TRIED)
        ]
        # The farthest of a few places: digits may cross, but seldom begin on top of each other.
        start = starts[0] if beside is None else max(starts, key=lambda at: dist(at, beside.start))
        if self.grey:
            colour = GREY
        return DigitObject(digit=digit, colour=colour, image=image, start=start, direction=direction, speed=speed)


def _start(place: float, travel: float) -> float:
    """A start from which `travel` (signed, 1 from wall to wall) meets no wall if that can be."""
    room = max(1 - abs(travel), 0.0)
    return place * room if travel >= 0 else 1 - place * room


def evaluation_prompts(
    count: int, held_out: bool, seed: int = 0, two_digits: bool = False, frames: int = 16, grounds: str = "plain"
) -> list[DigitClipSpec]:
    """Descriptions with full captions for judging a model; `render` draws the real clips.

    Args:
        count: how many.
        held_out: combinations that training never shows, or those that it does.
        seed: chooses them.
        two_digits: two digits in each instead of one.
        frames: frames of the clips, which the starting places depend on.
        grounds: what is behind the digits, as of `MovingDigits`.
    """
    if count < 1:
        raise InputError(f"count is {count}; at least 1 prompt is needed")
    digits = MovingDigits(
        frames,
        split="test",
        two_digits=float(two_digits),
        combinations="held_out" if held_out else "seen",
        full_captions=True,
        grounds=grounds,
    )
    return digits.specs(range(count), seed=seed)
