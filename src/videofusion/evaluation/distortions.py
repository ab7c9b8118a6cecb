"""Ways to spoil a clip, with a strength from 0 (untouched) to 1: what a validation measure must notice."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, conv2d, grid_sample, pad

Clips = Float[Tensor, "b t c h w"]

_BLUR = 2.0  # standard deviation at full strength, in pixels of a canvas of 32
_NOISE = 0.6  # standard deviation at full strength; pixels are in [-1, 1]
_JITTER = 3.0  # standard deviation of a frame's shift at full strength, in pixels of a canvas of 32


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


DISTORTIONS: dict[str, Callable[[Clips, float, Generator], Clips]] = {
    "blur": blur,
    "noise": noise,
    "jitter": jitter,
    "shuffle": shuffle,
    "freeze": freeze,
    "cut": cut,
}
