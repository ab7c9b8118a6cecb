"""Layers of the U-Net. Names of parameters are diffusers', so that its image models load by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHORT = 256  # keys, up to which the way back is the slower in half precision on a CPU


Reach = Callable[[Tensor], Tensor]  # tokens of clips [b t n c] to what their frames look at, [b m c] or [(b t) m c]


class LayerInputs(NamedTuple):
    """What every layer of a network is given beside its features [(b t) c h w].

    Args:
        time: embedding of time and conditions, through SiLU [(b t) d].
        text: token embeddings [b l d].
        text_mask: which of them count [b l].
        clip_shape: (b, t).
        frames: global frame numbers [t].
        temporal: how much of what temporal layers add counts, in [0, 1]; they do not run at 0.
        reach: what spatial self-attention looks at; its own frame when None.
        context: clean frames and their mask for temporal layers [(b t) c h w]; None for none.
    """

    time: Tensor
    text: Tensor | None
    text_mask: Tensor | None
    clip_shape: tuple[int, int]
    frames: Tensor
    temporal: float
    reach: Reach | None = None
    context: Tensor | None = None

    def add(self, x: Tensor, layers: Iterable[nn.Module] | None, seen: Tensor | None = None) -> Tensor:
        """Features x with what temporal layers add to them, one after the other.

        Args:
            x: [(b t) c h w].
            layers: called as layer(features, inputs), each returns what it adds; None for none.
            seen: what all of them look at, in place of what the one before has left.
        """
        if layers is not None and self.temporal:
            for layer in layers:
                whole = x + layer(x if seen is None else seen, self)
                x = whole if self.temporal == 1 else torch.lerp(x, whole, self.temporal)
        return x

    def look(self, attention: Callable[..., Tensor], tokens: Tensor) -> Tensor:
        """Self-attention of the places of frames, as far as frames see each other.

        Args:
            attention: called with tokens, and with a context where frames see others.
            tokens: [(b t) n c].
        """
        if self.reach is None or not self.temporal:
            return attention(tokens)
        reached = attention(tokens, self.reach(tokens.unflatten(0, self.clip_shape)))
        return reached if self.temporal == 1 else torch.lerp(attention(tokens), reached, self.temporal)

    def halved(self) -> LayerInputs:
        """The same for every other frame, beginning with the first."""
        b, t = self.clip_shape

        def half(value: Tensor) -> Tensor:
            return value.unflatten(0, (b, t))[:, ::2].flatten(0, 1)

        context = None if self.context is None else half(self.context)
        return self._replace(
            time=half(self.time), clip_shape=(b, (t + 1) // 2), frames=self.frames[::2], context=context
        )


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


def channels_last(network: nn.Module) -> None:
    """Lay out what has four axes with its channels last, as features are; layers of others may have five."""
    for each in (*network.parameters(), *network.buffers()):
        if each.ndim == 4:
            each.data = each.data.contiguous(memory_format=torch.channels_last)


class Embedding(nn.Module):
    """Two linear layers with SiLU between: of time, of added conditions.

    Args:
        size_in: of what is embedded.
        size: of the embedding, and of what is between the layers.
        size_out: of the embedding, where it is another.
        zero: begin at nothing, for a condition that an image model does not have.
    """

    def __init__(self, size_in: int, size: int, size_out: int | None = None, *, zero: bool = False) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(size_in, size)
        self.linear_2 = nn.Linear(size, size_out or size)
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
    """Two convolutions; between them the time embedding shifts the features, or scales and shifts them after the norm.

    Scaling as well (Dhariwal & Nichol 2021, sec. 3.1) helps where the embedding holds more than the time.

    Args:
        channels_in: of its input.
        channels: of its output.
        time_size: of the embedding of time.
        groups: of the norms.
        scale: whether the features are scaled too.
        eps: of the norms.
        temporals: temporal layers after the first convolution and after the second, or none.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        time_size: int,
        groups: int,
        *,
        scale: bool = False,
        eps: float = 1e-5,
        temporals: tuple[list[nn.Module], list[nn.Module]] = ([], []),
    ) -> None:
        super().__init__()
        self.scale = scale
        self.norm1 = GroupNorm(groups, channels_in, eps=eps)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(time_size, 2 * channels if scale else channels)
        self.norm2 = GroupNorm(groups, channels, eps=eps)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else None
        self.temporals1, self.temporals2 = (nn.ModuleList(layers) if layers else None for layers in temporals)

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """Args: x [(b t) c h w]."""
        h = inputs.add(self.conv1(F.silu(self.norm1(x))), self.temporals1)
        embedding = self.time_emb_proj(inputs.time)[:, :, None, None]
        if self.scale:
            scale, shift = embedding.chunk(2, dim=1)
            h = torch.addcmul(shift, self.norm2(h), 1 + scale)
        else:
            h = self.norm2(h + embedding)
        h = inputs.add(self.conv2(F.silu(h)), self.temporals2)
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


