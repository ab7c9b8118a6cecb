"""Layers of the U-Net. Names of parameters are diffusers', so that its image models load by name."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHORT = 256  # keys, up to which the way back is the slower in half precision on a CPU


def sinusoidal(numbers: Tensor, size: int) -> Tensor:
    """Sinusoidal embedding, cosines first (Ho et al. 2020).

    Args:
        numbers: [n], in the thousands at most.
        size: of the embedding, even.

    Returns:
        [n size], float32.
    """
    half = size // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=numbers.device, dtype=torch.float32) / half)
    angles = numbers.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def normalised(embedding: Tensor) -> Tensor:
    """An embedding [b d] brought to mean 0 and variance 1 over its entries."""
    return F.layer_norm(embedding, embedding.shape[-1:])


class Embedding(nn.Module):
    """Two linear layers with SiLU between: of time, of added conditions.

    Args:
        size_in: of what is embedded.
        size: of the embedding.
        zero: begin at nothing, for a condition that an image model does not have.
    """

    def __init__(self, size_in: int, size: int, *, zero: bool = False) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(size_in, size)
        self.linear_2 = nn.Linear(size, size)
        if zero:
            nn.init.zeros_(self.linear_2.weight)
            nn.init.zeros_(self.linear_2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class GroupNorm(nn.GroupNorm):
    """As torch's, for input that asks for no gradient too.

    On a CPU torch 2.13 crashes there (a segmentation fault) in the backward pass to the weights, with channels last:
    which is what a norm over time sees whose network is frozen up to it.
    """

    def forward(self, input: Tensor) -> Tensor:
        if self.weight.requires_grad and not input.requires_grad and torch.is_grad_enabled():
            input = input.detach().requires_grad_()
        return super().forward(input)


class Resnet(nn.Module):
    """Two convolutions, told the time between: it shifts the features, or scales and shifts them after their norm.

    Scaling as well (Dhariwal & Nichol 2021, sec. 3.1) says more, where what is told is more than the time.
    """

    def __init__(self, channels_in: int, channels: int, time_size: int, groups: int, *, scale: bool = False) -> None:
        super().__init__()
        self.scale = scale
        self.norm1 = GroupNorm(groups, channels_in, eps=1e-5)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_size, 2 * channels if scale else channels)
        self.norm2 = GroupNorm(groups, channels, eps=1e-5)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else None

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Args: x [n c h w]; time [n d], already through SiLU."""
        h = self.conv1(F.silu(self.norm1(x)))
        told = self.time_emb_proj(time)[:, :, None, None]
        if self.scale:
            scale, shift = told.chunk(2, dim=1)
            h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        else:
            h = self.norm2(h + told)
        h = self.conv2(F.silu(h))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """Fused attention of queries [n heads l d] to keys and values [n heads m d], in their precision.

    On a CPU its way back through few keys takes longer in half precision than in float32, with wide heads several times
    as long (torch 2.13), so that gradients of short sequences, as those over time are, go through float32.
    """
    dtype = q.dtype
    slow = q.device.type == "cpu" and dtype == torch.bfloat16 and k.shape[-2] <= SHORT and torch.is_grad_enabled()
    if slow:
        q, k, v = q.float(), k.float(), v.float()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal).to(dtype)


class Attention(nn.Module):
    """Multi-head attention of tokens to themselves or to a context, through fused attention."""

    def __init__(self, channels: int, heads: int, context: int | None = None, *, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=bias)
        self.to_k = nn.Linear(context or channels, channels, bias=bias)
        self.to_v = nn.Linear(context or channels, channels, bias=bias)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Args: x [n l c]; context [m k d], n a multiple of m and each clip's rows of x together; mask bool [m k]."""
        n, length, c = x.shape
        source = x if context is None else context
        q, k, v = self.to_q(x), self.to_k(source), self.to_v(source)
        # frames of one clip share a context: they are queries of one sequence, the context is not repeated
        q = q.reshape(source.shape[0], -1, self.heads, c // self.heads).transpose(1, 2)
        k = k.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        v = v.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        out = attend(q, k, v, None if mask is None else mask[:, None, None, :])
        return self.to_out[0](out.transpose(1, 2).reshape(n, length, c))


class GEGLU(nn.Module):
    """Gated linear unit with GELU (Shazeer 2020)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Position-wise network; the index gap in `net` is diffusers' dropout, which is never used."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GEGLU(channels, 4 * channels), nn.Identity(), nn.Linear(4 * channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to a context where there is one, feed-forward."""

    def __init__(self, channels: int, heads: int, context: int | None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attn1 = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels) if context else None
        self.attn2 = Attention(channels, heads, context) if context else None
        self.norm3 = nn.LayerNorm(channels)
        self.ff = FeedForward(channels)

    def forward(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        x = x + self.attn1(self.norm1(x))
        if self.attn2 is not None and self.norm2 is not None:
            x = x + self.attn2(self.norm2(x), context, mask)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the places of each frame (Stable Diffusion's attention)."""

    def __init__(
        self, channels: int, heads: int, depth: int, context: int | None, groups: int, *, linear: bool
    ) -> None:
        super().__init__()
        self.linear = linear
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.proj_in: nn.Module = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(channels, heads, context) for _ in range(depth))
        self.proj_out: nn.Module = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        """Args: x [n c h w]; context [b l d] or None; mask bool [b l] or None."""
        n, c, height, width = x.shape
        h = self.norm(x)
        if not self.linear:
            h = self.proj_in(h)
        h = h.permute(0, 2, 3, 1).reshape(n, height * width, c)  # no copy when channels come last
        if self.linear:
            h = self.proj_in(h)
        for block in self.transformer_blocks:
            h = block(h, context, mask)
        if self.linear:
            h = self.proj_out(h)
        h = h.reshape(n, height, width, c).permute(0, 3, 1, 2)
        return x + (h if self.linear else self.proj_out(h))


class SpatialAttention(Attention):
    """Self-attention over the places of each frame, alone (the attention of diffusers' UNet2DModel)."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__(channels, heads, bias=True)
        self.group_norm = GroupNorm(groups, channels, eps=1e-5)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Args: x [n c h w]; context and mask are not read."""
        n, c, height, width = x.shape
        h = super().forward(self.group_norm(x).permute(0, 2, 3, 1).reshape(n, height * width, c))
        return x + h.reshape(n, height, width, c).permute(0, 3, 1, 2)


class Downsample(nn.Module):
    """Halve height and width by a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Double height and width by nearest neighbours and a convolution.

    Of the nine taps that see a doubled place some see the same pixel. Adding their weights up first gives a transposed
    convolution of four taps for each place: the same function, in less than half of the arithmetic.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        # on few pixels the sums cost more than they save; float32 on a CPU is what was measured (docs/speed.md); an
        # adapter (LoRA) in place of the convolution has more than its weight
        measured = x.device.type == "cpu" and x.dtype == torch.float32
        if n * height * width < 256 or not measured or type(self.conv) is not nn.Conv2d:
            return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return F.conv_transpose2d(x, doubling_kernel(self.conv.weight), self.conv.bias, stride=2, padding=1)


def doubling_kernel(weight: Tensor) -> Tensor:
    """The kernel [in out 4 4] of the transposed convolution that is nearest neighbours, then a kernel [out in 3 3]."""
    sums = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]], device=weight.device, dtype=weight.dtype)
    taps = weight.permute(1, 2, 3, 0).flatten(1, 2)  # [in 9 out]
    return (torch.kron(sums, sums) @ taps).unflatten(1, (4, 4)).permute(0, 3, 1, 2)
