"""How public protocols resize frames before a network's own preprocessing."""

from __future__ import annotations

import math

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from videofusion.clip.check import from_uint8
from videofusion.video.frames import fit


def squared(frame: NDArray[np.uint8], size: int, how: str) -> Float[Tensor, "3 s s"]:
    """A frame in [-1, 1], its short side resized to `size`, the middle square cut out.

    Args:
        frame: RGB, h w 3.
        size: height and width afterwards, in pixels.
        how: one of `presets.RESIZES`. "bilinear" is TATS's way (tats/data.py), without antialiasing, and
            "bilinear-antialias" cd-fvd's; "bicubic-antialias" the one that models here are trained on, in whole bytes.
    """
    pixels = torch.from_numpy(frame)
    height, width = pixels.shape[:2]
    if how == "bicubic-antialias" or (height, width) == (size, size):
        return from_uint8(fit(pixels, (size, size)))
    short = min(height, width)
    # The long side is rounded up, as there.
    shape = [math.ceil(height * (size / short)), math.ceil(width * (size / short))]
    shape[0 if height < width else 1] = size
    planes = rearrange(from_uint8(pixels), "c h w -> 1 c h w")
    planes = interpolate(planes, shape, mode="bilinear", align_corners=False, antialias=how == "bilinear-antialias")
    top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
    return planes[0, :, top : top + size, left : left + size].clamp(-1, 1)
