"""The temporal designs of the U-Net: one row of a table each, whose words are kinds of `LAYERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.networks.layers import LayerInputs
from videofusion.networks.temporal.attention import (
    NumberedBlock,
    PlainAttention,
    TemporalAttention,
    TemporalTransformer,
)
from videofusion.networks.temporal.convolution import Adaptor, Convolution, ConvolutionStack, ResidualBlock
from videofusion.networks.temporal.pointing import PointedAttention
from videofusion.networks.temporal.reach import REACHES
from videofusion.registry import knows


class LayerSizes(NamedTuple):
    """What a temporal layer is made for: features [(b t) channels h w] of one level.

    Args:
        channels: of the features.
        heads: of attention.
        groups: of norms.
        time: size of the embedding of time.
        text: size of the text's tokens; None for no text.
        context: channels of clean frames and their mask; 0 for none.
        scale: places of a frame, along a side, for one of the features.
        eps: of the norms of residual blocks.
    """

    channels: int
    heads: int
    groups: int
    time: int
    text: int | None
    context: int = 0
    scale: int = 1
    eps: float = 1e-5


# Kind -> what makes a layer of given sizes. A layer is called as layer(features, LayerInputs) and returns what it adds.
LAYERS: dict[str, Callable[[LayerSizes], nn.Module]] = {
    # attention over time at the same place; to earlier frames only; over space and time at once
    "place": lambda s: TemporalAttention(s.channels, s.heads, s.groups, "place"),
    "directed": lambda s: TemporalAttention(s.channels, s.heads, s.groups, "directed"),
    "joint": lambda s: TemporalAttention(s.channels, s.heads, s.groups, "joint"),
    # to every place of the middle frame, around one that it points at
    "middle": lambda s: PointedAttention(s.channels, s.heads, s.groups, s.time),
    # over time at the same place, without positions
    "plain": lambda s: PlainAttention(s.channels, s.heads),
    # transformer blocks over time: ModelScope's, the one at its entry, Stable Video Diffusion's
    "transformer": lambda s: TemporalTransformer(s.channels, s.heads, s.groups),
    "entry_transformer": lambda s: TemporalTransformer(s.channels, 8, s.groups, 8 * (s.channels // s.heads)),
    "numbered_block": lambda s: NumberedBlock(s.channels, s.heads, s.text),
    # convolutions over time: one; a residual block of two; four
    "convolution": lambda s: Convolution(s.channels),
    "residual_block": lambda s: ResidualBlock(s.channels, s.time, s.groups, s.context, s.scale, s.eps),
    "convolution_stack": lambda s: ConvolutionStack(s.channels, s.groups),
    # scale and shift of each frame
    "adaptor": lambda s: Adaptor(s.channels),
}


@dataclass(frozen=True, kw_only=True)
class TemporalDesign:
    """What a video U-Net has beyond the image U-Net.

    Args:
        entry: kinds of layers after the first convolution, one after the other; those below likewise.
        within: after each convolution of a residual block, before what follows it there.
        blocks: after every residual block.
        transformer: after every block of a spatial transformer, before it projects back.
        attention: after every place of spatial attention.
        follow_spatial: `attention` stands only where there is spatial attention, rather than after every residual
            block where there is none.
        parallel: `attention` sees what spatial attention sees, and both are added, rather than what that has left.
        mixed: a learned part of what each layer adds counts.
        reach: what spatial self-attention looks at, a name of `REACHES`.
        halvings: at so many of the coarsest changes of resolution the number of frames is halved and doubled too,
            unless temporal layers do not count at all.
        frame_number: embed the number of each frame.
        share: embed the share lambda of each frame.
        levels: those of the fields from `within` to `mixed` that have other values at a level, by its number from the
            finest, 0, or from the coarsest, -1.
    """

    entry: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    transformer: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()
    follow_spatial: bool = False
    parallel: bool = False
    mixed: bool = False
    reach: str = "own"
    halvings: int = 0
    frame_number: bool = False
    share: bool = False
    levels: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def at(self, level: int, levels: int) -> TemporalDesign:
        """The design of one of so many levels, counted from the finest."""
        return replace(self, **self.levels.get(level, self.levels.get(level - levels, {})))

    def of(self, places: str, sizes: LayerSizes) -> list[nn.Module]:
        """Its layers for one of its places, such as "attention"."""
        return [self.make(kind, sizes) for kind in getattr(self, places)]

    def make(self, kind: str, sizes: LayerSizes) -> nn.Module:
        """A layer of a kind."""
        layer = LAYERS[kind](sizes)
        return Mixed(layer) if self.mixed else layer

    @property
    def begins_as_image(self) -> bool:
        """Whether a fresh network is the image network, frame by frame."""
        return self.reach == "own" and not self.halvings


class Mixed(nn.Module):
    """A layer of which a learned part counts: alpha x + (1 - alpha) l(x), where l(x) is x and what the layer adds.

    Alpha is the sigmoid of a number (Video LDM, Blattmann et al. 2023, sec. 3.1; Stable Video Diffusion).
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.mix_factor = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        """Args: x [(b t) c h w]."""
        return (1 - self.mix_factor.sigmoid()) * self.layer(x, inputs)


