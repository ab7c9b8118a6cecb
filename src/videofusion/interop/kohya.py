"""LoRA files of kohya's scripts and their kin: layers by one long name with underscores, each with its alpha.

"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight" is a layer of diffusers' U-Net with its dots taken for
underscores. Files of Stable Diffusion XL count the U-Net's blocks as its authors' code does
("lora_unet_input_blocks_4_1_proj_in"). So the names are not taken apart: those of a model's own layers are written both
ways, and looked up. Convolutions (LoCon) are named alike; some have a third matrix between the two.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videofusion.errors import InputError

UNET = "lora_unet_"
TEXT = {"lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2", "lora_te_": "text_encoder"}
_DOWN, _UP, _MIDDLE, _ALPHA = "lora_down.weight", "lora_up.weight", "lora_mid.weight", "alpha"
_OTHER = {  # by what is in their names, kinds of adapters that are no product of two matrices
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "dora_scale": "DoRA",
    "oft_": "OFT",
    "on_input": "IA3",
    ".diff": "full weights",
}
_OF_XL = (f"{UNET}input_blocks_", f"{UNET}middle_block_", f"{UNET}output_blocks_", f"{UNET}label_emb", "lora_te2_")
_IN_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_AROUND = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "mid_block.resnets.0": "middle_block.0",
    "mid_block.attentions.0": "middle_block.1",
    "mid_block.resnets.1": "middle_block.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_PLACE = re.compile(
    r"mid_block\.(?:resnets|attentions)\.\d+|(?:down|up)_blocks\.\d+\.(?:resnets|attentions|downsamplers|upsamplers)\.\d+"
)


def is_kohya(names: Iterable[str]) -> bool:
    """Whether tensors of these names are those of such a file."""
    return any(name.startswith((UNET, *TEXT)) for name in names)


def sgm_names(layers: Iterable[str]) -> dict[str, str]:
    """Names that the code of Stable Diffusion's authors has for a U-Net's layers, by diffusers' names.

    Args:
        layers: diffusers' names of all of the U-Net's modules; others are left out.
    """
    known = set(layers)
    places = dict(_AROUND)
    at = 1  # their first input block is `conv_in`
    for i in _numbers(known, "down_blocks.{}"):
        for j in _numbers(known, f"down_blocks.{i}.resnets.{{}}"):
            places[f"down_blocks.{i}.resnets.{j}"] = f"input_blocks.{at}.0"
            places[f"down_blocks.{i}.attentions.{j}"] = f"input_blocks.{at}.1"
            at += 1
        if f"down_blocks.{i}.downsamplers.0" in known:
            places[f"down_blocks.{i}.downsamplers.0"] = f"input_blocks.{at}.0"
            at += 1
    at = 0
    for i in _numbers(known, "up_blocks.{}"):
        for j in _numbers(known, f"up_blocks.{i}.resnets.{{}}"):
            places[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{at}.0"
            places[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{at}.1"
            at += 1
        after = 2 if f"up_blocks.{i}.attentions.0" in known else 1
        places[f"up_blocks.{i}.upsamplers.0"] = f"output_blocks.{at - 1}.{after}"
    return {name: theirs for name in known if (theirs := _sgm_name(name, places)) is not None}


def _numbers(known: set[str], pattern: str) -> range:
    count = 0
    while pattern.format(count) in known:
        count += 1
    return range(count)


def _sgm_name(name: str, places: Mapping[str, str]) -> str | None:
    found = _PLACE.match(name)
    place = name if found is None else found[0]
    if place not in places:
        return None
    rest = name[len(place) + 1 :]
    if ".resnets." in place:
        rest = _IN_RESNET.get(rest, rest)
    elif ".downsamplers." in place:
        rest = rest.replace("conv", "op")
    return f"{places[place]}.{rest}" if rest else places[place]


def from_kohya(tensors: Mapping[str, Tensor], parts: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    """The tensors of a kohya file by the names of diffusers' files: "unet.conv_in.lora.down.weight" and so on.

    Args:
        tensors: of the file.
        parts: a pipeline's by name; the U-Net is "unet", or "base" where there is no such part.
        file: for errors.

    Raises:
        InputError: another kind of adapter, or layers that the parts do not have, such as XL's.
    """
    layers = _layers(parts)
    found: dict[str, Tensor] = {}
    for name in sorted(tensors):
        layer, _, what = name.partition(".")
        other = next((kind for letters, kind in _OTHER.items() if letters in name), None)
        if other is not None:
            raise InputError(f"lora {file} has {name}, which is {other}; LoRA and LoCon are known here")
        if what not in (_DOWN, _UP, _MIDDLE, _ALPHA):
            raise InputError(f"lora {file} has {name}, which is no matrix of an adapter ({_DOWN}, {_UP}, {_MIDDLE})")
        if layer not in layers:
            raise _of_another_model(tensors, parts, layer, file)
        if what == _ALPHA:
            found[f"{layers[layer]}.alpha"] = tensors[name]
        elif what == _UP:
            found[f"{layers[layer]}.lora.up.weight"] = tensors[name]
        elif what == _DOWN:
            found[f"{layers[layer]}.lora.down.weight"] = _joined(
                tensors[name], tensors.get(f"{layer}.{_MIDDLE}"), name, file
            )
        elif f"{layer}.{_DOWN}" not in tensors:
            raise InputError(f"lora {file} has {name} without {layer}.{_DOWN}")
    return found


def _layers(parts: Mapping[str, Any]) -> dict[str, str]:
    """Layers of a pipeline's parts, as "part.layer", by kohya's names, of which some have two."""
    found: dict[str, str] = {}
    unet = "unet" if "unet" in parts else "base"
    for prefix, part in ((UNET, unet), *TEXT.items()):
        module = parts.get(part)
        if not isinstance(module, nn.Module):
            continue
        names = [name for name, _ in module.named_modules() if name]
        for name in names:
            found[prefix + name.replace(".", "_")] = f"{part}.{name}"
            if prefix != UNET:  # transformers has the text model's layers within "text_model" or not, by its version
                found.setdefault(f"{prefix}text_model_{name.replace('.', '_')}", f"{part}.{name}")
        if prefix == UNET:
            for name, theirs in sgm_names(names).items():
                found.setdefault(prefix + theirs.replace(".", "_"), f"{part}.{name}")
    return found


def _joined(down: Tensor, middle: Tensor | None, name: str, file: Path) -> Tensor:
    """The matrix from a layer's input to the rank; a third one [r s h w] after it is multiplied in."""
    if middle is None:
        return down
    if middle.ndim != 4 or down.ndim != 4 or down.shape[2:] != (1, 1) or middle.shape[1] != len(down):
        raise InputError(
            f"lora {file} has {name} of {tuple(down.shape)} before a matrix of {tuple(middle.shape)}, which do not "
            "make one convolution"
        )
    return torch.einsum("rshw,si->rihw", middle.float(), down.flatten(1).float())


def _of_another_model(tensors: Mapping[str, Tensor], parts: Mapping[str, Any], layer: str, file: Path) -> InputError:
    unet = parts.get("unet", parts.get("base"))
    own = "Stable Diffusion XL" if getattr(unet, "add_embedding", None) is not None else "Stable Diffusion 1.x or 2.x"
    if not own.endswith("XL") and any(name.startswith(_OF_XL) for name in tensors):
        first = next(name for name in sorted(tensors) if name.startswith(_OF_XL))
        return InputError(
            f"lora {file} is of Stable Diffusion XL (it has {first}), but this model is not; expected was one of {own}"
        )
    return InputError(f"lora {file} is of another model: this one has no layer {layer}; expected was one of {own}")
