"""Files of IP-Adapter: an image's embedding as a prompt, for Stable Diffusion and XL."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from videofusion.errors import InputError
from videofusion.interop.weight_files import read_header
from videofusion.networks.ip_adapter import ImageTokens, add_image_attention, text_blocks
from videofusion.networks.unet import UNet
from videofusion.parts import read_tensors

TOKENS = 4
_PROJ, _NORM = ("image_proj.proj.weight", "image_proj.proj.bias"), ("image_proj.norm.weight", "image_proj.norm.bias")


def add_ip_adapter(unet: UNet, file: str | Path, scale: float = 1.0, *, image_size: int | None = None) -> ImageTokens:
    """Have a U-Net look at images by the weights of a file.

    Args:
        unet: changed in place; see `add_image_attention`.
        file: safetensors, in the layout of IP-Adapter's authors.
        scale: how much the image counts; 1 is as trained, 0 nothing.
        image_size: of the image's embedding, which the file has to take; any when None.

    Returns:
        what makes tokens of images' embeddings.

    Raises:
        InputError: the file cannot be read, is of another kind (Plus, FaceID) or for another U-Net, which is not
            changed.
    """
    file = Path(file).expanduser()
    if not math.isfinite(scale):
        raise InputError(f"ip_adapter_scale is {scale}; it must be a number")
    read_header(file)
    tensors = read_tensors(file)
    if not {*_PROJ, *_NORM} <= tensors.keys():
        raise InputError(f"ip_adapter {file} lacks {_PROJ[0]}; expected was a plain IP-Adapter, no Plus and no FaceID")
    keys = sorted({int(name.split(".")[1]) for name in tensors if name.startswith("ip_adapter.")})
    text_size, width = unet.config.text_size, len(tensors[_PROJ[0]]) // TOKENS
    if width != text_size:
        raise InputError(
            f"ip_adapter {file} makes tokens {width} wide, but this U-Net reads text {text_size} wide; expected was "
            "one for the model that the U-Net is of"
        )
    takes = tensors[_PROJ[0]].shape[1]
    if image_size not in (None, takes):
        raise InputError(
            f"ip_adapter {file} takes embeddings of size {takes}, but image_encoder makes them of size {image_size}; "
            "expected was the encoder that the adapter was trained with"
        )
    blocks = text_blocks(unet)
    pairs: list[tuple[Tensor, Tensor]] = []
    for number, block in zip(keys, blocks, strict=False):
        names = [f"ip_adapter.{number}.{each}.weight" for each in ("to_k_ip", "to_v_ip")]
        assert block.attn2 is not None
        wanted = block.attn2.to_k.weight.shape
        for name in names:
            if name not in tensors or tensors[name].shape != wanted:
                there = f"of {tuple(tensors[name].shape)}" if name in tensors else "missing"
                raise InputError(f"ip_adapter {file}: {name} is {there}; this U-Net has it of {tuple(wanted)}")
        pairs.append((tensors[names[0]], tensors[names[1]]))
    if len(keys) != len(blocks):
        raise InputError(f"ip_adapter {file} is for {len(keys)} layers of attention; this U-Net has {len(blocks)}")
    tokens = ImageTokens(tensors[_PROJ[0]].shape[1], width, TOKENS)
    with torch.no_grad():
        for layer, prefix in ((tokens.proj, "image_proj.proj"), (tokens.norm, "image_proj.norm")):
            layer.load_state_dict({name: tensors[f"{prefix}.{name}"].float() for name in ("weight", "bias")})
        for attention, (key, value) in zip(add_image_attention(unet, TOKENS, scale), pairs, strict=True):
            attention.to_k_ip.weight.copy_(key)
            attention.to_v_ip.weight.copy_(value)
    return tokens.to(unet.conv_in.weight).eval()