def attend_to_text(attention: nn.Module, norm: nn.Module, x: Tensor, inputs: LayerInputs) -> Tensor:
    """What tokens [n l c] take from the text: [n l c], or [n 1 c] where all take the same.

    Of a single token each takes all, whatever it asks, so that neither questions nor their norm are computed; a
    gradient has all weights take part.
    """
    text, mask = inputs.text, inputs.text_mask
    alone = text is not None and text.shape[1] == 1 and mask is None and not torch.is_grad_enabled()
    if text is None or not alone or type(attention) is not Attention:
        return cast("Tensor", attention(norm(x), text, mask))
    told: Tensor = attention.to_out[0](attention.to_v(text))
    return told.repeat_interleave(len(x) // len(told), dim=0)


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

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """Args: x [(b t) n c]."""
        x = x + inputs.look(self.attn1, self.norm1(x))
        if self.attn2 is not None and self.norm2 is not None:
            x = x + attend_to_text(self.attn2, self.norm2, x, inputs)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the places of each frame (Stable Diffusion's attention).

    Args:
        channels: of the features.
        heads: of the attention.
        depth: number of blocks.
        context: size of the text's tokens; None for no text.
        groups: of the norm.
        linear: whether the projections around the blocks are linear layers rather than 1x1 convolutions.
        temporals: temporal layers after each block.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        depth: int,
        context: int | None,
        groups: int,
        *,
        linear: bool,
        temporals: list[list[nn.Module]] | None = None,
    ) -> None:
        super().__init__()
        self.linear = linear
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.proj_in: nn.Module = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(channels, heads, context) for _ in range(depth))
        self.proj_out: nn.Module = nn.Linear(channels, channels) if linear else nn.Conv2d(channels, channels, 1)
        self.temporals = nn.ModuleList(nn.ModuleList(layers) for layers in temporals) if temporals else None

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """Args: x [(b t) c h w]."""
        n, c, height, width = x.shape
        h = self.norm(x)
        if not self.linear:
            h = self.proj_in(h)
        h = h.permute(0, 2, 3, 1).reshape(n, height * width, c)  # no copy when channels come last
        if self.linear:
            h = self.proj_in(h)
        for i, block in enumerate(self.transformer_blocks):
            h = block(h, inputs)
            if self.temporals is not None:  # which see a map, a view of the tokens
                h = h.reshape(n, height, width, c).permute(0, 3, 1, 2)
                h = (
                    inputs.add(h, cast("nn.ModuleList", self.temporals[i]))
                    .permute(0, 2, 3, 1)
                    .reshape(n, height * width, c)
                )
        if self.linear:
            h = self.proj_out(h)
        h = h.reshape(n, height, width, c).permute(0, 3, 1, 2)
        return x + (h if self.linear else self.proj_out(h))


class SpatialAttention(Attention):
    """Self-attention over the places of each frame, alone (the attention of diffusers' UNet2DModel)."""

    def __init__(self, channels: int, heads: int, groups: int) -> None:
        super().__init__(channels, heads, bias=True)
        self.group_norm = GroupNorm(groups, channels, eps=1e-5)

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:  # type: ignore[override]
        """Args: x [(b t) c h w]."""
        n, c, height, width = x.shape
        tokens = self.group_norm(x).permute(0, 2, 3, 1).reshape(n, height * width, c)
        h = inputs.look(super().forward, tokens)
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
