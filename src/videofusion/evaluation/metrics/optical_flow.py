"""Optical flow of clips, by OpenCV."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from videofusion.clip.check import check_clip, to_uint8
from videofusion.errors import InputError, require

_LEAST = 16  # pixels: smaller frames leave the method no patch


def optical_flow(
    clips: Float[Tensor, "b t 3 h w"],
) -> tuple[Float[Tensor, "b s 2 h w"], Float[Tensor, "b s 2 h w"]]:
    """Flow from each frame to the next, s = t - 1, and from the next one back; x before y, in pixels.

    By dense inverse search (Kroeger et al. 2016) with OpenCV's settings "medium", on grey frames.

    Args:
        clips: values in [-1, 1], two frames or more of 16x16 pixels or more.

    Raises:
        InputError: other clips, or OpenCV is not installed.
    """
    check_clip(clips, name="clips", axes="b t c h w")
    if clips.shape[1] < 2 or min(clips.shape[-2:]) < _LEAST:
        raise InputError(
            f"clips have {clips.shape[1]} frames of {clips.shape[-2]}x{clips.shape[-1]} pixels; optical flow takes two "
            f"or more of {_LEAST}x{_LEAST} or more"
        )
    cv2 = require("cv2", extra="flow")
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for clip in to_uint8(clips).numpy():
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip]
        for one, other in pairwise(grey):
            found[0].append(method.calc(one, other, None))
            found[1].append(method.calc(other, one, None))
    forward, backward = (
        rearrange(torch.from_numpy(np.stack(flow)), "(b s) h w xy -> b s xy h w", b=len(clips)).to(clips.device)
        for flow in found
    )
    return forward, backward
