"""The one U-Net: an image model, or a video model by its temporal design.

In image mode its parameters and its forward pass are those of diffusers' `UNet2DConditionModel` and `UNet2DModel`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from diffusers import ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from videofusion.diffusion.conditions import INPUTS
from videofusion.errors import InputError
from videofusion.networks.frame_network import FrameNetwork
from videofusion.networks.inputs import EMBEDDED, embed_numbers
from videofusion.networks.layers import (
    Downsample,
    Embedding,
    GroupNorm,
    LayerInputs,
    Resnet,
    SpatialAttention,
    SpatialTransformer,
    Upsample,
    channels_last,
)
from videofusion.networks.temporal import REACHES, LayerSizes, TemporalDesign, temporal_design
from videofusion.networks.temporal.convolution import Double, Halve

ATTENTION = ("none", "plain", "transformer")


class Level(nn.Module):
    """One resolution on the way down, in the middle or up: residual blocks with attention, then resampling.

    Args:
        resnets: residual blocks.
        blocks: temporal layers after each of them.
        attentions: spatial attention after each of them (the first of two in the middle), or none.
        temporals: temporal layers in the same places, or none: first all of one kind, then all of the next, so that
            a design with one kind more finds the others' weights by name.
        units: number of these places.
        parallel: whether `temporals` see what the spatial attention sees.
    """

    def __init__(
        self,
        resnets: list[nn.Module],
        blocks: list[list[nn.Module]],
        attentions: list[nn.Module],
        temporals: list[nn.Module],
        units: int,
        parallel: bool,
    ) -> None:
        super().__init__()
        self.units = units
        self.parallel = parallel
        self.resnets = nn.ModuleList(resnets)
        self.temporal_blocks = nn.ModuleList(nn.ModuleList(layers) for layers in blocks) if any(blocks) else None
        self.attentions = nn.ModuleList(attentions) if attentions else None
        self.temporals = nn.ModuleList(temporals) if temporals else None
        self.downsamplers: nn.ModuleList | None = None
        self.upsamplers: nn.ModuleList | None = None
        self.temporal_halve: Halve | None = None
        self.temporal_double: Double | None = None

    def step(self, index: int, x: Tensor, inputs: LayerInputs) -> Tensor:
        """One residual block with the attention that follows it."""
        x = self.resnets[index](x, inputs)
        if self.temporal_blocks is not None:
            x = inputs.add(x, cast("nn.ModuleList", self.temporal_blocks[index]))
        before = x
        if self.attentions is not None and index < len(self.attentions):
            x = self.attentions[index](x, inputs)
        if self.temporals is not None and index < self.units:
            here = [self.temporals[i] for i in range(index, len(self.temporals), self.units)]
            x = inputs.add(x, here, before if self.parallel else None)
        return x


# ModelMixin again: diffusers looks for that name in a component's own module
class UNet(FrameNetwork, ModelMixin):  # type: ignore[misc]
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
        pool_text: add the text's first token (the start token) to the time embedding, beside cross-attention.
        added_size: of Stable Diffusion XL's pooled text and time numbers together; None for none.
        labels: number of classes; None for none.
        fps: embed the clip's frame rate by two linear layers (MagicVideo), which add nothing at initialisation.
        numbers: how many other numbers are embedded so (Stable Video Diffusion: rate, motion, noise); 0 for none.
        groups: of every group norm.
        block_eps: of the norms of residual blocks, other than 1e-5 (Stable Video Diffusion: 1e-6); not of those in the
            middle, nor of those on the way down that no transformer follows.
        scale_shift: the time embedding scales features as well as shifting them.
        patch: side of the squares of pixels that are folded into channels (Hoogeboom et al. 2023, sec. 3.2).
        temporal: a row of `TEMPORAL_DESIGNS`.
        context: channels of clean frames and their mask that go to the temporal residual blocks rather than to the
            first layer (Video LDM); not counted in `in_channels`.
        inputs: names of further inputs; each has an entry NAME_embedding in `networks.inputs.EMBEDDED`.

    Raises:
        InputError: lengths that do not agree, an unknown kind of attention or temporal design, a design whose layers
            stand beside spatial attention in a network without, or none of whose layers take the context, a further
            input that has no entry.
    """

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
        numbers: int = 0,
        groups: int = 32,
        block_eps: float = 1e-5,
        scale_shift: bool = False,
        patch: int = 1,
        temporal: str = "image",
        context: int = 0,
        inputs: Sequence[str] = (),
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
        for name in inputs:
            if f"{name}_embedding" not in EMBEDDED:
                raise InputError(
                    f"inputs has {name!r}, but EMBEDDED has no {name}_embedding; import what adds it first"
                )
        design = temporal_design(temporal)
        in_the_middle = middle_attention if middle_attention is not None else attention[-1]
        _check_design(temporal, design, (*attention, in_the_middle))
        if context and not any("residual_block" in design.at(level, levels).blocks for level in range(levels)):
            raise InputError(f"context is {context}, but temporal is {temporal!r}, without residual blocks to tell it")
        for level, c in enumerate(channels):
            here = design.at(level, levels)
            attends = {attention[level], in_the_middle if level == levels - 1 else "none"} != {"none"}
            attends = attends or bool(here.attention) or (level == 0 and bool(here.entry))
            for what, count in (("groups", groups), ("heads", heads[level] if attends else 1)):
                if c % count:
                    raise InputError(f"{what} is {count}; it must divide the {c} channels of level {level}")
        time_size = 4 * channels[0]
        self.patch = patch
        self.downscale = patch * 2 ** (levels - 1)
        self.reach = REACHES[design.reach]
        self.time_embedding = Embedding(channels[0], time_size)
        for name, each in EMBEDDED.items():
            setattr(self, name, each.layers(self.config, time_size))

        def sizes(level: int) -> LayerSizes:
            scale = patch * 2**level
            return LayerSizes(channels[level], heads[level], groups, time_size, text_size, context, scale)

        def spatial(kind: str, level: int) -> nn.Module | None:
            c = channels[level]
            if kind == "transformer":
                here = design.at(level, levels)
                temporals = [here.of("transformer", sizes(level)) for _ in range(depth[level] * bool(here.transformer))]
                return SpatialTransformer(
                    c, heads[level], depth[level], text_size, groups, linear=linear_projection, temporals=temporals
                )
            return SpatialAttention(c, heads[level], groups) if kind == "plain" else None

        def make_level(level: int, kind: str, widths: list[tuple[int, int]], units: int, eps: float = 1e-5) -> Level:
            here, own = design.at(level, levels), sizes(level)._replace(eps=eps)
            resnets: list[nn.Module] = []
            for a, b in widths:
                within = (here.of("within", own), here.of("within", own))
                resnets.append(Resnet(a, b, time_size, groups, scale=scale_shift, eps=eps, temporals=within))
            attentions = [m for m in (spatial(kind, level) for _ in range(units)) if m is not None]
            kinds = () if here.follow_spatial and not attentions else here.attention
            temporals = [here.make(each, own) for each in kinds for _ in range(units)]
            blocks = [here.of("blocks", own) for _ in widths]
            return Level(resnets, blocks, attentions, temporals, units, here.parallel)

        self.conv_in = nn.Conv2d(in_channels * patch**2, channels[0], 3, padding=1)
        entry = design.at(0, levels).of("entry", sizes(0))
        self.temporal_entry = nn.ModuleList(entry) if entry else None
        skips = [channels[0]]
        self.down_blocks = nn.ModuleList()
        for i, c in enumerate(channels):
            widths = [(channels[max(i - 1, 0)] if j == 0 else c, c) for j in range(blocks)]
            down = make_level(i, attention[i], widths, blocks, block_eps if attention[i] == "transformer" else 1e-5)
            skips += [c] * blocks
            if i < levels - 1:
                down.downsamplers = nn.ModuleList([Downsample(c)])
                down.temporal_halve = Halve(c) if i >= levels - 1 - design.halvings else None
                skips.append(c)
            self.down_blocks.append(down)
        last = channels[-1]
        self.mid_block = make_level(levels - 1, in_the_middle, [(last, last)] * 2, 1)
        self.up_blocks = nn.ModuleList()
        width = last
        for i in reversed(range(levels)):
            widths = []
            for _ in range(blocks + 1):
                widths.append((width + skips.pop(), channels[i]))
                width = channels[i]
            up = make_level(i, attention[i], widths, blocks + 1, block_eps)
            if i > 0:
                up.upsamplers = nn.ModuleList([Upsample(channels[i])])
                up.temporal_double = Double(channels[i]) if i >= levels - design.halvings else None
            self.up_blocks.append(up)
        self.conv_norm_out = GroupNorm(groups, channels[0], eps=1e-5)
        self.conv_out = nn.Conv2d(channels[0], out_channels * patch**2, 3, padding=1)
        self.gradient_checkpointing = False
        channels_last(self)

    @property
    def colours(self) -> int:
        return int(self.config.out_channels)

    def forward(
        self, z: Tensor, time: Tensor, *, temporal: float = 1.0, control: Sequence[Tensor] | None = None, **told: Any
    ) -> Tensor:
        """Predict, whatever the prediction means.

        Args:
            z: noisy clip [b t c h w]; an image batch is a batch of one-frame clips.
            time: what the schedule's `network_time` gives, [b] or [b t].
            temporal: how much of what temporal layers, frame number, share and rate add counts, in [0, 1]; 0 leaves
                the image model.
            control: what is added to the features that go from the way down to the way up, and, last, to those of the
                middle, [b t c' h' w'] each (ControlNet).
            told: inputs by the names of `Conditions`, or of `inputs`, as described there; those that this network is
                not made for are left aside. `frames` are 0 ... t-1 when not given, `fps` is unknown then.

        Returns:
            [b t c h w].

        Raises:
            InputError: an input that the network is made for is not given; channels or residuals that do not fit; a
                name that is no input.
        """
        b, t = z.shape[:2]
        given: dict[str, Tensor] = {name: value for name, value in told.items() if value is not None}
        for name in given:
            if name not in INPUTS and name not in self.config.inputs:
                known = ", ".join((*INPUTS, *self.config.inputs))
                raise InputError(f"{name} is no input of this network; there are {known}")
        own, context = self.config.in_channels, self.config.context
        if "beside" in given:
            z = torch.cat([z, given["beside"]], dim=2)
        if z.shape[2] != own + context:
            raise InputError(
                f"z has {z.shape[2]} channels with what stands beside it; this network takes {own + context}"
            )
        z, shown = z[:, :, :own], z[:, :, own:].flatten(0, 1) if context else None
        frames = given.setdefault("frames", torch.arange(t, device=z.device))
        embedding = F.silu(self._embed((b, t), {"time": time, **given}, temporal))  # (b t) d
        text, mask = given.get("text"), given.get("text_mask")
        inputs = LayerInputs(embedding, text, mask, (b, t), frames, temporal, self.reach, shown)

        x = z.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # (b t) c h w
        if self.patch > 1:
            x = F.pixel_unshuffle(x, self.patch).contiguous(memory_format=torch.channels_last)
        x = inputs.add(self.conv_in(x), self.temporal_entry)  # (b t) c0 h w
        skips, finer = [x], [inputs]
        for block in cast("list[Level]", self.down_blocks):
            for i in range(len(block.resnets)):
                x = self._step(block, i, x, inputs)  # (b t) ci h w
                skips.append(x)
            if block.downsamplers is not None:
                x = block.downsamplers[0](x)  # (b t) ci h/2 w/2
                if block.temporal_halve is not None and temporal:
                    x = block.temporal_halve(x, inputs)  # (b (t+1)//2) ci h/2 w/2
                    inputs = inputs.halved()
                finer.append(inputs)
                skips.append(x)
        x = self._step(self.mid_block, 0, x, inputs)
        x = self._step(self.mid_block, 1, x, inputs)
        if control is not None:
            skips, x = _controlled(skips, x, control)
        for block in cast("list[Level]", self.up_blocks):
            inputs = finer.pop()
            for i in range(len(block.resnets)):
                x = self._step(block, i, torch.cat([x, skips.pop()], dim=1), inputs)  # (b t) ci h w
            if block.upsamplers is not None:
                x = block.upsamplers[0](x)  # (b t) ci 2h 2w
                if block.temporal_double is not None and temporal:
                    x = block.temporal_double(x, finer[-1])  # (b 2t) ci 2h 2w, or one frame less
        x = self.conv_out(F.silu(self.conv_norm_out(x)))  # (b t) c h w
        if self.patch > 1:
            x = F.pixel_shuffle(x, self.patch)
        return x.unflatten(0, (b, t))

    def _step(self, level: Level, index: int, x: Tensor, inputs: LayerInputs) -> Tensor:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            out: Tensor = checkpoint(level.step, index, x, inputs, use_reentrant=False)
            return out
        return level.step(index, x, inputs)

    def _embed(self, clip_shape: tuple[int, int], given: Mapping[str, Tensor], temporal: float) -> Tensor:
        """Sum of what time and the conditions without tokens say, [(b t) d]."""
        size = self.config.channels[0]
        total = embed_numbers(self.time_embedding, given["time"], size)  # b d or b t d
        total = (total if total.ndim == 3 else total[:, None]).expand(*clip_shape, -1)
        for name, each in EMBEDDED.items():
            layers = getattr(self, name, None)
            if layers is not None:
                value = each.embed(layers, given, size)
                value = value if value.ndim == 3 else value[:, None]
                total = total + (temporal * value if each.temporal else value)
        return total.flatten(0, 1)

    def parts(self) -> Iterator[nn.Module]:
        """Its residual blocks, attentions, temporal layers and changes of resolution, one after the other."""
        yield from self.temporal_entry or ()
        for level in (*self.down_blocks, self.mid_block, *self.up_blocks):
            yield from level.resnets
            yield from (layer for layers in level.temporal_blocks or () for layer in layers)
            for parts in (level.attentions, level.temporals, level.downsamplers, level.upsamplers):
                yield from parts or ()
            yield from (each for each in (level.temporal_halve, level.temporal_double) if each is not None)

    def spatial_state(self) -> dict[str, Any]:
        """The weights that an image U-Net of the same sizes has too."""
        return {name: value for name, value in self.state_dict().items() if not is_temporal(name)}


