"""Files of low-rank adapters (LoRA), of ours, of diffusers and of kohya's scripts, added to a model's weights.

An adapter is two matrices beside a layer's weight W: from the input to the rank, and from there to the output. Added,
the weight is W + scale (alpha / rank) up down. A convolution's first matrix has its kernel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.files import parse_json, refuse_pickles
from videofusion.interop.kohya import from_kohya, is_kohya
from videofusion.interop.weight_files import read_header
from videofusion.networks.lora import FILE

METADATA = "lora_adapter_metadata"  # diffusers' name for what its files say of themselves
_MATRIX = re.compile(r"(?P<layer>.+)\.(?P<kind>lora_A|lora_B|lora\.down|lora\.up)\.weight")
_DOWN = ("lora_A", "lora.down")
# How diffusers named adapters before PEFT, and how it names the layers now.
_OLD = (
    (".processor.", "."),
    (".to_out_lora.", ".to_out.0.lora."),
    *((f".to_{each}_lora.", f".to_{each}.lora.") for each in "qkv"),
    (".lora_linear_layer.", ".lora."),
)
_OLD_TEXT = ((".to_out.0.lora.", ".out_proj.lora."), *((f".to_{each}.lora.", f".{each}_proj.lora.") for each in "qkv"))


def find_lora(path: str | Path) -> Path:
    """The file of adapters that a path means: itself, or that of a run's or a model's folder.

    Raises:
        InputError: there is none, or it is a pickle.
    """
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
        parts: a pipeline's by name. What a file says of a "unet" is for the "base" where there is no such part; of a
            "transformer", as diffusers calls it, for the one in either.
        file: safetensors, in diffusers' or kohya's layout.
        scale: how much of it is added; 1 is as trained, 0 nothing.

    Returns:
        how many layers were changed.

    Raises:
        InputError: the file cannot be read, is not of such adapters, or is of another model; no weight is changed.
    """
    from safetensors import SafetensorError, safe_open

    if not math.isfinite(scale):
        raise InputError(f"lora_scale is {scale}; it must be a number")
    read_header(file)
    try:
        with safe_open(file, "pt") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, it is no mapping
            facts = parse_json((opened.metadata() or {}).get(METADATA, "{}"))
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(f"lora {file} cannot be read: {error}") from error
    tensors = from_kohya(tensors, parts, file) if is_kohya(tensors) else dict(map(_named, tensors.items()))
    changes = []
    for layer, (down, up, alpha) in _pairs(tensors, facts, file).items():
        weight = _weight(parts, layer, file)
        changes.append((weight, scale * alpha / len(down) * _product(up, down, weight, layer, file)))
    with torch.no_grad():
        for weight, change in changes:
            weight.add_(change.to(weight))
    return len(changes)


def _named(entry: tuple[str, Tensor]) -> tuple[str, Tensor]:
    """A tensor with the name that diffusers has for it today."""
    name, value = entry
    for old, new in (*_OLD, *(_OLD_TEXT if name.startswith("text_encoder") else ())):
        name = name.replace(old, new)
    return name, value


def _pairs(
    tensors: Mapping[str, Tensor], facts: Mapping[str, Any], file: Path
) -> dict[str, tuple[Tensor, Tensor, float]]:
    """The two matrices and the alpha of each layer of a file."""
    found: dict[str, dict[str, Tensor]] = {}
    alphas: dict[str, float] = {}
    for name, value in tensors.items():
        if name.endswith(".alpha"):
            if value.numel() != 1 or not value.isfinite().all():
                raise InputError(f"lora {file} has {name} = {value.tolist()!s:.60}; it must be one finite number")
            alphas[name.removesuffix(".alpha")] = float(value)
    for name, value in tensors.items():
        match = _MATRIX.fullmatch(name)
        if match is not None:
            if value.numel() == 0 or not value.isfinite().all():
                what = "has no values" if value.numel() == 0 else "holds values that are not finite"
                raise InputError(f"lora {file}: {name} {what}; expected was a file of a finished training")
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


def _weight(parts: Mapping[str, Any], layer: str, file: Path) -> Tensor:
    """The weight that an adapter of that name changes."""
    part, _, name = layer.partition(".")
    module = parts.get(part)
    if module is None and part == "transformer":
        part, name = "unet", f"net.{name}"
        module = parts.get(part)
    if module is None and part == "unet":
        module = parts.get("base")
    layers = dict(module.named_modules()) if isinstance(module, nn.Module) else {}
    # transformers has the text model's layers within "text_model" or not, by its version
    for each in (name, f"text_model.{name}", name.removeprefix("text_model.")):
        found = layers.get(each)
        if isinstance(found, nn.Linear | nn.Conv2d):
            return found.weight
    raise InputError(f"lora {file} is of another model: this one has no linear layer or convolution {layer}")


def _product(up: Tensor, down: Tensor, weight: Tensor, layer: str, file: Path) -> Tensor:
    """What the two matrices add to a weight, of its shape."""
    size = (*up.shape[:1], *down.shape[1:], 1, 1)[: weight.ndim]
    fits = (
        min(up.ndim, down.ndim) >= 2
        and up.shape[1:].numel() == len(down)  # the second one has no kernel
        and size == weight.shape
        and down.numel() == len(down) * weight[0].numel()
    )
    if not fits:
        raise InputError(
            f"lora {file} has matrices of {tuple(up.shape)} and {tuple(down.shape)} for {layer}, which do not "
            f"make its weight of {tuple(weight.shape)}; expected was a file for a model of this model's sizes"
        )
    return (up.float().flatten(1) @ down.float().flatten(1)).reshape(weight.shape)
