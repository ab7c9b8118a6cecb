"""ModelScope's own files of its video U-Net (`UNetSD`, also VGen's) by diffusers' names, strictly.

There blocks are counted as Stable Diffusion's authors count them. Convolutions over time are within the residual
blocks, as "temopral_conv", and a transformer over time is its block's layer after that over space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.interop.kohya import sgm_names

MARK = ".temopral_conv."
_OVER_TIME = re.compile(r"(.*)\.temp_(convs|attentions)\.(\d+)\.(.*)")


def is_modelscope(names: Iterable[str]) -> bool:
    """Whether weights of these names are those of such a file."""
    return any(MARK in name for name in names)


def modelscope_names(unet: nn.Module) -> dict[str, str]:
    """Their names of all weights of diffusers' `UNet3DConditionModel`, by diffusers' names."""
    layers = sgm_names(name for name, _ in unet.named_modules())
    return {name: _their_name(name, layers) for name in unet.state_dict()}


def _their_name(name: str, layers: Mapping[str, str]) -> str:
    entry = "transformer_in."
    if name.startswith(entry):
        return f"input_blocks.0.1.{name.removeprefix(entry)}"
    over_time = _OVER_TIME.fullmatch(name)
    if over_time:
        level, kind, number, rest = over_time.groups()
        block = _counted(layers[f"{level}.resnets.{number}"])
        return f"{block}{MARK}{rest}" if kind == "convs" else f"{block.removesuffix('.0')}.2.{rest}"
    layer, _, kind = name.rpartition(".")
    return f"{_counted(layers[layer])}.{kind}"


def _counted(place: str) -> str:
    """A place of Stable Diffusion's U-Net where there is one more layer in each block that attends."""
    if place.startswith("input_blocks."):
        return place.replace(".0.op", ".op")
    if place.startswith("output_blocks."):
        return place.replace(".2.conv", ".3.conv")
    return re.sub(r"^middle_block\.2\b", "middle_block.3", place)


def to_diffusers(tensors: Mapping[str, Tensor], unet: nn.Module, file: Path) -> dict[str, Tensor]:
    """The weights of diffusers' U-Net out of such a file's.

    Args:
        tensors: of the file.
        unet: of the same sizes; its own weights are not looked at, so that it may be on the meta device.
        file: for errors.

    Raises:
        InputError: a weight is missing, there is one that the U-Net does not have, or one has another shape.
    """
    names, found = modelscope_names(unet), {}
    for name, own in unet.state_dict().items():
        theirs = names[name]
        if theirs not in tensors:
            raise InputError(f"{file} lacks {theirs}; expected was ModelScope's U-Net, whole")
        value = tensors[theirs]
        if value.ndim > own.ndim and value.numel() == own.numel():
            value = value.reshape(value.shape[: own.ndim])  # convolutions over one place as linear layers
        if value.shape != own.shape:
            raise InputError(f"{file} has {theirs} of shape {tuple(value.shape)}; expected was {tuple(own.shape)}")
        found[name] = value
    more = sorted(tensors.keys() - set(names.values()))
    if more:
        raise InputError(f"{file} has {more[0]}, which ModelScope's U-Net of text alone does not have")
    return found
