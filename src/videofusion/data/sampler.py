"""How a clip is drawn from a video: the same rules for every source."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videofusion.data.counter import keys, uniforms
from videofusion.errors import InputError
from videofusion.video.footage import Excerpt, Footage, Unreadable
from videofusion.video.frames import ROUNDING, window

_CROPS = ("center", "random")
_MIRRORED = {
    "left": "right",
    "right": "left",
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
    "anticlockwise": "clockwise",
}
# Words and their relatives (leftmost, right-handed, move_left), not letters inside of others (bright, cleft, leftover).
_SIDES = re.compile(
    r"(?<![a-z])(left|right|anti-?clockwise|counter-?clockwise|clockwise)(?=most|wards?|hand|[^a-z]|$)", re.IGNORECASE
)


class Draws(NamedTuple):
    """The random numbers of one clip, each in [0, 1)."""

    place: float
    top: float
    left: float
    flip: float
    rate: float
    caption: float


@dataclass(frozen=True, kw_only=True)
class ClipSampler:
    """How clips are cut from footage.

    Args:
        frames: frames per clip, at least 1.
        size: (height, width) in pixels, or one number for both.
        fps: frames per second of the clips, whatever the files' are; a pair (low, high) draws a
            rate for each clip, evenly in its logarithm and no lower than the video is long
            enough for; None for the files' own.
        stride: every how many of a file's frames, where `fps` is None; several numbers (the frame
            skip of Video Diffusion Models) draw one for each clip, among those that fit.
        start: second of the footage at which every clip begins; anywhere in it when None.
        crop: "center" or "random".
        flip: mirror every other clip; "left" and "right" change places in what is said of it.
        clips: clips per video and epoch, from as many equal parts of it.

    Raises:
        InputError: a value outside of what is said above.
    """

    frames: int = 16
    size: int | tuple[int, int] = 64
    fps: float | int | tuple[float | int, float | int] | None = None
    stride: int | tuple[int, ...] = 1
    start: float | int | None = None
    crop: str = "center"
    flip: bool = False
    clips: int = 1

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise InputError(f"frames is {self.frames}; it must be a whole number of at least 1")
        if min(self.pixels) < 1:
            raise InputError(f"size is {self.size}; it must be a whole number of at least 1")
        low, high = self._rates or (1, 1)
        if not 0 < low <= high:
            raise InputError(f"fps is {self.fps}; it must be above 0, or two such values with the lower one first")
        if not self._strides or min(self._strides) < 1:
            raise InputError(f"stride is {self.stride}; it must be a whole number of at least 1")
        if self.fps is not None and self._strides != (1,):
            raise InputError(f"fps is {self.fps} and stride {self.stride}; give one of them, not both")
        if self.start is not None and self.start < 0:
            raise InputError(f"start is {self.start}; it must be at least 0 seconds")
        if self.crop not in _CROPS:
            raise InputError(f'crop is "{self.crop}"; it must be one of {", ".join(_CROPS)}')
        if self.clips < 1:
            raise InputError(f"clips is {self.clips}; it must be a whole number of at least 1")

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width."""
        return (self.size, self.size) if isinstance(self.size, int) else (int(self.size[0]), int(self.size[1]))

    @property
    def _rates(self) -> tuple[float, float] | None:
        if self.fps is None:
            return None
        low, high = self.fps if isinstance(self.fps, tuple) else (self.fps, self.fps)
        return float(low), float(high)

    @property
    def _strides(self) -> tuple[int, ...]:
        return (self.stride,) if isinstance(self.stride, int) else tuple(sorted(set(self.stride)))

    def draws(self, index: int, epoch: int, seed: int) -> Draws:
        """All that is random about clip `index` of an epoch: it depends on these numbers only."""
        return Draws(*uniforms(keys(seed, epoch, index), len(Draws._fields))[0].tolist())

    def window(self, footage: Footage, draws: Draws, number: int = 0) -> tuple[NDArray[np.int64], float]:
        """The numbers of a clip's frames, and its rate.

        The rate is MagicVideo's *new FPS* (its section on the frame-rate condition): frames per
        second that the clip shows of the scene, so N of L frames are N · FPS / L; 0 where nothing
        says the footage's rate.

        Args:
            footage: an opened video.
            draws: of this clip.
            number: which of the video's clips.

        Raises:
            Unreadable: it is too short, or its frame rate is not known and `fps` asks for one.
        """
        if not self.start:
            place = 0.0 if self.start == 0 else (number + draws.place) / self.clips
            return self._window(footage, draws, place)
        part = Excerpt.between(footage, self.start, max(footage.seconds, self.start))
        numbers, rate = self._window(part, draws, 0.0)
        return part.first + numbers, rate

    def _window(self, footage: Footage, draws: Draws, place: float) -> tuple[NDArray[np.int64], float]:
        if self._rates is None:
            fitting = [stride for stride in self._strides if (self.frames - 1) * stride < len(footage)]
            if not fitting:
                shortest = self._strides[0]
                needed = f"{(self.frames - 1) * shortest + 1}" + (f" (stride {shortest})" if shortest > 1 else "")
                raise Unreadable(f"too short: {len(footage)} frames, needed are {needed}")
            stride = fitting[int(draws.rate * len(fitting))]
            rate = float(footage.fps) / stride
            numbers = window(footage, self.frames, place=place, stride=stride)
        elif footage.fps == 0 and self.frames > 1:
            raise Unreadable("nothing says its frame rate, so it cannot be read at another; a stride can be asked for")
        elif footage.fps == 0:
            return np.zeros(1, np.int64), 0.0
        else:
            low, high = self._rates
            possible = (self.frames - 1) / max(footage.seconds - 2 * ROUNDING, 1e-9)
            low = min(max(low, possible), high)
            rate = low * (high / low) ** draws.rate
            numbers = window(footage, self.frames, place=place, fps=rate)
            if numbers is None:
                needed = f"{(self.frames - 1) / high:.2f} s ({self.frames} frames at {high:g} per second)"
                raise Unreadable(f"too short: {footage.seconds:.2f} s, needed are more than {needed}")
        assert numbers is not None
        return numbers, rate


def mirrored(text: str) -> str:
    """What a caption says of the mirrored clip: left for right, and clockwise for counterclockwise."""

    def other(match: re.Match[str]) -> str:
        word = match.group(1)
        swapped = _MIRRORED[word.lower().replace("-", "")]
        return swapped.upper() if word.isupper() else swapped.capitalize() if word[0].isupper() else swapped

    return _SIDES.sub(other, text)


def chosen(captions: Sequence[str], draw: float | int) -> str:
    """One of the captions, "" when there is none."""
    return captions[int(draw * len(captions))] if captions else ""
