"""Finds the digits of a clip, their colours and their courses, by what is known of the scene.

The background of a moving-digits clip is still and a linear gradient (or black), a digit is one
of seven colours. So: fit the gradient so that digits do not count, take every pixel as
a mixture of background and the colour that explains it best, and the digit is where the
mixture's share is high. No part of this is trained.

Over photographs the ground is grey and no brighter than a known grey. So: what of a pixel is grey, up to there, is
taken out of it, and out of the seven colours alike, and the digit is found in what is left as on black.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from einops import rearrange, reduce
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from videofusion.digits.grounds import TOP
from videofusion.digits.spec import COLOURS, DIRECTIONS, SPEEDS
from videofusion.errors import InputError

SIZE = 32  # every clip is looked at in this size; tracks are in its pixels
COLOUR_NAMES = tuple(COLOURS)
DIRECTION_NAMES = tuple(DIRECTIONS)
SPEED_NAMES = tuple(SPEEDS)
STILL = -1  # the direction and the speed of a digit that does not move

_INK = 0.3  # share of the colour in a pixel from which on it belongs to the digit
_CONTRAST = 0.2  # distance from the background, in [0, 1] RGB, below which a pixel has no colour
_SLOWEST = 0.4 * min(SPEEDS.values())  # pixels per frame below which a digit stands still
_BETWEEN = (SPEEDS["slow"] * SPEEDS["fast"]) ** 0.5
_FITS = 6  # rounds of the robust fit


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """What was found in b clips of t frames, k digits in each, the most massive first.

    Args:
        colour: int64 [b k], index into `COLOUR_NAMES`.
        ink: [b t k h w] in [0, 1], the share of the digit's colour in each pixel.
        place: [b t k 2], x and y of the centre of the ink, in pixels of a canvas of 32.
        mass: [b t k], ink in pixels; 0 where there is no digit.
        velocity: [b k 2], pixels per frame in the first half of the clip (no digit of the built-in
            clips bounces before the middle frame).
    """

    colour: Int[Tensor, "b k"]
    ink: Float[Tensor, "b t k h w"]
    place: Float[Tensor, "b t k 2"]
    mass: Float[Tensor, "b t k"]
    velocity: Float[Tensor, "b k 2"]

    @property
    def direction(self) -> Int[Tensor, "b k"]:
        """Index into `DIRECTION_NAMES` of the nearest of the eight, or `STILL`."""
        vectors = torch.tensor(list(DIRECTIONS.values()), dtype=self.velocity.dtype)
        nearest = (self.velocity @ vectors.T).argmax(-1)
        return torch.where(self.velocity.norm(dim=-1) > _SLOWEST, nearest, STILL)

    @property
    def speed(self) -> Int[Tensor, "b k"]:
        """Index into `SPEED_NAMES`, or `STILL`."""
        pace = self.velocity.norm(dim=-1)
        return torch.where(pace > _SLOWEST, (pace > _BETWEEN).long(), STILL)

    @property
    def displacement(self) -> Float[Tensor, "b k"]:
        """Mean distance of the other frames' places from that of the middle frame, in pixels."""
        t = self.place.shape[1]
        away = (self.place - self.place[:, t // 2, None]).norm(dim=-1)
        return away.sum(1) / max(t - 1, 1)


def track(clips: Float[Tensor, "b t 3 h w"], count: int = 1, grounds: str = "plain") -> Tracks:
    """Find the digits of clips.

    Args:
        clips: `b t c h w`, RGB in [-1, 1], square, at least 32 pixels wide, two frames or more.
        count: digits per clip, 1 or 2; those of one clip must differ in colour.
        grounds: what is behind the digits, "plain" or "photos".

    Raises:
        InputError: clips of another shape, or another count.
    """
    clips = canonical(clips)
    if count not in (1, 2):
        raise InputError(f"count is {count}, but the tracker follows 1 or 2 digits")
    palette = torch.tensor(list(COLOURS.values()), dtype=clips.dtype) * 2 - 1
    if grounds == "photos":
        clips, palette = _without_grey(clips, 2), _without_grey(palette, 1)
        ground = torch.zeros_like(clips[:, 0])
    else:
        ground = _background(clips)
    away = clips - ground[:, None]  # b t c h w
    towards = rearrange(palette, "n c -> n c 1 1") - ground[:, None]  # b n c h w
    # Every fourth frame does to tell the colours: they do not change.
    energy, error, _ = _explain(away[:, ::4], towards)
    # RGB in [-1, 1] has twice the contrast
    votes = (energy * (energy > (2 * _CONTRAST) ** 2)).expand_as(error) * (error == error.amin(2, keepdim=True))
    colour = reduce(votes, "b t n h w -> b n", "sum").topk(count, dim=-1).indices  # b k
    chosen = towards.gather(1, colour[..., None, None, None].expand(-1, -1, 3, SIZE, SIZE))
    _, error, share = _explain(away, chosen)
    owner = torch.nn.functional.one_hot(error.argmin(2), count)  # b t h w k
    ink = share * rearrange(owner, "b t h w k -> b t k h w")
    place, mass = _locate(ink)
    return Tracks(colour=colour, ink=ink, place=place, mass=mass, velocity=_velocity(place, mass))


def _without_grey(colours: Tensor, channels: int) -> Tensor:
    """Colours in [-1, 1] less what of them may be a photograph's grey; `channels` is their axis."""
    grey = colours.mean(channels, keepdim=True)
    return colours - grey.clamp(max=TOP)


def _explain(away: Tensor, towards: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Explain each pixel as background + share (colour - background), by least squares for each colour.

    Args:
        away: pixels minus background [b t c h w].
        towards: colours minus background [b n c h w].

    Returns:
        |away|² [b t 1 h w], |away - share towards|² [b t n h w] and share [b t n h w] in [0, 1].
    """
    power = reduce(towards**2, "b n c h w -> b 1 n h w", "sum")
    product = (away[:, :, None] * towards[:, None]).sum(3)
    share = (product / power).clamp(0, 1)
    energy = reduce(away**2, "b t c h w -> b t 1 h w", "sum")
    return energy, energy - share * (2 * product - share * power), share


def canonical(clips: Tensor) -> Tensor:
    """The clips at 32x32."""
    if clips.ndim != 5 or clips.shape[1] < 2 or clips.shape[2] != 3:
        raise InputError(f"clips must be [b t 3 h w] with two frames or more, not of shape {tuple(clips.shape)}")
    h, w = clips.shape[-2:]
    if h != w or h < SIZE:
        raise InputError(f"clips must be square, {SIZE} pixels or more, not {h}x{w}")
    if h == SIZE:
        return clips.float()
    flat = interpolate(rearrange(clips, "b t c h w -> (b t) c h w").float(), (SIZE, SIZE), mode="area")
    return rearrange(flat, "(b t) c h w -> b t c h w", t=clips.shape[1])


@lru_cache(maxsize=1)
def _ramp() -> Tensor:
    """The functions 1, x and y on the canvas: [h w, 3]."""
    axis = (torch.arange(SIZE, dtype=torch.float32) + 0.5) / SIZE * 2 - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([torch.ones_like(x), x, y], -1).reshape(-1, 3)


def _background(clips: Tensor) -> Float[Tensor, "b 3 h w"]:
    """The linear gradient behind the digits, by least squares with weights that shun outliers."""
    ramp = _ramp()
    still = rearrange(clips.median(dim=1).values, "b c h w -> b (h w) c")
    weight = torch.ones(still.shape[:2])
    tiny = 1e-6 * torch.eye(3)
    for _ in range(_FITS):
        normal = torch.einsum("bp,pi,pj->bij", weight, ramp, ramp) + tiny
        plane = torch.linalg.solve(normal, torch.einsum("bp,pi,bpc->bic", weight, ramp, still))
        error = ((still - ramp @ plane) ** 2).sum(-1)
        # Geman-McClure weights; the scale follows the better half of the pixels, as they differ
        # much in a generated clip and next to nothing in a real one.
        scale = error.median(dim=1, keepdim=True).values.clamp(min=1e-4) * 4
        weight = (1 + error / scale) ** -2
    return rearrange(ramp @ plane, "b (h w) c -> b c h w", h=SIZE)


def _locate(ink: Tensor) -> tuple[Tensor, Tensor]:
    """Centre [b t k 2] and amount [b t k] of the ink.

    A frame without ink gets the place of the frame before it, so that a track has no holes.
    """
    weight = (ink - _INK).clamp(min=0) / (1 - _INK)
    mass = reduce(weight, "b t k h w -> b t k", "sum")
    axis = torch.arange(SIZE, dtype=ink.dtype)
    x = torch.einsum("btkhw,w->btk", weight, axis)
    y = torch.einsum("btkhw,h->btk", weight, axis)
    place = torch.stack([x, y], -1) / mass.clamp(min=1e-6)[..., None]
    places = [torch.where(mass[:, :1, :, None] > 0, place[:, :1], (SIZE - 1) / 2)]
    for i in range(1, ink.shape[1]):
        places.append(torch.where(mass[:, i : i + 1, :, None] > 0, place[:, i : i + 1], places[-1]))
    return torch.cat(places, 1), mass


def _velocity(place: Tensor, mass: Tensor) -> Float[Tensor, "b k 2"]:
    """Slope of the track's first half, frame 0 to the middle one.

    The median of the slopes between frames that lie two or more apart (Theil and Sen): in
    clips of two digits one covers the other for a few frames and pulls the centre away.
    """
    half = place.shape[1] // 2 + 1
    apart = min(half - 1, 2)
    pairs = [(i, j) for i in range(half) for j in range(i + apart, half)]
    early, late = (torch.tensor(side) for side in zip(*pairs, strict=True))
    gap = (late - early).to(place.dtype)[:, None, None]
    return ((place[:, late] - place[:, early]) / gap).median(dim=1).values


def crops(tracks: Tracks, side: int) -> Float[Tensor, "b t k s s"]:
    """The ink around each place, with the place in the middle (between pixels too).

    Args:
        tracks: what `track` found.
        side: side of the crop in pixels of a canvas of 32.
    """
    offsets = torch.arange(side, dtype=tracks.ink.dtype) - (side - 1) / 2
    wanted = tracks.place[..., None] + offsets  # b t k 2 s
    pixel = torch.arange(SIZE, dtype=tracks.ink.dtype)
    # Linear interpolation as two small matrices, one for the columns and one for the rows.
    across, down = (1 - (wanted[..., None] - pixel).abs()).clamp(min=0).unbind(3)
    return down @ tracks.ink @ across.transpose(-1, -2)


def names(indices: Sequence[int], among: Sequence[str]) -> list[str | None]:
    """Words for indices, None for `STILL`."""
    return [None if i == STILL else among[i] for i in indices]
