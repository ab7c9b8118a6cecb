"""Video U-Nets of diffusers folders as ours: ModelScope's text-to-video (`UNet3DConditionModel`), strictly by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import check_fit, read_json, read_weights, unet_config, unet_from_diffusers
from videofusion.networks.layers import channels_last
from videofusion.networks.unet import UNet
from videofusion.trusted import check_values

KIND, ROW = "UNet3DConditionModel", "unet3d"
# Options that image U-Nets do not have, with the value that ours implements.
_FIXED = {"time_cond_proj_dim": None, "num_attention_heads": None}
_PLACES = (
    (re.compile(r"^transformer_in\."), "temporal_entry.0."),
    (re.compile(r"\.temp_convs\.(\d+)\."), r".temporal_blocks.\1.0."),
    (re.compile(r"\.temp_attentions\.(\d+)\."), r".temporals.\1."),
)


def network_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of our `UNet` for the configuration of an image or a video U-Net of diffusers.

    Raises:
        InputError: another kind of model, or an option that our U-Net does not have.
    """
    return video_unet_config(config) if config.get("_class_name") == KIND else unet_config(config)


def network_from_diffusers(folder: Path) -> UNet:
    """The U-Net of a pipeline's folder, of images or of videos, in float32; raises InputError where it cannot be."""
    kind = read_json(folder / "unet" / "config.json").get("_class_name")
    return video_unet_from_diffusers(folder) if kind == KIND else unet_from_diffusers(folder)


def video_unet_from_diffusers(source: str | Path | nn.Module) -> UNet:
    """The U-Net of ModelScope's text-to-video, in float32.

    Args:
        source: folder of a `UNet3DConditionModel`, or of a pipeline that has one in `unet`, or such a model in memory,
            whose weights are copied.

    Raises:
        InputError: no such folder, another kind of model, an option that our U-Net does not have, weights that are a
            pickle or do not fit.
    """
    return read_video_unet(source, video_unet_config, _our_name)


def read_video_unet(
    source: str | Path | nn.Module,
    config_of: Callable[[Mapping[str, Any]], dict[str, Any]],
    our_name: Callable[[str], str],
) -> UNet:
    """A video U-Net of one class of diffusers, in float32.

    Args:
        source: its folder, or that of a pipeline, or such a model in memory.
        config_of: from its configuration to keyword arguments of our `UNet`.
        our_name: from the name of one of its weights to ours.

    Raises:
        InputError: see `video_unet_from_diffusers`.
    """
    if isinstance(source, nn.Module):
        config, name = dict(getattr(source, "config", {})), f"the {type(source).__name__}"
        config["_class_name"] = type(source).__name__
    else:
        folder, name = Path(source), str(source)
        if not (folder / "config.json").is_file() and (folder / "unet").is_dir():
            folder = folder / "unet"
        config = read_json(folder / "config.json")
    ours = config_of(config)
    check_values(Path(name), UNet.__name__, ours)
    with torch.device("meta"):
        unet = UNet(**ours)
    theirs = dict(source.state_dict()) if isinstance(source, nn.Module) else read_weights(folder)
    state = {our_name(key): _over_frames(value) for key, value in theirs.items()}
    check_fit(unet.state_dict(), state, f"{name}: the weights")
    unet.load_state_dict(
        {key: value.detach().to(torch.float32, copy=True) for key, value in state.items()}, assign=True
    )
    channels_last(unet)
    return unet.eval()


def video_unet_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of our `UNet` for the configuration of a `UNet3DConditionModel`.

    Raises:
        InputError: another kind of model, or an option that our U-Net does not have.
    """
    kind = config.get("_class_name")
    if kind != KIND:
        raise InputError(f"_class_name is {kind!r}; it must be {KIND}")
    for option, own in _FIXED.items():
        if config.get(option, own) != own:
            raise InputError(f"{option} is {config[option]!r}; our U-Net has it as {own!r} only")
    image = {key: value for key, value in config.items() if key not in _FIXED}
    for key in ("down_block_types", "up_block_types"):
        image[key] = [str(each).replace("3D", "2D") for each in config.get(key, ())]
    # here the number is that of a head's features, as its name says
    head = config.get("attention_head_dim", 64)
    if not isinstance(head, int) or head < 1:
        raise InputError(f"attention_head_dim is {head!r}; our U-Net has one number for all levels")
    image |= {
        "_class_name": "UNet2DConditionModel",
        "attention_head_dim": [channels // head for channels in config.get("block_out_channels", ())],
        "cross_attention_dim": config.get("cross_attention_dim", 1024),
        "use_linear_projection": True,
    }
    return unet_config(image) | {"temporal": ROW}


def _our_name(name: str) -> str:
    for pattern, place in _PLACES:
        name = pattern.sub(place, name)
    return name


def _over_frames(value: Tensor) -> Tensor:
    """A convolution's weight over (t, h, w) as ours over frames and places; others as they are."""
    return value.squeeze(-1) if value.ndim == 5 else value
