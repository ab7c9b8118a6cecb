"""The grounds of moving digits over photographs: crops of two photographs under a camera that rests or pans slowly.

The photographs are those that scikit-learn ships (china.jpg and flower.jpg, CC BY 2.0; NOTICE names their authors).
They are made grey and no brighter than `TOP`, so that all seven colours stand out from them, and their light and dark
are spread evenly, so that any two frames of a clip share about 0.8 of their variance wherever the crop lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from videofusion.digits.spec import CANVAS, Ground

PHOTOS = ("china.jpg", "flower.jpg")
TOP = 0.45  # the brightest that a ground is, in [-1, 1]
# Columns of a photograph that each split's crops come from: no crop shows what one of another split shows.
COLUMNS = {"train": (0.0, 0.6), "val": (0.6, 0.8), "test": (0.8, 1.0)}

_SCALE = 2.0  # pixels of a photograph in a pixel of a canvas of 32
_FINEST = 64  # canvas in which a pixel is one of a photograph; larger ones are drawn between its pixels
_MARGIN = 1.0  # left around a crop for the spline, in pixels of a canvas of 32
_STEEPNESS = 6.0  # of the curve that spreads light and dark: most of a ground is nearly the one or the other
_FAINT = 0.02  # deviation in [0, 1] below which a plain part of a photograph, as the sky, is left plain


def room(photo: int, split: str) -> tuple[float, float]:
    """How far a crop of the canvas can go to the right and down in its part, in pixels of a canvas of 32."""
    height, width = _luminance()[photo].shape
    first, last = COLUMNS[split]
    taken = CANVAS + 3 * _MARGIN
    return (round(last * width) - round(first * width)) / _SCALE - taken, height / _SCALE - taken


def draw_grounds(grounds: Sequence[Ground], frames: int, size: int) -> Float[Tensor, "b t 1 h w"]:
    """The grounds of clips, the same in each colour.

    Args:
        grounds: b descriptions.
        frames: of a clip.
        size: height and width in pixels.
    """
    time = torch.arange(frames, dtype=torch.float64)
    start = torch.tensor([ground.start for ground in grounds], dtype=torch.float64)
    pan = torch.tensor([ground.pan for ground in grounds], dtype=torch.float64)
    ends = torch.tensor([room(ground.photo, ground.split) for ground in grounds], dtype=torch.float64)[:, None]
    free = start[:, None] + pan[:, None] * time[:, None]  # as if the part had no ends, b t 2
    fine = min(size, _FINEST)
    corner = (ends - (free.remainder(2 * ends) - ends).abs() + _MARGIN) * (fine / CANVAS)
    first = corner.amin(1).floor().long() - 2
    side = fine + 5 + int((corner.amax(1) - corner.amin(1)).max().ceil())
    patches = torch.empty(len(grounds), side, side)
    for key in {(ground.photo, ground.split) for ground in grounds}:
        which = [i for i, ground in enumerate(grounds) if (ground.photo, ground.split) == key]
        level = _level(*key, fine)
        across, down = (first[which, None] + torch.arange(side)[:, None]).unbind(-1)  # b side
        height, width = level.shape
        patches[which] = level[down.clamp(0, height - 1)[:, :, None], across.clamp(0, width - 1)[:, None]]
    pixel = (torch.arange(size) + 0.5) * (fine / size) - 0.5
    at = (corner - first[:, None]).float()[..., None] + pixel  # b t 2 size
    weights = spline(at[..., None] - torch.arange(side))
    across, down = weights.unbind(2)  # b t size side
    return rearrange(down @ patches[:, None] @ across.transpose(-1, -2), "b t h w -> b t 1 h w")


def spline(x: Tensor) -> Tensor:
    """The cubic B-spline, as a sum of truncated powers; `x` is used up."""
    far = (2 - x.abs_()).clamp_(min=0)
    near = (far - 1).clamp_(min=0)
    return far.pow_(3).sub_(near.pow_(3), alpha=4).mul_(1 / 6)


@lru_cache(maxsize=1)
def _luminance() -> tuple[Tensor, ...]:
    """The photographs' luminance in [0, 1], in the order of `PHOTOS`: [h w] each."""
    from sklearn.datasets import load_sample_image

    weights = np.array([0.299, 0.587, 0.114]) / 255
    return tuple(torch.from_numpy(load_sample_image(name) @ weights).float() for name in PHOTOS)


@lru_cache(maxsize=32)
def _level(photo: int, split: str, size: int) -> Tensor:
    """A split's part of a photograph, evened out, at the scale of a canvas of `size` pixels: [h w] in [-1, `TOP`]."""
    whole = _luminance()[photo]
    first, last = (round(end * whole.shape[1]) for end in COLUMNS[split])
    part = whole[None, None, :, first:last]
    # Light and dark against what is around: a window as large as the canvas.
    half = int(_SCALE * CANVAS) // 2
    around = pad(torch.cat([part, part.square()]), (half,) * 4, mode="reflect")
    mean, square = avg_pool2d(around, 2 * half + 1, stride=1).split(1)
    even = (part - mean) / (square - mean.square()).clamp(min=0).sqrt().clamp(min=_FAINT)
    wanted = [round(length * size / (CANVAS * _SCALE)) for length in part.shape[-2:]]
    even = interpolate(even, wanted, mode="bicubic", antialias=True)
    return ((even * _STEEPNESS).tanh() * ((TOP + 1) / 2) + (TOP - 1) / 2)[0, 0]
