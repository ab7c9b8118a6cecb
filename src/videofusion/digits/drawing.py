"""From the description of a clip of moving digits to its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from videofusion.data.counter import keys
from videofusion.digits.grounds import draw_grounds, spline
from videofusion.digits.spec import (
    COLOURS,
    DIGIT_SIZE,
    GREY,
    GREY_OVER_PHOTO,
    GREY_VALUE,
    ROOM,
    DigitClipSpec,
    DigitObject,
)
from videofusion.errors import InputError

GRID = 8  # side of scikit-learn's images
SPLITS = ("train", "val", "test")
# Ink below the first value becomes transparent, above the second opaque: firm strokes with
# edges about a pixel wide.
INK = (0.25, 0.62)

_VALUES = {**COLOURS, GREY: GREY_VALUE}
_VALUES_OVER_PHOTO = {**COLOURS, GREY: GREY_OVER_PHOTO}


@lru_cache(maxsize=1)
def handwriting() -> tuple[Tensor, NDArray[np.int64]]:
    """Scikit-learn's 1,797 images as spline coefficients [n 8 8], and their digits [n].

    A cubic spline with these coefficients goes through the image's values, so that a digit
    can be drawn at any scale and any place between pixels without getting blurred there.
    """
    from sklearn.datasets import load_digits  # takes most of a second to import

    bunch = load_digits()
    ink = torch.from_numpy(np.asarray(bunch.images, np.float64) / 16.0)
    samples = torch.eye(GRID, dtype=torch.float64) * (4 / 6)
    samples += torch.diag(torch.full((GRID - 1,), 1 / 6, dtype=torch.float64), 1)
    samples += torch.diag(torch.full((GRID - 1,), 1 / 6, dtype=torch.float64), -1)
    inverse = torch.linalg.inv(samples)
    return (inverse @ ink @ inverse.T).float(), np.asarray(bunch.target, np.int64)


@lru_cache(maxsize=1)
def images_of() -> dict[str, tuple[tuple[int, ...], ...]]:
    """For each split and digit the numbers of the images: 70 % train, 10 % val, 20 % test."""
    labels = handwriting()[1]
    shuffled = np.argsort(keys(1797, np.arange(len(labels))), kind="stable")
    parts: dict[str, list[tuple[int, ...]]] = {split: [] for split in SPLITS}
    for digit in range(10):
        mine = [int(i) for i in shuffled if labels[i] == digit]
        first, second = round(0.7 * len(mine)), round(0.8 * len(mine))
        for split, part in zip(SPLITS, (mine[:first], mine[first:second], mine[second:]), strict=True):
            parts[split].append(tuple(part))
    return {split: tuple(part) for split, part in parts.items()}


def positions(things: Sequence[DigitObject], frames: int) -> Float[Tensor, "b t 2"]:
    """Left and top of each digit's square in each frame, with elastic bounces: [b t 2].

    Measured from wall to wall: 0 is at the left or top, 1 at the right or bottom.
    """
    start = torch.tensor([thing.start for thing in things], dtype=torch.float64)
    step = torch.tensor([thing.velocity for thing in things], dtype=torch.float64)
    time = torch.arange(frames, dtype=torch.float64)
    free = start[:, None] + step[:, None] * time[None, :, None]  # as if there were no walls
    return (1 - (free.remainder(2) - 1).abs()).clamp(0, 1)


def coverage(things: Sequence[DigitObject], frames: int, size: int) -> Float[Tensor, "b t h w"]:
    """How much each digit covers each pixel, in [0, 1]: [b t h w]."""
    coefficients = handwriting()[0][[thing.image for thing in things]]
    scale = DIGIT_SIZE * size / GRID  # canvas pixels per pixel of the small image
    corner = positions(things, frames).float() * (ROOM * size)
    pixel = torch.arange(size, dtype=torch.float32) + 0.5
    # Where each row and column of the canvas lies in the small image, in its pixels.
    place = (pixel - corner[..., None]) / scale - 0.5  # b t 2 size
    weights = spline(place[..., None] - torch.arange(GRID, dtype=torch.float32))
    across, down = weights.unbind(2)  # b t w 8, b t h 8
    rows = down @ coefficients[:, None]  # b t h 8
    ink = rows @ across.transpose(-1, -2)  # b t h w
    low, high = INK
    return ink.sub_(low).mul_(1 / (high - low)).clamp_(0, 1)


def render(specs: Sequence[DigitClipSpec], frames: int, size: int) -> Float[Tensor, "b t 3 h w"]:
    """Draw clips from their descriptions.

    Args:
        specs: b descriptions.
        frames: number of frames, at least 1.
        size: height and width in pixels, at least 8.

    Returns:
        `b t c h w`, float32 in [-1, 1].

    Raises:
        InputError: no frames, a canvas under 8 pixels, or nothing to draw.
    """
    check_shape(frames, size)
    if not specs:
        raise InputError("specs is empty; at least one clip is needed")
    clip = _grounds(specs, frames, size)
    for layer in range(max(len(spec.objects) for spec in specs)):
        which = [i for i, spec in enumerate(specs) if len(spec.objects) > layer]
        things = [specs[i].objects[layer] for i in which]
        alpha = rearrange(coverage(things, frames, size), "b t h w -> b t 1 h w")
        values = [_VALUES_OVER_PHOTO if specs[i].ground else _VALUES for i in which]
        colour = torch.tensor([by[thing.colour] for by, thing in zip(values, things, strict=True)]) * 2 - 1
        colour = rearrange(colour, "b c -> b 1 c 1 1")
        if len(which) == len(specs):
            clip = torch.lerp(clip, colour, alpha)
        else:
            clip[which] = torch.lerp(clip[which], colour, alpha)
    return clip.contiguous()


def _grounds(specs: Sequence[DigitClipSpec], frames: int, size: int) -> Float[Tensor, "b t 3 h w"]:
    """What is behind the digits in each frame, in [-1, 1]."""
    clip = _backgrounds(specs, size)[:, None].expand(-1, frames, -1, -1, -1)
    which = [i for i, spec in enumerate(specs) if spec.ground is not None]
    if which:
        grounds = draw_grounds([spec.ground for spec in specs if spec.ground is not None], frames, size)
        clip = clip.contiguous()
        clip[which] = grounds.expand(-1, -1, 3, -1, -1)
    return clip


def _backgrounds(specs: Sequence[DigitClipSpec], size: int) -> Float[Tensor, "b 3 h w"]:
    """The still behind the digits: [b c h w] in [-1, 1]."""
    dark = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    ends = torch.tensor([spec.background or dark for spec in specs])
    angle = torch.tensor([spec.angle for spec in specs])
    across = (torch.arange(size, dtype=torch.float32) + 0.5) / size * 2 - 1
    ramp = angle.cos()[:, None, None] * across + angle.sin()[:, None, None] * across[:, None]
    share = rearrange(ramp / 8**0.5 + 0.5, "b h w -> b 1 h w")  # in [0, 1] at every angle
    first, second = rearrange(ends, "b two c -> two b c 1 1")
    return torch.lerp(first, second, share) * 2 - 1


def check_shape(frames: int, size: int) -> None:
    """Raise an `InputError` for a clip that cannot be drawn."""
    if frames < 1:
        raise InputError(f"frames is {frames}; a clip has at least 1")
    if size < GRID:
        raise InputError(f"size is {size}; a digit needs a canvas of at least {GRID} pixels")