def is_temporal(name: str) -> bool:
    """Whether a weight of that name belongs to what a video U-Net has beyond the image U-Net."""
    parts = name.split(".")
    embedded = parts[0] in EMBEDDED and EMBEDDED[parts[0]].temporal
    return embedded or any(part.startswith("temporal") for part in parts)


def _check_design(name: str, design: TemporalDesign, attention: Sequence[str]) -> None:
    """Raise InputError for a design whose layers stand beside spatial attention, in a network without such."""
    kinds = set(attention)
    if design.transformer and "transformer" not in kinds:
        raise InputError(f"temporal is {name!r}, whose layers stand within spatial transformers; this network has none")
    beside = design.follow_spatial or design.reach != "own"
    if beside and kinds == {"none"}:
        raise InputError(f"temporal is {name!r}, whose frames meet in spatial attention or beside it; there is none")


def _controlled(skips: list[Tensor], x: Tensor, control: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Features of the way down, and of the middle, with residuals [b t c h w] added."""
    if len(control) != len(skips) + 1:
        raise InputError(f"control has {len(control)} residuals; this network takes {len(skips) + 1}")
    added = []
    for i, (features, residual) in enumerate(zip((*skips, x), control, strict=True)):
        flat = residual.flatten(0, 1)
        if flat.shape != features.shape:
            raise InputError(
                f"residual {i} of control is {list(flat.shape)}, frames of clips together; it must be "
                f"{list(features.shape)}"
            )
        added.append(features + flat)
    return added[:-1], added[-1]
