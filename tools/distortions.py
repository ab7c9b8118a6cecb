"""Ways to spoil a clip, with a strength from 0 (untouched) to 1: what a validation measure must notice.

`DISTORTIONS` are those that the judge of moving digits is trained and tested with; `ALL_DISTORTIONS` are for clips of
any kind.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, interpolate, pad

Clips = Float[Tensor, "b t c h w"]

_BLUR = 2.0  # standard deviation at full strength, in pixels of a canvas of 32
_NOISE = 0.6  # standard deviation at full strength; pixels are in [-1, 1]
_JITTER = 3.0  # standard deviation of a frame's shift at full strength, in pixels of a canvas of 32
_WARP = 2.5  # standard deviation of a pixel's shift at full strength, in pixels of a canvas of 32
_KNOTS = 5  # of a field of shifts, along a side: between them it is smooth
_BLOCK = 8  # pixels: side of the blocks that coders divide a frame into
_QUANTUM = 2.0  # step between a block's coefficients at full strength; pixels are in [-1, 1]


def blur(clips: Clips, strength: float, generator: Generator) -> Clips:
    """Gaussian blur of each frame."""
    if strength == 0:
        return clips
    c, size = clips.shape[2], clips.shape[-1]
    sigma = strength * _BLUR * size / 32
    reach = max(1, int(3 * sigma + 0.5))
    x = torch.arange(-reach, reach + 1, dtype=clips.dtype)
    kernel = torch.exp(-(x**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(c, 1, -1)
    flat = pad(rearrange(clips, "b t c h w -> (b t) c h w"), (reach,) * 4, mode="replicate")
    flat = conv2d(conv2d(flat, kernel[:, :, None], groups=c), kernel[..., None], groups=c)
    return rearrange(flat, "(b t) c h w -> b t c h w", t=clips.shape[1])


def noise(clips: Clips, strength: float, generator: Generator) -> Clips:
    """White noise, new in each frame."""
    added = torch.randn(clips.shape, generator=generator) * (strength * _NOISE)
    return (clips + added).clamp(-1, 1)


def jitter(clips: Clips, strength: float, generator: Generator) -> Clips:
    """Each frame shifted by a random amount of its own."""
    b, t = clips.shape[:2]
    shift = torch.randn(b * t, 2, generator=generator) * (strength * _JITTER * 2 / 32)
    theta = torch.cat([torch.eye(2).expand(b * t, 2, 2), shift[..., None]], -1)
    flat = rearrange(clips, "b t c h w -> (b t) c h w")
    grid = affine_grid(theta, list(flat.shape), align_corners=False)
    moved = grid_sample(flat, grid, padding_mode="border", align_corners=False)
    return rearrange(moved, "(b t) c h w -> b t c h w", t=t)


def shuffle(clips: Clips, strength: float, generator: Generator) -> Clips:
    """A part of the frames, the same in all clips, change places."""
    t = clips.shape[1]
    count = round(strength * t)
    if count < 2:
        return clips
    places = torch.randperm(t, generator=generator)[:count]
    order = torch.arange(t)
    order[places] = places.roll(1)  # a random cycle: every chosen frame gets another place
    return clips[:, order]


def freeze(clips: Clips, strength: float, generator: Generator) -> Clips:
    """The last part of the clip stands still."""
    t = clips.shape[1]
    last = t - 1 - round(strength * (t - 1))
    return clips[:, torch.arange(t).clamp(max=last)]


def cut(clips: Clips, strength: float, generator: Generator) -> Clips:
    """The last part of the clip, half of it at full strength, is that of another one."""
    t = clips.shape[1]
    start = t - round(strength * t / 2)
    return torch.cat([clips[:, :start], clips.roll(1, 0)[:, start:]], 1)


def stutter(clips: Clips, strength: float, generator: Generator) -> Clips:
    """A part of the frames, the same in all clips, show the one before them again."""
    t = clips.shape[1]
    order = torch.arange(t)
    order[1 + torch.randperm(t - 1, generator=generator)[: round(strength * (t - 1))]] = 0
    return clips[:, order.cummax(0).values]


def warp(clips: Clips, strength: float, generator: Generator) -> Clips:
    """Each frame bent locally, in a way of its own."""
    return _bent(clips, strength, generator, fields=clips.shape[1])


def still_warp(clips: Clips, strength: float, generator: Generator) -> Clips:
    """All frames of a clip bent locally in one way: each as bad as by `warp`, but nothing trembles."""
    return _bent(clips, strength, generator, fields=1)


def _bent(clips: Clips, strength: float, generator: Generator, fields: int) -> Clips:
    if strength == 0:
        return clips
    b, t, _, h, w = clips.shape
    knots = torch.randn(b * fields, 2, _KNOTS, _KNOTS, generator=generator)
    shift = interpolate(knots, (h, w), mode="bicubic", align_corners=True) * (strength * _WARP * 2 / 32)
    shift = rearrange(shift, "(b f) xy h w -> b f h w xy", b=b).expand(b, t, h, w, 2)
    plain = affine_grid(torch.eye(2, 3).expand(b * t, 2, 3), [b * t, 3, h, w], align_corners=False)
    grid = plain + rearrange(shift, "b t h w xy -> (b t) h w xy")
    flat = rearrange(clips, "b t c h w -> (b t) c h w")
    moved = grid_sample(flat, grid, padding_mode="reflection", align_corners=False)
    return rearrange(moved, "(b t) c h w -> b t c h w", t=t)


def blocks(clips: Clips, strength: float, generator: Generator) -> Clips:
    """The artefacts of a coder: the cosine coefficients of each block in coarse steps."""
    if strength == 0:
        return clips
    t, (h, w) = clips.shape[1], clips.shape[-2:]
    flat = rearrange(clips, "b t c h w -> (b t) c h w")
    flat = pad(flat, (0, -w % _BLOCK, 0, -h % _BLOCK), mode="replicate")
    cut_up = rearrange(flat, "n c (h y) (w x) -> n c h w y x", y=_BLOCK, x=_BLOCK)
    k = torch.arange(_BLOCK, dtype=clips.dtype)
    waves = torch.cos(torch.pi / _BLOCK * (k + 0.5) * k[:, None]) * (2 / _BLOCK) ** 0.5  # the orthonormal DCT-II
    waves[0] /= 2**0.5
    step = strength * _QUANTUM
    coarse = ((waves @ cut_up @ waves.T) / step).round() * step
    flat = rearrange(waves.T @ coarse @ waves, "n c h w y x -> n c (h y) (w x)")[..., :h, :w]
    return rearrange(flat, "(b t) c h w -> b t c h w", t=t).clamp(-1, 1)


def colour(clips: Clips, strength: float, generator: Generator) -> Clips:
    """Another tint: each channel of a clip with another contrast and brightness."""
    gain, offset = torch.randn(2, len(clips), 1, 3, 1, 1, generator=generator)
    offset = offset - reduce(offset, "b t c h w -> b t 1 h w", "mean")  # a tint, not a light
    return (clips * (1 + 0.4 * strength * gain.clamp(-2, 2)) + 0.5 * strength * offset).clamp(-1, 1)


DISTORTIONS: dict[str, Callable[[Clips, float, Generator], Clips]] = {
    "blur": blur,
    "noise": noise,
    "jitter": jitter,
    "shuffle": shuffle,
    "freeze": freeze,
    "cut": cut,
}

ALL_DISTORTIONS: dict[str, Callable[[Clips, float, Generator], Clips]] = {
    **DISTORTIONS,
    "stutter": stutter,
    "warp": warp,
    "still warp": still_warp,
    "blocks": blocks,
    "colour": colour,
}
