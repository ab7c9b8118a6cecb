"""Low-rank adapters (LoRA, Hu et al. 2021) on the attention of U-Nets, trained through PEFT, and their files.

A file is what diffusers calls `pytorch_lora_weights.safetensors`: two matrices for each adapted layer, named
"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight" and "...lora_B.weight", where "unet" is
the part of the pipeline. The layer's weight then is W + B A; the usual factor alpha / rank is 1 in files of ours.

PEFT is needed for training only: files are merged into the weights without it.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videofusion.errors import InputError, require
from videofusion.networks.unet import UNet

FILE = "pytorch_lora_weights.safetensors"
ADAPTER = "default"  # PEFT's name for an adapter
METADATA = "lora_adapter_metadata"  # diffusers' name for what its files say of themselves
_MATRIX = re.compile(r"(?P<layer>.+)\.(?P<kind>lora_A|lora_B|lora\.down|lora\.up)\.weight")
_DOWN = ("lora_A", "lora.down")


def attention_layers(unet: UNet) -> list[str]:
    """Names of the linear layers of a U-Net's attention, in space and time."""
    return [name for name, module in unet.named_modules() if ".to_" in name and isinstance(module, nn.Linear)]


def add_lora(unet: UNet, rank: int, layers: Sequence[str] | None = None) -> None:
    """Put an adapter beside each attention layer; it adds nothing until it is trained.

    Args:
        unet: changed in place; all but its adapters is frozen.
        rank: of the adapters.
        layers: some of `attention_layers`; all when None.

    Raises:
        InputError: PEFT is not installed; the U-Net has no attention.
    """
    peft = require("peft", extra="lora")
    layers = attention_layers(unet) if layers is None else list(layers)
    if not layers:
        raise InputError("trains is 'lora', but the U-Net has no attention; allowed there are 'full' and 'temporal'")
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


def merged(unet: UNet) -> UNet:
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
        if isinstance(part, UNet) and (own := lora_tensors(name, part)):
            tensors |= own
            pipeline.register_modules(**{name: merged(part)})
    pipeline.save_pretrained(folder)
    save_file(tensors, folder / FILE, {"format": "pt"})


def find_lora(path: str | Path) -> Path:
    """The file of adapters that a path means: itself, or that of a run's or a model's folder.

    Raises:
        InputError: there is none, or it is a pickle.
    """
    from videofusion.files import refuse_pickles

    path = Path(path)
    if path.is_file():
        refuse_pickles(path)
        return path
    for folder in (path, path / "model"):
        if (folder / FILE).is_file():
            return folder / FILE
    raise InputError(f"lora is {path}; it must be a file of LoRA weights, or a folder with a {FILE} in it")


def apply_lora(parts: Mapping[str, Any], file: Path, scale: float = 1.0) -> int:
    """Add what a file's adapters say to the weights.

    Args:
        parts: a pipeline's by name.
        file: safetensors, in diffusers' layout.
        scale: how much of it is added; 1 is as trained, 0 nothing.

    Returns:
        how many layers were changed.

    Raises:
        InputError: the file cannot be read, is not of such adapters, or is of another model; no weight is changed.
    """
    from safetensors import SafetensorError, safe_open

    if not math.isfinite(scale):
        raise InputError(f"lora_scale is {scale}; it must be a number")
    try:
        with safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, it is no mapping
            facts = json.loads((opened.metadata() or {}).get(METADATA, "{}"))
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"lora {file} cannot be read: {error}") from error
    changes = []
    for layer, (down, up, alpha) in _pairs(tensors, facts, file).items():
        part, _, name = layer.partition(".")
        weight = _weight(parts, part, name, layer, file)
        if down.ndim != 2 or up.ndim != 2 or (up.shape[0], down.shape[1]) != weight.shape or up.shape[1] != len(down):
            raise InputError(
                f"lora {file} has matrices of {tuple(up.shape)} and {tuple(down.shape)} for {layer}, which do not "
                f"make its weight of {tuple(weight.shape)}"
            )
        changes.append((weight, scale * alpha / len(down) * (up.float() @ down.float())))
    with torch.no_grad():
        for weight, change in changes:
            weight.add_(change.to(weight))
    return len(changes)


def _pairs(
    tensors: Mapping[str, Tensor], facts: Mapping[str, Any], file: Path
) -> dict[str, tuple[Tensor, Tensor, float]]:
    """The two matrices and the alpha of each layer of a file."""
    found: dict[str, dict[str, Tensor]] = {}
    alphas = {name[: -len(".alpha")]: float(value) for name, value in tensors.items() if name.endswith(".alpha")}
    for name, value in tensors.items():
        match = _MATRIX.fullmatch(name)
        if match is not None:
            found.setdefault(match["layer"], {})["down" if match["kind"] in _DOWN else "up"] = value
        elif not name.endswith(".alpha"):
            raise InputError(f"lora {file} has {name}, which is no matrix of an adapter (lora_A, lora_B)")
    if not found:
        raise InputError(f"lora {file} has no adapters in it")
    for name, value in facts.items():
        if name.rpartition(".")[2] in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern") and value:
            raise InputError(f"lora {file} says {name} = {value}, which is not known here; plain LoRA is")
    pairs = {}
    for layer, two in found.items():
        if len(two) != 2:
            raise InputError(f"lora {file} has one matrix for {layer}; it must have two")
        said = facts.get(f"{layer.partition('.')[0]}.lora_alpha", len(two["down"]))
        pairs[layer] = two["down"], two["up"], alphas.get(layer, float(said))
    return pairs


def _weight(parts: Mapping[str, Any], part: str, name: str, layer: str, file: Path) -> nn.Parameter:
    """The weight that an adapter of that name changes."""
    module = parts.get(part)
    layers = dict(module.named_modules()) if isinstance(module, nn.Module) else {}
    if not isinstance(layers.get(name), nn.Linear):
        raise InputError(f"lora {file} is of another model: this one has no linear layer {layer}")
    return layers[name].weight
