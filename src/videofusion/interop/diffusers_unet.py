"""Image U-Nets of diffusers folders as ours: Stable Diffusion 1.5, 2.1, XL and unconditional models.

The parameters have diffusers' names, so a checkpoint is loaded strictly and by name. What our U-Net cannot do is
refused by the name of the option.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.networks.inflation import inflated
from videofusion.networks.inputs import TIME_ID_SIZE
from videofusion.networks.layers import channels_last
from videofusion.networks.unet import UNet
from videofusion.parts import read_tensors
from videofusion.trusted import check_values, read_config

WEIGHTS = "diffusion_pytorch_model"
ATTENTION_OF_BLOCK = {"DownBlock2D": "none", "AttnDownBlock2D": "plain", "CrossAttnDownBlock2D": "transformer"}
OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}

# Options with the values that our U-Net implements; a model may leave out any of them.
FIXED_BOTH: dict[str, tuple[Any, ...]] = {
    "act_fn": ("silu",),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "downsample_padding": (1,),
    "dropout": (0,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "mid_block_scale_factor": (1,),
    "norm_eps": (1e-5,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
}
FIXED_CONDITION = FIXED_BOTH | {
    "addition_embed_type": (None, "text_time"),
    "addition_time_embed_dim": (None, TIME_ID_SIZE),
    "attention_type": ("default",),
    "class_embeddings_concat": (False,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "mid_block_only_cross_attention": (None, False),
    "mid_block_type": ("UNetMidBlock2DCrossAttn",),
    "num_attention_heads": (None,),
    "only_cross_attention": (False,),
    "resnet_out_scale_factor": (1,),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "reverse_transformer_layers_per_block": (None,),
    "time_cond_proj_dim": (None,),
    "time_embedding_act_fn": (None,),
    "timestep_post_act": (None,),
}
FIXED_PLAIN = FIXED_BOTH | {
    "attn_norm_num_groups": (None,),
    "downsample_type": ("conv",),
    "mid_block_type": ("UNetMidBlock2D",),
    "resnet_time_scale_shift": ("default",),  # the other one takes a norm from the attention of the middle
    "upsample_type": ("conv",),
}
NEEDED = ("in_channels", "out_channels", "block_out_channels", "down_block_types", "up_block_types")
# Options that are read below, or that change nothing that the network computes.
READ_BOTH = frozenset(
    (*NEEDED, "sample_size", "layers_per_block", "norm_num_groups", "attention_head_dim", "num_class_embeds")
)
READ_CONDITION = READ_BOTH | {
    "cross_attention_dim",
    "transformer_layers_per_block",
    "use_linear_projection",
    "upcast_attention",
    "projection_class_embeddings_input_dim",
    "addition_embed_type_num_heads",
}
READ_PLAIN = READ_BOTH | {"add_attention", "num_train_timesteps"}


def unet_from_diffusers(source: str | Path | nn.Module, temporal: str = "image") -> UNet:
    """The U-Net of a diffusers image model, or a video U-Net that begins as it, in float32.

    Args:
        source: folder of a `UNet2DConditionModel` or `UNet2DModel` (with its config.json), folder of a pipeline that
            has one in `unet`, or such a model in memory, whose weights are copied.
        temporal: a row of `TEMPORAL_DESIGNS`; "image" for the image model.

    Raises:
        InputError: no such folder, an option that our U-Net does not have, a row that a network of its sizes cannot
            have, weights that are a pickle or do not fit.
    """
    if isinstance(source, nn.Module):
        config, name = dict(getattr(source, "config", {})), f"the {type(source).__name__}"
        config["_class_name"] = type(source).__name__
    else:
        folder, name = Path(source), str(source)
        if not (folder / "config.json").is_file() and (folder / "unet").is_dir():
            folder = folder / "unet"
        config = read_json(folder / "config.json")
    ours = unet_config(config)
    check_values(Path(name), UNet.__name__, ours)
    # on no device: checkpoints may be large, and random weights would only be thrown away
    with torch.device("meta"):
        unet = UNet(**ours)
        try:
            UNet(**ours, temporal=temporal)
        except InputError as error:
            raise InputError(f"{name} cannot be inflated: {error}") from error
    state = dict(_renamed(dict(source.state_dict()) if isinstance(source, nn.Module) else read_weights(folder)))
    check_fit(unet.state_dict(), state, f"{name}: the weights")
    unet.load_state_dict(
        {name: value.detach().to(torch.float32, copy=True) for name, value in state.items()}, assign=True
    )
    channels_last(unet)
    return (unet if temporal == "image" else inflated(unet, temporal)).eval()


def unet_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of our `UNet` for the configuration of a diffusers model.

    Args:
        config: what its config.json holds.

    Raises:
        InputError: an option that our U-Net does not have.
    """
    kind = config.get("_class_name")
    if kind not in ("UNet2DConditionModel", "UNet2DModel"):
        raise InputError(f"_class_name is {kind!r}; it must be UNet2DConditionModel or UNet2DModel")
    conditional = kind == "UNet2DConditionModel"
    fixed, read = (FIXED_CONDITION, READ_CONDITION) if conditional else (FIXED_PLAIN, READ_PLAIN)
    _check_options(config, fixed, read)
    channels, downs = list(config["block_out_channels"]), list(config["down_block_types"])
    levels = len(channels)
    for name in downs:
        if name not in ATTENTION_OF_BLOCK or name == ("AttnDownBlock2D" if conditional else "CrossAttnDownBlock2D"):
            raise InputError(f"down_block_types has {name!r}, which our U-Net does not have")
    mirrored = [name.replace("Down", "Up") for name in reversed(downs)]
    if list(config["up_block_types"]) != mirrored:
        raise InputError(f"up_block_types is {config['up_block_types']}; it must mirror down_block_types: {mirrored}")
    if not isinstance(config.get("norm_num_groups", 32), int):
        raise InputError(f"norm_num_groups is {config['norm_num_groups']}; it must be a number")
    ours = {
        "in_channels": config["in_channels"],
        "out_channels": config["out_channels"],
        "channels": channels,
        "blocks": _same(config, "layers_per_block", 2),
        "attention": [ATTENTION_OF_BLOCK[name] for name in downs],
        "groups": config.get("norm_num_groups", 32),
        "labels": config.get("num_class_embeds"),
    }
    head = config.get("attention_head_dim", 8)
    if not conditional:
        # here the name means what it says; None is one head
        heads = [c // (head or c) for c in channels]
        return ours | {"heads": heads, "middle_attention": "plain" if config.get("add_attention", True) else "none"}
    if config.get("addition_embed_type") == "text_time":
        ours["added_size"] = config["projection_class_embeddings_input_dim"]
    return ours | {
        "middle_attention": "transformer",
        "scale_shift": config.get("resnet_time_scale_shift") == "scale_shift",
        # misnamed in diffusers: it is the number of heads
        "heads": [head] * levels if isinstance(head, int) else list(head),
        "depth": _per_level(config.get("transformer_layers_per_block", 1), levels),
        "linear_projection": bool(config.get("use_linear_projection", False)),
        "text_size": _same(config, "cross_attention_dim", 1280),
    }


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        InputError: there is no such file, or it holds no JSON object.
    """
    if not path.is_file():
        raise InputError(f"{path.parent} has no {path.name}; it must be a folder that diffusers' save_pretrained wrote")
    return read_config(path)


def _check_options(config: Mapping[str, Any], fixed: Mapping[str, tuple[Any, ...]], read: frozenset[str]) -> None:
    for name, value in config.items():
        if name.startswith("_") or name in read:
            continue
        if name not in fixed:
            raise InputError(f"{name} is {value!r}, an option that our U-Net does not know")
        if value not in fixed[name]:
            raise InputError(f"{name} is {value!r}; our U-Net has it as {' or '.join(map(repr, fixed[name]))} only")
    for name in NEEDED:
        if name not in config:
            raise InputError(f"{name} is missing from the model's config.json")


def _same(config: Mapping[str, Any], name: str, default: int) -> int:
    """An option that diffusers allows to differ between levels, where ours cannot."""
    value = config.get(name, default)
    if isinstance(value, int):
        return value
    if len(set(value)) != 1:
        raise InputError(f"{name} is {value}; our U-Net has one for all levels")
    return value[0]


def _per_level(value: Any, levels: int) -> list[int]:
    values = [value] * levels if isinstance(value, int) else list(value)
    if not all(isinstance(v, int) for v in values):
        raise InputError(f"transformer_layers_per_block is {value}; our U-Net has one number for each level")
    return values


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The safetensors of a folder: whole, in parts, or in half precision where there is nothing else."""
    parts: list[str] = []
    for variant in ("", ".fp16"):
        index = folder / f"{WEIGHTS}.safetensors.index{variant}.json"
        if not parts and index.is_file():
            parts = sorted(set(read_json(index)["weight_map"].values()))
        elif not parts and (folder / f"{WEIGHTS}{variant}.safetensors").is_file():
            parts = [f"{WEIGHTS}{variant}.safetensors"]
    if not parts:
        pickles = [path.name for path in sorted(folder.glob("*.bin"))]
        reason = (
            f"only {pickles[0]}, a pickle, which can run code when it is read; convert it with diffusers' "
            "save_pretrained(..., safe_serialization=True)"
            if pickles
            else "none"
        )
        raise InputError(f"{folder} must have {WEIGHTS}.safetensors; it has {reason}")
    state: dict[str, Tensor] = {}
    for name in parts:
        if not (folder / name).is_file():
            raise InputError(f"{folder} lacks {name}, which its index names")
        state |= read_tensors(folder / name)
    return state


def _renamed(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Old checkpoints of unconditional models name the attention's layers otherwise."""
    for name, value in state.items():
        for old, new in OLD_NAMES.items():
            name = name.replace(old, new) if ".attentions." in name else name
        yield name, value


def check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], what: str = "the weights") -> None:
    """Raise InputError, which calls them `what`, unless weights are those of a model, no more and no less."""
    for name, value in own.items():
        if name not in state:
            raise InputError(f"{what} lack {name}, which their config.json asks for")
        if state[name].shape != value.shape:
            raise InputError(
                f"{what} have {name} of shape {tuple(state[name].shape)}; "
                f"their config.json asks for {tuple(value.shape)}"
            )
    for name in state:
        if name not in own:
            raise InputError(f"{what} have {name}, which their config.json does not ask for")
