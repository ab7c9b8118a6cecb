"""How the public protocols resize frames before a network sees them; none of them antialiases."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor


def resize_clips(
    clips: Float[Tensor, "b t c h w"], size: int, *, align_corners: bool = False
) -> Float[Tensor, "b t c s s"]:
    """Each frame squashed to a square, bilinear.

    Args:
        clips: any range.
        size: height and width afterwards, in pixels.
        align_corners: as Chainer has it by default; the centres of the corner pixels stay in the corners.
    """
    frames = rearrange(clips, "b t c h w -> (b t) c h w")
    frames = F.interpolate(frames, (size, size), mode="bilinear", align_corners=align_corners)
    return rearrange(frames, "(b t) c h w -> b t c h w", t=clips.shape[1])


def resize_tensorflow(frames: Float[Tensor, "n c h w"], size: int) -> Float[Tensor, "n c s s"]:
    """Bilinear as TensorFlow 1 does it by default: pixel i is taken at i h / size, so pictures shift to the upper left.

    Args:
        frames: any range.
        size: height and width afterwards, in pixels.
    """
    for axis in (-2, -1):
        length = frames.shape[axis]
        # in float64: at whole pixels float32 may fall below the pixel
        place = torch.arange(size, device=frames.device, dtype=torch.float64) * length / size
        first = place.floor().long()
        weight = (place - first).to(frames.dtype)
        low = frames.index_select(axis, first)
        high = frames.index_select(axis, (first + 1).clamp(max=length - 1))
        frames = torch.lerp(low, high, weight[:, None] if axis == -2 else weight)
    return frames
