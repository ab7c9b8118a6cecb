"""Models in one file of safetensors, as Stable Diffusion's authors write them."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from videofusion.interop.kohya import sgm_names

_IN_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def vae_name(name: str, levels: int) -> str:
    """What the authors of Stable Diffusion call a layer of the autoencoder."""
    found = re.match(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name)
    if found:
        side, way, level, kind, block, rest = found.groups()
        number = int(level) if way == "down" else levels - 1 - int(level)
        if kind == "resnets":
            return f"{side}.{way}.{number}.block.{block}.{rest.replace('conv_shortcut', 'nin_shortcut')}"
        return f"{side}.{way}.{number}.{way}sample.{rest}"
    found = re.match(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.*)", name)
    if found:
        side, kind, block, rest = found.groups()
        for theirs, own in _IN_ATTENTION.items():
            rest = rest.replace(theirs, own) if kind == "attentions" else rest
        return f"{side}.mid.{f'block_{int(block) + 1}' if kind == 'resnets' else 'attn_1'}.{rest}"
    return name.replace("conv_norm_out", "norm_out")


def in_one_file(pipeline: Any, levels: int = 2) -> dict[str, Tensor]:
    """The weights of a Stable Diffusion 1.x with an autoencoder of so many levels, by the names of such a file."""
    names = sgm_names(name for name, _ in pipeline.unet.named_modules())
    state = {}
    for name, value in pipeline.unet.state_dict().items():
        layer, _, kind = name.rpartition(".")
        state[f"model.diffusion_model.{names[layer]}.{kind}"] = value
    for name, value in pipeline.vae.state_dict().items():
        square = "attentions" in name and value.ndim == 2
        state[f"first_stage_model.{vae_name(name, levels)}"] = value[:, :, None, None] if square else value
    for name, value in pipeline.text_encoder.state_dict().items():
        state[f"cond_stage_model.transformer.text_model.{name}"] = value
    return {name: value.contiguous() for name, value in state.items()}
