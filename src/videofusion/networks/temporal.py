"""The temporal designs of the U-Net: one row of a table each, and the layers that the rows ask for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.networks.layers import GroupNorm, attend


@dataclass(frozen=True, kw_only=True)
class TemporalDesign:
    """What a video U-Net has beyond the image U-Net.

    Args:
        attention: after every spatial unit, one after the other: "place" (over time at the same place), "directed" (the
            same, to the frame itself and those before it only) or "middle" (to every place of the middle frame, around
            one that it points at; see `PointedAttention`).
        joint_levels: this many of the coarsest levels attend over space and time at once instead.
        frame_number: every frame is told its number.
        share: every frame is told its share lambda.
    """

    attention: tuple[str, ...] = ()
    joint_levels: int = 0
    frame_number: bool = False
    share: bool = False

    def kinds(self, level: int, levels: int) -> tuple[str, ...]:
        """The attention of one level, counted from the finest: `attention`'s, or "joint" alone."""
        return ("joint",) if level >= levels - self.joint_levels else self.attention


TEMPORAL_DESIGNS = {
    "image": TemporalDesign(),
    # VideoFusion's residual generator as the text of the paper reads (sec. 3.3)
    "framewise": TemporalDesign(frame_number=True, share=True),
    # Video Diffusion Models: factorised over space and time, relative positions
    "factorised": TemporalDesign(attention=("place",)),
    # the residual generator with temporal layers
    "residual": TemporalDesign(attention=("place",), frame_number=True, share=True),
    # both with attention over space and time at the two coarsest levels instead, which sees motion
    "factorised_joint": TemporalDesign(joint_levels=2, frame_number=True),
    "residual_joint": TemporalDesign(joint_levels=2, frame_number=True, share=True),
    # the variant image-first's: finer levels look at the middle frame, which is clean there, and, where frames have to
    # agree on what neither it nor the text says, at all frames
    "residual_middle": TemporalDesign(attention=("middle",), joint_levels=1, frame_number=True, share=True),
    "residual_middle_place": TemporalDesign(
        attention=("middle", "place"), joint_levels=1, frame_number=True, share=True
    ),
    # both with it at the coarsest level only, where Lumiere has its attention
    "factorised_coarse": TemporalDesign(joint_levels=1, frame_number=True),
    "residual_coarse": TemporalDesign(joint_levels=1, frame_number=True, share=True),
    # MagicVideo: directed attention; an adaptor for each frame, here the scale and shift that its number makes in every
    # residual block; and each of the two taken away
    "directed": TemporalDesign(attention=("directed",), frame_number=True),
    "directed_plain": TemporalDesign(attention=("directed",)),
    "factorised_numbered": TemporalDesign(attention=("place",), frame_number=True),
}


def temporal_design(name: str) -> TemporalDesign:
    """The row of that name.

    Raises:
        InputError: the name is none of `TEMPORAL_DESIGNS`.
    """
    if name not in TEMPORAL_DESIGNS:
        raise InputError(f"temporal is {name!r}; it must be one of {', '.join(TEMPORAL_DESIGNS)}")
    return TEMPORAL_DESIGNS[name]


def time_angles(frames: Tensor, half: int) -> Tensor:
    """Rotary angles of frame numbers: [t] to [t half]."""
    frequencies = 100.0 ** (-torch.arange(half, device=frames.device, dtype=torch.float32) / max(half, 1))
    return frames.float()[:, None] * frequencies


def space_time_angles(frames: Tensor, height: int, width: int, half: int) -> Tensor:
    """Rotary angles of every place of every frame: half of the pairs turn with time, a quarter with each side.

    Args:
        frames: frame numbers [t].
        height: of the feature map.
        width: of the feature map.
        half: pairs of features of a head.

    Returns:
        [t*height*width half].
    """
    side = half // 4
    frequencies = 10.0 ** (-torch.arange(side, device=frames.device, dtype=torch.float32) / max(side, 1))
    rows = torch.arange(height, device=frames.device).float()[:, None] * frequencies
    columns = torch.arange(width, device=frames.device).float()[:, None] * frequencies
    t = len(frames)
    axes = (
        time_angles(frames, half - 2 * side)[:, None, None].expand(t, height, width, -1),
        rows[None, :, None].expand(t, height, width, -1),
        columns[None, None].expand(t, height, width, -1),
    )
    return torch.cat(axes, dim=-1).flatten(0, 2)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): attention then sees differences of positions only.

    Args:
        x: queries or keys of all heads side by side [... n heads*head].
        angles: of each of the n tokens [n head/2]; the first half of a head's features is turned with the second.
    """
    half = angles.shape[-1]
    head, heads = 2 * half, x.shape[-1] // (2 * half)
    sin = angles.sin()
    # tables as wide as x: its rows are read once and whole, where slices of a few features would be slow
    cos_table = angles.cos().repeat(1, 2 * heads).to(x.dtype)
    sin_table = torch.cat([-sin, sin], dim=-1).repeat(1, heads).to(x.dtype)
    swapped = x.unflatten(-1, (heads, head)).roll(half, dims=-1).flatten(-2)
    return torch.addcmul(x * cos_table, swapped, sin_table)


class TemporalAttention(nn.Module):
    """Attention between frames with relative positions, added to its input; the identity at initialisation.

    Args:
        channels: of the features.
        heads: of the attention.
        groups: of the norm.
        kind: "place" (over time at the same place), "directed" (the same, to earlier frames and the frame itself) or
            "joint" (over space and time at once).
    """

    def __init__(self, channels: int, heads: int, groups: int, kind: str = "place") -> None:
        super().__init__()
        self.heads = heads
        self.kind = kind
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.to_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.to_out.weight)
        nn.init.zeros_(self.to_out.bias)

    def forward(self, x: Tensor, clip_shape: tuple[int, int], frames: Tensor, told: Tensor | None = None) -> Tensor:
        """Mix frames.

        Args:
            x: features [(b t) c h w].
            clip_shape: (b, t).
            frames: global frame numbers [t].
            told: is not read.
        """
        b, t = clip_shape
        c, h, w = x.shape[1:]
        tokens = self.norm(x).permute(0, 2, 3, 1).reshape(b, t, h * w, c)
        half = c // self.heads // 2
        if self.kind != "joint":
            tokens, angles = tokens.transpose(1, 2).reshape(b * h * w, t, c), time_angles(frames, half)
        else:
            tokens, angles = tokens.reshape(b, t * h * w, c), space_time_angles(frames, h, w, half)
        qk, v = self.to_qkv(tokens).split((2 * c, c), dim=-1)
        q, k = rotate(qk, angles).split(c, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        mixed = attend(q, k, v, causal=self.kind == "directed")
        mixed = self.to_out(mixed.transpose(1, 2).flatten(2))
        if self.kind != "joint":
            mixed = mixed.reshape(b, h * w, t, c).transpose(1, 2)
        return x + mixed.reshape(b * t, h, w, c).permute(0, 3, 1, 2)
