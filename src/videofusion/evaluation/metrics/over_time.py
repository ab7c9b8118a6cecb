"""Metrics over time: flicker, warping error, drift and consistency of features.

All give a number for each clip (drift: for each frame), to be averaged by `RunningMoments`, whose interval is over
clips.
"""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cosine_similarity, grid_sample

from videofusion.clip import check_clip
from videofusion.errors import InputError


def flicker(clips: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b"]:
    """Mean absolute change of a pixel from frame to frame, in parts of the range of values.

    One less this is the "temporal flickering" of VBench (Huang et al. 2024), which measures it on still scenes: motion
    counts too, so read it beside the warping error, which leaves motion out.

    Raises:
        InputError: no clips, or of a single frame.
    """
    clips = _check_clips(clips)
    return (clips[:, 1:] - clips[:, :-1]).abs().mean(dim=(1, 2, 3, 4)) / 2


def flow_magnitude(flow: Float[Tensor, "b s 2 h w"]) -> Float[Tensor, "b"]:
    """Mean length of the optical flow, in pixels a frame.

    Raises:
        InputError: no flow, or values that are not finite.
    """
    _check_flow("flow", flow, _flow_shape(flow))
    return flow.norm(dim=2).mean(dim=(1, 2, 3))


def warping_error(
    clips: Float[Tensor, "b t c h w"],
    flow: Float[Tensor, "b s 2 h w"],
    seen: Bool[Tensor, "b s h w"] | None = None,
) -> Float[Tensor, "b"]:
    """Mean squared difference of a frame and the next one brought back along the flow (Lai et al. 2018).

    Of values in [0, 1], over the pixels that stay within the frame and are seen in both. A clip's error is over all its
    pixels alike; where none is left it is refused.

    Args:
        clips: clips of t frames, values in [-1, 1].
        flow: from each frame to the next, s = t - 1, x before y, in pixels: what is at p in frame i is at p + flow in
            frame i + 1.
        seen: which pixels of a frame are in the next one too; by default all. See `unoccluded`.

    Raises:
        InputError: shapes that do not fit, values that are not finite, or a clip without a pixel to compare.
    """
    clips = _check_clips(clips)
    b, t, _, h, w = clips.shape
    _check_flow("flow", flow, (b, t - 1, 2, h, w))
    warped, inside = _warp(clips[:, 1:], flow.double())
    if seen is not None:
        if seen.shape != inside.shape or seen.dtype != torch.bool:
            raise InputError(f"seen is {seen.dtype} {tuple(seen.shape)}; it has to be bool {tuple(inside.shape)}")
        inside = inside & seen
    counts = inside.sum(dim=(1, 2, 3))
    if not counts.all():
        raise InputError(f"clip {int((counts == 0).nonzero()[0])} has no pixel that its flow keeps in view")
    errors = ((clips[:, :-1] - warped) / 2).square().mean(dim=2)
    return (errors * inside).sum(dim=(1, 2, 3)) / counts


def unoccluded(forward: Float[Tensor, "b s 2 h w"], backward: Float[Tensor, "b s 2 h w"]) -> Bool[Tensor, "b s h w"]:
    """Which pixels of a frame are in the next one too: there and back leads to where it began.

    The rule and its two constants are those of Ruder et al. 2016 (after Sundaram et al. 2010).

    Args:
        forward: flow from each frame to the next, in pixels.
        backward: flow from the next frame back, at the next frame's pixels.

    Raises:
        InputError: shapes that differ, or values that are not finite.
    """
    _check_flow("forward", forward, _flow_shape(forward))
    _check_flow("backward", backward, forward.shape)
    back, inside = _warp(backward, forward)
    gap = (forward + back).square().sum(dim=2)
    return inside & (gap <= 0.01 * (forward.square().sum(dim=2) + back.square().sum(dim=2)) + 0.5)


def content_drift(features: Float[Tensor, "b t d"]) -> Float[Tensor, "b t"]:
    """How far each frame's content is from the first frame's: one less the cosine of their features, in [0, 2].

    The similarity to the first frame is one half of VBench's "subject consistency" (Huang et al. 2024); as a curve over
    frames it shows where a long clip loses its content.

    Raises:
        InputError: no features, one frame only, or features whose direction is undefined.
    """
    features = _check_features(features)
    return 1 - cosine_similarity(features, features[:, :1], dim=2)


def frame_consistency(features: Float[Tensor, "b t d"]) -> Float[Tensor, "b"]:
    """Mean cosine of the features of neighbouring frames (Esser et al. 2023, Gen-1, with CLIP's features).

    Raises:
        InputError: no features, one frame only, or features whose direction is undefined.
    """
    features = _check_features(features)
    return cosine_similarity(features[:, 1:], features[:, :-1], dim=2).mean(dim=1)


def _warp(frames: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """What lies at p + flow, [b s c h w], and where that is within the frame, [b s h w]."""
    b, _, _, h, w = frames.shape
    y, x = torch.meshgrid(torch.arange(h, device=flow.device), torch.arange(w, device=flow.device), indexing="ij")
    places = rearrange(torch.stack([x, y]) + flow, "b s xy h w -> (b s) h w xy")
    size = torch.tensor([w, h], dtype=flow.dtype, device=flow.device)
    inside = ((places >= 0) & (places <= size - 1)).all(dim=-1)
    # -1 and 1 are the outer edges of the frame; this holds for a frame of one pixel too.
    grid = (2 * places + 1) / size - 1
    flat = rearrange(frames.to(flow.dtype), "b s c h w -> (b s) c h w")
    warped = grid_sample(flat, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return rearrange(warped, "(b s) c h w -> b s c h w", b=b), rearrange(inside, "(b s) h w -> b s h w", b=b)


def _check_clips(clips: Tensor) -> Tensor:
    check_clip(clips, name="clips", axes="b t c h w")
    if clips.shape[1] < 2:
        raise InputError("clips are of one frame; measures over time need at least two")
    return clips.double()


def _flow_shape(flow: Tensor) -> tuple[int, ...] | None:
    return tuple(flow.shape) if flow.ndim == 5 and flow.shape[2] == 2 and 0 not in flow.shape else None


def _check_flow(name: str, flow: Tensor, shape: tuple[int, ...] | None) -> None:
    if shape is None or tuple(flow.shape) != tuple(shape):
        raise InputError(f"{name} has the shape {tuple(flow.shape)}; it has to be {shape or '(b, s, 2, h, w)'}")
    if not flow.is_floating_point() or not flow.isfinite().all():
        raise InputError(f"{name} must hold finite floating-point numbers of pixels")


def _check_features(features: Tensor) -> Tensor:
    if features.ndim != 3 or features.shape[1] < 2 or 0 in features.shape:
        raise InputError(f"features have the shape {tuple(features.shape)}; they must be b t d, with t at least 2")
    if not features.isfinite().all() or not features.any(dim=2).all():
        raise InputError("features must be finite and not all zero in any frame, as those have no direction")
    return features.double()
