"""The one U-Net: an image model, or a video model by its temporal design.

In image mode its parameters and its forward pass are those of diffusers' `UNet2DConditionModel` and `UNet2DModel`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from videofusion.errors import InputError
from videofusion.networks.layers import (
    Downsample,
    Embedding,
    GroupNorm,
    Resnet,
    SpatialAttention,
    SpatialTransformer,
    Upsample,
    sinusoidal,
)
from videofusion.networks.pointing import PointedAttention
from videofusion.networks.temporal import TemporalAttention, temporal_design

ATTENTION = ("none", "plain", "transformer")
TIME_ID_SIZE = 256  # embedding of each of Stable Diffusion XL's size and crop numbers


class Told(NamedTuple):
    """What every layer is told beside its features."""

    time: Tensor  # [(b t) d], through SiLU
    text: Tensor | None  # [b l d]
    text_mask: Tensor | None  # [b l]
    clip_shape: tuple[int, int]  # (b, t)
    frames: Tensor | None  # [t]; None in image mode
    temporal: float  # how much of what temporal layers add counts


class Level(nn.Module):
    """One resolution on the way down, in the middle or up: residual blocks with attention, then resampling.

    Args:
        resnets: residual blocks.
        attentions: spatial attention after each of them (the first of two in the middle), or none.
        temporals: temporal attention in the same places, or none: first all of one kind, then all of the next, so that
            a design with one kind more finds the others' weights by name.
        units: number of these places.
    """

    def __init__(
        self, resnets: list[nn.Module], attentions: list[nn.Module], temporals: list[nn.Module], units: int
    ) -> None:
        super().__init__()
        self.units = units
        self.resnets = nn.ModuleList(resnets)
        self.attentions = nn.ModuleList(attentions) if attentions else None
        self.temporals = nn.ModuleList(temporals) if temporals else None
        self.downsamplers: nn.ModuleList | None = None
        self.upsamplers: nn.ModuleList | None = None

    def step(self, index: int, x: Tensor, told: Told) -> Tensor:
        """One residual block with the attention that follows it."""
        x = self.resnets[index](x, told.time)
        if self.attentions is not None and index < len(self.attentions):
            x = self.attentions[index](x, told.text, told.text_mask)
        if self.temporals is not None and index < self.units and told.frames is not None:
            for i in range(index, len(self.temporals), self.units):
                mixed = self.temporals[i](x, told.clip_shape, told.frames, told.time)
                x = mixed if told.temporal == 1 else torch.lerp(x, mixed, told.temporal)
        return x


class UNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """U-Net over images or clips.

    Args:
        in_channels: of the noisy clip and what is concatenated to it.
        out_channels: of the prediction.
        channels: features of each level, finest first.
        blocks: residual blocks of a level on the way down (one more on the way up).
        attention: spatial attention of each level: "none", "plain" (self-attention) or "transformer" (with text).
        middle_attention: of the middle; that of the coarsest level when None.
        heads: of spatial and temporal attention, one number or one for each level.
        depth: transformer blocks per attention, one number or one for each level.
        linear_projection: around transformer blocks, linear layers rather than 1x1 convolutions.
        text_size: of the text's token embeddings; None for no text.
        image_size: of the central frame's embedding; None for none.
        pool_text: tell every layer the text's first token too (that of the beginning), beside cross-attention.
        added_size: of Stable Diffusion XL's pooled text and time numbers together; None for none.
        labels: number of classes; None for none.
        fps: be told the clip's rate, through two linear layers (MagicVideo); they add nothing at initialisation.
        groups: of every group norm.
        scale_shift: what every layer is told scales its features too, rather than only shifting them.
        patch: side of the squares of pixels that are folded into channels (Hoogeboom et al. 2023, sec. 3.2).
        temporal: a row of `TEMPORAL_DESIGNS`.

    Raises:
        InputError: lengths that do not agree, an unknown kind of attention or temporal design.
    """

    _supports_gradient_checkpointing = True
    config_name = "config.json"

    @register_to_config
    def __init__(
        self,
        *,
        in_channels: int = 3,
        out_channels: int = 3,
        channels: Sequence[int] = (64, 128, 256),
        blocks: int = 2,
        attention: Sequence[str] = ("none", "transformer", "transformer"),
        middle_attention: str | None = None,
        heads: int | Sequence[int] = 4,
        depth: int | Sequence[int] = 1,
        linear_projection: bool = True,
        text_size: int | None = None,
        image_size: int | None = None,
        pool_text: bool = False,
        added_size: int | None = None,
        labels: int | None = None,
        fps: bool = False,
        groups: int = 32,
        scale_shift: bool = False,
        patch: int = 1,
        temporal: str = "image",
    ) -> None:
        super().__init__()
        levels = len(channels)
        heads = [heads] * levels if isinstance(heads, int) else list(heads)
        depth = [depth] * levels if isinstance(depth, int) else list(depth)
        for name, values in (("attention", attention), ("heads", heads), ("depth", depth)):
            if len(values) != levels:
                raise InputError(f"{name} has {len(values)} entries; it must have one for each of {levels} levels")
        for kind in (*attention, middle_attention or "none"):
            if kind not in ATTENTION:
                raise InputError(f"attention is {kind!r}; it must be one of {', '.join(ATTENTION)}")
        design = temporal_design(temporal)
        for level, c in enumerate(channels):
            in_middle = level == levels - 1 and (middle_attention or "none") != "none"
            attends = attention[level] != "none" or bool(design.kinds(level, levels)) or in_middle
            for what, count in (("groups", groups), ("heads", heads[level] if attends else 1)):
                if c % count:
                    raise InputError(f"{what} is {count}; it must divide the {c} channels of level {level}")
        time_size = 4 * channels[0]
        self.patch = patch
        self.downscale = patch * 2 ** (levels - 1)
        self.time_embedding = Embedding(channels[0], time_size)
        self.add_embedding = Embedding(added_size, time_size) if added_size else None
        self.text_embedding = Embedding(text_size, time_size) if pool_text and text_size else None
        self.image_embedding = Embedding(image_size, time_size) if image_size else None
        self.class_embedding = nn.Embedding(labels, time_size) if labels else None
        self.fps_embedding = Embedding(channels[0], time_size, zero=True) if fps else None
        # where a thing is depends on its direction times the frames that have passed: one network hears both
        heard = channels[0] + (text_size if self.text_embedding is not None and text_size else 0)
        self.frame_embedding = Embedding(heard, time_size, zero=True) if design.frame_number else None
        self.share_embedding = Embedding(channels[0], time_size, zero=True) if design.share else None

        def spatial(kind: str, level: int) -> nn.Module | None:
            c = channels[level]
            if kind == "transformer":
                return SpatialTransformer(c, heads[level], depth[level], text_size, groups, linear=linear_projection)
            return SpatialAttention(c, heads[level], groups) if kind == "plain" else None

        def over_time(level: int, kind: str) -> nn.Module:
            if kind == "middle":
                return PointedAttention(channels[level], heads[level], groups, time_size)
            return TemporalAttention(channels[level], heads[level], groups, kind)

        def make_level(level: int, kind: str, widths: list[tuple[int, int]], units: int) -> Level:
            resnets: list[nn.Module] = [Resnet(a, b, time_size, groups, scale=scale_shift) for a, b in widths]
            attentions = [m for m in (spatial(kind, level) for _ in range(units)) if m is not None]
            temporals = [over_time(level, each) for each in design.kinds(level, levels) for _ in range(units)]
            return Level(resnets, attentions, temporals, units)

        self.conv_in = nn.Conv2d(in_channels * patch**2, channels[0], 3, padding=1)
        skips = [channels[0]]
        self.down_blocks = nn.ModuleList()
        for i, c in enumerate(channels):
            widths = [(channels[max(i - 1, 0)] if j == 0 else c, c) for j in range(blocks)]
            down = make_level(i, attention[i], widths, blocks)
            skips += [c] * blocks
            if i < levels - 1:
                down.downsamplers = nn.ModuleList([Downsample(c)])
                skips.append(c)
            self.down_blocks.append(down)
        last = channels[-1]
        middle = middle_attention if middle_attention is not None else attention[-1]
        self.mid_block = make_level(levels - 1, middle, [(last, last)] * 2, 1)
        self.up_blocks = nn.ModuleList()
        width = last
        for i in reversed(range(levels)):
            widths = []
            for _ in range(blocks + 1):
                widths.append((width + skips.pop(), channels[i]))
                width = channels[i]
            up = make_level(i, attention[i], widths, blocks + 1)
            if i > 0:
                up.upsamplers = nn.ModuleList([Upsample(channels[i])])
            self.up_blocks.append(up)
        self.conv_norm_out = GroupNorm(groups, channels[0], eps=1e-5)
        self.conv_out = nn.Conv2d(channels[0], out_channels * patch**2, 3, padding=1)
        self.gradient_checkpointing = False
        self.to(memory_format=torch.channels_last)

    def check_size(self, height: int, width: int, factor: int = 1) -> None:
        """Raise InputError unless the network can take frames of this size in pixels, `factor` of them at a place."""
        multiple = factor * self.downscale
        if height % multiple or width % multiple or min(height, width) < 1:
            raise InputError(f"size is {height}x{width}; both must be multiples of {multiple}")

    def forward(
        self,
        z: Tensor,
        time: Tensor,
        *,
        text: Tensor | None = None,
        text_mask: Tensor | None = None,
        pooled_text: Tensor | None = None,
        time_ids: Tensor | None = None,
        image_embedding: Tensor | None = None,
        labels: Tensor | None = None,
        fps: Tensor | None = None,
        frames: Tensor | None = None,
        share: Tensor | None = None,
        temporal: float = 1.0,
    ) -> Tensor:
        """Predict, whatever the prediction means.

        Args:
            z: noisy clip [b t c h w]; an image batch is a batch of one-frame clips.
            time: what the schedule's `network_time` gives, [b] or [b t].
            text: token embeddings [b l d].
            text_mask: tokens that count [b l].
            pooled_text: [b d] (Stable Diffusion XL).
            time_ids: [b n] (Stable Diffusion XL).
            image_embedding: of the central frame [b d].
            labels: class numbers [b].
            fps: frames per second [b], 0 where it is not known; so when not given.
            frames: global frame numbers [t]; 0 ... t-1 when not given.
            share: lambda per frame [b t].
            temporal: how much of what temporal layers, frame number, share and rate add counts, in [0, 1]; 0 leaves
                the image model.

        Returns:
            [b t c h w].
        """
        b, t = z.shape[:2]
        frames = torch.arange(t, device=z.device) if frames is None else frames
        embedding = self._embed(
            b, t, time, text, pooled_text, time_ids, image_embedding, labels, fps, frames, share, temporal
        )
        told = Told(F.silu(embedding), text, text_mask, (b, t), frames if temporal else None, temporal)

        x = z.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        if self.patch > 1:
            x = F.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last)
        x = self.conv_in(x)
        skips = [x]
        for block in cast("list[Level]", self.down_blocks):
            for i in range(len(block.resnets)):
                x = self._step(block, i, x, told)
                skips.append(x)
            if block.downsamplers is not None:
                x = block.downsamplers[0](x)
                skips.append(x)
        x = self._step(self.mid_block, 0, x, told)
        x = self._step(self.mid_block, 1, x, told)
        for block in cast("list[Level]", self.up_blocks):
            for i in range(len(block.resnets)):
                x = self._step(block, i, torch.cat([x, skips.pop()], dim=1), told)
            if block.upsamplers is not None:
                x = block.upsamplers[0](x)
        x = self.conv_out(F.silu(self.conv_norm_out(x)))
        if self.patch > 1:
            x = F.pixel_shuffle(x, self.patch)
        return x.unflatten(0, (b, t))

    def _step(self, level: Level, index: int, x: Tensor, told: Told) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            out: Tensor = checkpoint(level.step, index, x, told, use_reentrant=False)
            return out
        return level.step(index, x, told)

    def _embed(
        self,
        b: int,
        t: int,
        time: Tensor,
        text: Tensor | None,
        pooled_text: Tensor | None,
        time_ids: Tensor | None,
        image_embedding: Tensor | None,
        labels: Tensor | None,
        fps: Tensor | None,
        frames: Tensor,
        share: Tensor | None,
        temporal: float,
    ) -> Tensor:
        """Sum of what time and the conditions without tokens say, [(b t) d]."""
        size, dtype = self.config.channels[0], self.conv_in.weight.dtype

        def numbers(embed: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
            return embed(sinusoidal(values.reshape(-1), size).to(dtype)).unflatten(0, values.shape)

        total = numbers(self.time_embedding, time)
        total = (total if time.ndim == 2 else total[:, None]).expand(b, t, -1)
        per_clip: list[tuple[str, nn.Module | None, Tensor | None]] = [
            ("text", self.text_embedding, None if text is None else text[:, 0]),
            ("image_embedding", self.image_embedding, image_embedding),
            ("labels", self.class_embedding, labels),
        ]
        for name, module, value in per_clip:
            if module is not None:
                if value is None:
                    raise InputError(f"{name} is not given; this network was made to be told it")
                total = total + module(value)[:, None]
        if self.add_embedding is not None:
            if pooled_text is None or time_ids is None:
                raise InputError("pooled_text or time_ids is not given; this network was made to be told both")
            ids = sinusoidal(time_ids.reshape(-1), TIME_ID_SIZE).reshape(b, -1).to(dtype)
            total = total + self.add_embedding(torch.cat([pooled_text, ids], dim=-1))[:, None]
        if self.fps_embedding is not None:
            rate = torch.zeros(b, device=time.device) if fps is None else fps
            total = total + temporal * numbers(self.fps_embedding, rate)[:, None]
        if self.frame_embedding is not None:
            number = sinusoidal(frames, size).to(dtype).expand(b, -1, -1)
            if self.text_embedding is not None and text is not None:
                number = torch.cat([number, text[:, :1].expand(-1, t, -1)], dim=-1)
            total = total + temporal * self.frame_embedding(number)
        if self.share_embedding is not None:
            if share is None:
                raise InputError("share is not given; this network was made to be told it")
            total = total + temporal * numbers(self.share_embedding, 1000 * share)
        return total.flatten(0, 1)

    def parts(self) -> Iterator[nn.Module]:
        """Its residual blocks, attentions and changes of resolution, one after the other."""
        for level in (*self.down_blocks, self.mid_block, *self.up_blocks):
            for parts in (level.resnets, level.attentions, level.temporals, level.downsamplers, level.upsamplers):
                yield from parts or ()

    def spatial_state(self) -> dict[str, Any]:
        """The weights that an image U-Net of the same sizes has too."""
        own = ("temporals.", "frame_embedding.", "share_embedding.", "fps_embedding.")
        return {name: value for name, value in self.state_dict().items() if not any(o in name for o in own)}
