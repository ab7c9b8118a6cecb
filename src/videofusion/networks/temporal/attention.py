"""Attention between frames, alone or in transformer blocks. Each layer returns what it adds; fresh, that is nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from videofusion.networks.layers import (
    Attention,
    Embedding,
    FeedForward,
    GroupNorm,
    LayerInputs,
    attend,
    attend_to_text,
    sinusoidal,
)
from videofusion.networks.temporal.convolution import TimeNorm, begin_at_nothing


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
    """Attention between frames with relative positions.

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
        begin_at_nothing(self.to_out)

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """What frames take from each other.

        Args:
            x: features [(b t) c h w].
            inputs: of which the frames' numbers are read.
        """
        frames = inputs.frames
        b, t = inputs.clip_shape
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
        return mixed.reshape(b * t, h, w, c).permute(0, 3, 1, 2)


class PlainAttention(nn.Module):
    """Attention over time at the same place, without positions (Tune-A-Video's at the end of a transformer block).

    Args:
        channels: of the features.
        heads: of the attention.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm_temp = nn.LayerNorm(channels)
        self.attn_temp = Attention(channels, heads)
        begin_at_nothing(self.attn_temp.to_out[0])

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """Args: x [(b t) c h w]."""
        return to_map(self.attn_temp(self.norm_temp(to_lines(x, inputs.clip_shape))), x, inputs.clip_shape)


class TemporalTransformer(nn.Module):
    """A transformer block over time at the same place, with two self-attentions (ModelScope's text-to-video).

    Args:
        channels: of the features.
        heads: of the attention.
        groups: of the norm.
        width: of the features within; `channels` when None.
    """

    def __init__(self, channels: int, heads: int, groups: int, width: int | None = None) -> None:
        super().__init__()
        width = width or channels
        self.norm = TimeNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, width)
        self.transformer_blocks = nn.ModuleList([TimeBlock(width, heads)])
        self.proj_out = nn.Linear(width, channels)
        begin_at_nothing(self.proj_out)

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """Args: x [(b t) c h w]."""
        lines = self.proj_in(to_lines(self.norm(x, inputs.clip_shape), inputs.clip_shape))
        for block in self.transformer_blocks:
            lines = block(lines)
        return to_map(self.proj_out(lines), x, inputs.clip_shape)


class TimeBlock(nn.Module):
    """Two self-attentions and a feed-forward network over tokens [n t c]."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.attn1, self.attn2 = Attention(channels, heads), Attention(channels, heads)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x))
        return x + self.ff(self.norm3(x))


class NumberedBlock(nn.Module):
    """A transformer block over time with frame numbers and text (that of Stable Video Diffusion, within a transformer).

    Args:
        channels: of the features.
        heads: of the attention.
        context: size of the text's tokens; None for no text.
    """

    def __init__(self, channels: int, heads: int, context: int | None) -> None:
        super().__init__()
        self.time_pos_embed = Embedding(channels, 4 * channels, channels, zero=True)
        self.norm_in, self.norm1, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.ff_in, self.ff = FeedForward(channels), FeedForward(channels)
        self.attn1 = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels) if context else None
        self.attn2 = Attention(channels, heads, context) if context else None
        for last in (self.ff_in.net[2], self.ff.net[2], self.attn1.to_out[0]):
            begin_at_nothing(last)
        if self.attn2 is not None:
            begin_at_nothing(self.attn2.to_out[0])

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """Args: x [(b t) c h w]."""
        number = sinusoidal(inputs.frames, x.shape[1]).to(self.time_pos_embed.linear_1.weight.dtype)
        start = to_lines(x, inputs.clip_shape)  # (b h w) t c
        lines = start + self.time_pos_embed(number)
        lines = lines + self.ff_in(self.norm_in(lines))
        lines = lines + self.attn1(self.norm1(lines))
        if self.attn2 is not None and self.norm2 is not None:  # places of a clip share its text
            lines = lines + attend_to_text(self.attn2, self.norm2, lines, inputs)
        lines = lines + self.ff(self.norm3(lines))
        return to_map(lines - start, x, inputs.clip_shape)


def to_lines(x: Tensor, clip_shape: tuple[int, int]) -> Tensor:
    """Features [(b t) c h w] as lines of frames, one for each place [(b h w) t c]."""
    return x.permute(0, 2, 3, 1).unflatten(0, clip_shape).flatten(2, 3).transpose(1, 2).flatten(0, 1)


def to_map(lines: Tensor, x: Tensor, clip_shape: tuple[int, int]) -> Tensor:
    """Lines of frames [(b h w) t c] as features of x's height and width [(b t) c h w]."""
    whole = lines.unflatten(0, (clip_shape[0], -1)).transpose(1, 2).flatten(0, 1)  # (b t) (h w) c
    return whole.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
