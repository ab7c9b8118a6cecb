"""Convolutions over time, what is done to each frame by its number, and halving and doubling of a clip's frames.

Each layer returns what it adds; fresh, that is nothing. Names and shapes of parameters are those of diffusers' video
U-Nets, where these have such a layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from videofusion.networks.layers import GroupNorm, LayerInputs, sinusoidal

_NUMBER = 64  # entries that say a frame's number


class TimeConvolution(nn.Conv2d):
    """Convolution over three frames at each place.

    It is computed over frames and all places of a frame, of which channels-last features are a view; its weight
    [o i 3 1] is that of a convolution over (t, h, w), less the last axis.
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__(channels, channels, (3, 1), stride=(stride, 1), padding=(1, 0))

    def forward(self, x: Tensor, clip_shape: tuple[int, int]) -> Tensor:  # type: ignore[override]
        """From [(b t) c h w] to [(b t') c h w], t' = t / stride, rounded up; clip_shape is (b, t)."""
        line = super().forward(over_time(x, clip_shape))  # b c t' (h w)
        return line.unflatten(3, x.shape[2:]).transpose(1, 2).flatten(0, 1)


class TimeNorm(GroupNorm):
    """Group norm over all frames of a clip."""

    def forward(self, input: Tensor, clip_shape: tuple[int, int]) -> Tensor:  # type: ignore[override]
        """Args: input [(b t) c h w]; clip_shape (b, t)."""
        line = super().forward(over_time(input, clip_shape))
        return line.unflatten(3, input.shape[2:]).transpose(1, 2).flatten(0, 1)


def over_time(x: Tensor, clip_shape: tuple[int, int]) -> Tensor:
    """Features [(b t) c h w] as [b c t h*w], without a copy when channels come last."""
    return x.permute(0, 2, 3, 1).unflatten(0, clip_shape).flatten(2, 3).permute(0, 3, 1, 2)


class Convolution(TimeConvolution):
    """A convolution over time, at first nothing, so that features and what it adds are the identity.

    It stands after a convolution over space, as in Make-A-Video's pseudo-3D convolution (Singer et al. 2022, sec. 3.2).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        begin_at_nothing(self)

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:  # type: ignore[override]
        return super().forward(x, inputs.clip_shape)


class ResidualBlock(nn.Module):
    """Two convolutions over time with norms over the clip and a time embedding (Video LDM, Stable Video Diffusion).

    Args:
        channels: of the features.
        time_size: of the embedding of time.
        groups: of the norms.
        context: channels of clean frames and their mask, added after a learned downsampling (Video LDM, sec.
            3.2); 0 for none.
        scale: of that downsampling.
        eps: of the norms.
    """

    def __init__(
        self, channels: int, time_size: int, groups: int, context: int = 0, scale: int = 1, eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.norm1 = TimeNorm(groups, channels, eps=eps)
        self.conv1 = TimeConvolution(channels)
        self.time_emb_proj = nn.Linear(time_size, channels)
        self.context = nn.Conv2d(context, channels, scale, stride=scale, bias=False) if context else None
        self.norm2 = TimeNorm(groups, channels, eps=eps)
        self.conv2 = TimeConvolution(channels)
        begin_at_nothing(self.conv2)

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """Args: x [(b t) c h w]."""
        shape = inputs.clip_shape
        h = self.conv1(F.silu(self.norm1(x, shape)), shape)
        h = h + self.time_emb_proj(inputs.time)[:, :, None, None]
        if self.context is not None and inputs.context is not None:
            h = h + self.context(inputs.context)
        return self.conv2(F.silu(self.norm2(h, shape)), shape)


class ConvolutionStack(nn.Module):
    """Four convolutions over time, each after a norm over the clip (ModelScope's text-to-video).

    The gap in the indices of all but the first is diffusers' dropout, which is not used.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()

        def unit(*gap: nn.Module) -> nn.ModuleList:
            norm = TimeNorm(groups, channels, eps=1e-5)
            return nn.ModuleList([norm, nn.SiLU(), *gap, TimeConvolution(channels)])

        self.conv1 = unit()
        self.conv2, self.conv3, self.conv4 = (unit(nn.Identity()) for _ in range(3))
        begin_at_nothing(self.conv4[-1])

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """Args: x [(b t) c h w]."""
        for part in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = part[-1](F.silu(part[0](x, inputs.clip_shape)), inputs.clip_shape)
        return x


class Adaptor(nn.Module):
    """Each frame's features, scaled and shifted by parameters of the frame (MagicVideo, sec. 3.2).

    They are a linear function of the sines and cosines that say its number, so that any number has some.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale_shift = nn.Linear(_NUMBER, 2 * channels)
        begin_at_nothing(self.scale_shift)

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """Args: x [(b t) c h w]."""
        number = sinusoidal(inputs.frames, _NUMBER).to(self.scale_shift.weight.dtype)
        parameters = self.scale_shift(number).repeat(inputs.clip_shape[0], 1)[:, :, None, None]
        scale, shift = parameters.chunk(2, dim=1)  # (b t) c 1 1
        return torch.addcmul(shift, x, scale)


class Halve(TimeConvolution):
    """Every other frame, by a convolution over time that begins by choosing it (Lumiere, Bar-Tal et al. 2024)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, stride=2)
        begin_as_identity(self)

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:  # type: ignore[override]
        """From [(b t) c h w] to [(b t') c h w], t' = (t + 1) // 2."""
        return super().forward(x, inputs.clip_shape)


class Double(TimeConvolution):
    """Every frame twice, then a convolution over time that begins as the identity (Lumiere)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        begin_as_identity(self)

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:  # type: ignore[override]
        """From [(b t') c h w] to [(b t) c h w]; the inputs are those of the t frames."""
        b, t = inputs.clip_shape
        x = x.unflatten(0, (b, -1)).repeat_interleave(2, dim=1)[:, :t].flatten(0, 1)
        return super().forward(x.contiguous(memory_format=torch.channels_last), inputs.clip_shape)


def begin_at_nothing(layer: nn.Module) -> None:
    """Set weight and bias of a layer to zero."""
    for parameter in layer.parameters(recurse=False):
        nn.init.zeros_(parameter)


def begin_as_identity(layer: nn.Conv2d) -> None:
    """Set a convolution to the identity."""
    nn.init.dirac_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
