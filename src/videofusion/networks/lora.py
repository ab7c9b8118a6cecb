"""Low-rank adapters (LoRA, Hu et al. 2021) on the attention of networks, trained through PEFT, and the files of them.

A file is what diffusers calls `pytorch_lora_weights.safetensors`: two matrices for each adapted layer, named
"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight" and "...lora_B.weight", where "unet" is
the part of the pipeline. The layer's weight then is W + B A; the usual factor alpha / rank is 1 in files of ours.

PEFT is needed for training only: `interop/lora_files.py` adds what files say to the weights without it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from videofusion.errors import InputError, require
from videofusion.networks.frame_network import FrameNetwork

FILE = "pytorch_lora_weights.safetensors"
ADAPTER = "default"  # PEFT's name for an adapter


def attention_layers(unet: FrameNetwork) -> list[str]:
    """Names of the linear layers of a network's attention, in space and time."""
    return [name for name, module in unet.named_modules() if ".to_" in name and isinstance(module, nn.Linear)]


def add_lora(unet: FrameNetwork, rank: int, layers: Sequence[str] | None = None) -> None:
    """Put an adapter beside each attention layer; it adds nothing until it is trained.

    Args:
        unet: changed in place; all but its adapters is frozen.
        rank: of the adapters.
        layers: some of `attention_layers`; all when None.

    Raises:
        InputError: PEFT is not installed; the network has no attention.
    """
    peft = require("peft", extra="lora")
    layers = attention_layers(unet) if layers is None else list(layers)
    if not layers:
        raise InputError("trains is 'lora', but the network has no attention; allowed there are 'full' and 'temporal'")
    # alpha = rank: the adapters' product counts as it is, so that a file needs no further number
    peft.inject_adapter_in_model(
        peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=layers), unet, adapter_name=ADAPTER
    )
    for name, parameter in unet.named_parameters():
        parameter.requires_grad_(is_adapter(name))


def is_adapter(name: str) -> bool:
    """Whether a parameter of that name is an adapter's."""
    return ".lora_A." in name or ".lora_B." in name


def lora_tensors(part: str, unet: nn.Module) -> dict[str, Tensor]:
    """The adapters of a part of a pipeline, by the names that they have in a file; none where it has no adapters."""
    middle = f".{ADAPTER}."
    return {
        f"{part}.{name.replace(middle, '.')}": value.detach().cpu().contiguous()
        for name, value in unet.state_dict().items()
        if is_adapter(name)
    }


def merged(unet: FrameNetwork) -> FrameNetwork:
    """A copy whose weights hold what the adapters add, and which has none."""
    base_layers = require("peft.tuners.tuners_utils", extra="lora").BaseTunerLayer
    plain = copy.deepcopy(unet)
    for name, module in list(plain.named_modules()):
        if isinstance(module, base_layers):
            module.merge()
            parent, _, child = name.rpartition(".")
            setattr(plain.get_submodule(parent), child, module.get_base_layer())
    plain.__dict__.pop("peft_config", None)  # PEFT's note of what it put in
    return plain


def save_pipeline(pipeline: Any, folder: Path) -> None:
    """Write a pipeline with adapters: whole, with what they add in its weights, and beside it the file of adapters."""
    from safetensors.torch import save_file

    tensors: dict[str, Tensor] = {}
    for name, part in list(pipeline.components.items()):
        if isinstance(part, FrameNetwork) and (own := lora_tensors(name, part)):
            tensors |= own
            pipeline.register_modules(**{name: merged(part)})
    pipeline.save_pretrained(folder)
    save_file(tensors, folder / FILE, {"format": "pt"})