_JOINT = {"attention": ("joint",)}
_COARSE, _COARSER = {-1: _JOINT}, {-1: _JOINT, -2: _JOINT}
TEMPORAL_DESIGNS = {
    "image": TemporalDesign(),
    # VideoFusion's residual generator as the text of the paper reads (sec. 3.3)
    "framewise": TemporalDesign(frame_number=True, share=True),
    # Video Diffusion Models: factorised over space and time, relative positions
    "factorised": TemporalDesign(attention=("place",)),
    # the residual generator with temporal layers
    "residual": TemporalDesign(attention=("place",), frame_number=True, share=True),
    # both with attention over space and time at the two coarsest levels instead, which sees motion
    "factorised_joint": TemporalDesign(levels=_COARSER, frame_number=True),
    "residual_joint": TemporalDesign(levels=_COARSER, frame_number=True, share=True),
    # the variant image-first's: finer levels look at the middle frame, which is clean there, and, where frames have to
    # agree on what neither it nor the text says, at all frames
    "residual_middle": TemporalDesign(attention=("middle",), levels=_COARSE, frame_number=True, share=True),
    "residual_middle_place": TemporalDesign(
        attention=("middle", "place"), levels=_COARSE, frame_number=True, share=True
    ),
    # both with it at the coarsest level only, where Lumiere has its attention
    "factorised_coarse": TemporalDesign(levels=_COARSE, frame_number=True),
    "residual_coarse": TemporalDesign(levels=_COARSE, frame_number=True, share=True),
    "factorised_numbered": TemporalDesign(attention=("place",), frame_number=True),
    # MagicVideo: an adaptor after each convolution, spatial and directed attention side by side
    "magicvideo": TemporalDesign(within=("adaptor",), attention=("directed",), parallel=True, follow_spatial=True),
    # the same with attention to all frames, and without adaptor: its ablations
    "magicvideo_bidirectional": TemporalDesign(
        within=("adaptor",), attention=("place",), parallel=True, follow_spatial=True
    ),
    "magicvideo_no_adaptor": TemporalDesign(attention=("directed",), parallel=True, follow_spatial=True),
    # Make-A-Video: pseudo-3D convolutions and attention
    "make_a_video": TemporalDesign(within=("convolution",), attention=("place",), follow_spatial=True),
    # Video LDM: residual blocks and attention over time, each with its alpha
    "video_ldm": TemporalDesign(blocks=("residual_block",), attention=("place",), mixed=True, follow_spatial=True),
    # Stable Video Diffusion: the same, with a transformer block over time beside each one over space
    "svd": TemporalDesign(blocks=("residual_block",), transformer=("numbered_block",), mixed=True),
    # ModelScope's text-to-video (diffusers' UNet3DConditionModel)
    "unet3d": TemporalDesign(
        entry=("entry_transformer",), blocks=("convolution_stack",), attention=("transformer",), follow_spatial=True
    ),
    # Lumiere: convolutions at all levels but the coarsest, attention there, fewer frames at coarser levels
    "lumiere": TemporalDesign(
        blocks=("convolution",), levels={-1: {"blocks": (), "attention": ("place",)}}, halvings=2
    ),
    # an image model as it is, whose frames see others: Text2Video-Zero, ControlVideo
    "text2video_zero": TemporalDesign(reach="first"),
    "controlvideo": TemporalDesign(reach="all"),
    # Tune-A-Video: that, and attention over time at the end of each transformer block
    "tune_a_video": TemporalDesign(reach="first_previous", transformer=("plain",)),
}


_AT_LEVELS = ("within", "blocks", "transformer", "attention", "follow_spatial", "parallel", "mixed")


def temporal_design(name: str) -> TemporalDesign:
    """The row of that name.

    Raises:
        InputError: the name is none of `TEMPORAL_DESIGNS`; the row has a kind of layer or a reach that there is not, or
            a field of its own at a level that all levels share.
    """
    if not knows(TEMPORAL_DESIGNS, name):
        raise InputError(f"temporal is {name!r}; it must be one of {', '.join(TEMPORAL_DESIGNS)}")
    design = TEMPORAL_DESIGNS[name]
    for changed in design.levels.values():
        for key in changed:
            if key not in _AT_LEVELS:
                raise InputError(f"levels of {name!r} has {key!r}; it must be one of {', '.join(_AT_LEVELS)}")
    for each in (design, *(replace(design, **changed) for changed in design.levels.values())):
        if each.reach not in REACHES:
            raise InputError(f"reach of {name!r} is {each.reach!r}; it must be one of {', '.join(REACHES)}")
        for kind in (*each.entry, *each.within, *each.blocks, *each.transformer, *each.attention):
            if kind not in LAYERS:
                raise InputError(f"{name!r} has the layer {kind!r}; it must be one of {', '.join(LAYERS)}")
    return design
