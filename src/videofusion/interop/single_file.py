"""Models in one file of safetensors, as Stable Diffusion's authors and many who train it on write them, as folders.

diffusers converts them. What the file does not hold, the sizes and the tokenizer, comes from a folder of the same kind
of model, so that nothing is guessed and nothing is fetched.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videofusion.errors import InputError, require
from videofusion.files import check_regular, write_folder
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.interop.diffusers_folder import ENCODERS, UNETS, unet_kind
from videofusion.interop.diffusers_unet import read_json, unet_config
from videofusion.interop.weight_files import read_header
from videofusion.networks.unet import UNet
from videofusion.trusted import check_foreign

PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionInstructPix2PixPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionXLInpaintPipeline",
)
_UNET = "model.diffusion_model."
# How the names of each part's weights begin in such a file.
_BEGIN = {"unet": (_UNET,), "vae": ("first_stage_model.",), "text_encoder": ("cond_stage_model.", "conditioner.")}
_XL = f"{_UNET}label_emb.0.0.weight"


def unpack_single_file(file: str | Path, like: str | Path, out: str | Path) -> Path:
    """Write the folder of a model that is in one file.

    Args:
        file: safetensors with U-Net, autoencoder and text encoders.
        like: folder of a pipeline of the same kind (Stable Diffusion 1.5, 2.1, XL): its configurations and tokenizers
            are taken, its weights, if there are any, are not.
        out: the new folder, which must not exist.

    Returns:
        the new folder, written whole or not at all.

    Raises:
        InputError: the file is a pickle, is not whole, or holds another kind of model than `like`; `out` exists.
    """
    diffusers = require("diffusers", extra="clip")
    require("transformers", extra="clip")
    file, like, out = Path(file).expanduser(), Path(like).expanduser(), Path(out)
    if out.exists():
        raise InputError(f"out is {out}, which exists; name a folder that does not")
    names = read_header(file)
    for part, begin in _BEGIN.items():
        if not any(name.startswith(begin) for name in names):
            raise InputError(
                f"{file} holds no {part}: no name of its weights begins with {begin[0]!r}; expected was a whole model "
                "(a LoRA is given beside a model, a part of diffusers is a folder)"
            )
    if unet_kind(like) not in UNETS:
        raise InputError(
            f"like is {like}; expected was the folder of a diffusers pipeline with a {UNETS[0]}, of which the "
            f"configurations are read that {file.name} does not hold"
        )
    xl = read_json(like / "unet" / "config.json").get("addition_embed_type") == "text_time"
    if xl != (_XL in names):
        kinds = ("Stable Diffusion 1.x or 2.x", "Stable Diffusion XL")
        raise InputError(
            f"{file} is a {kinds[_XL in names]}, but {like} is a {kinds[xl]}; expected was one of its kind"
        )
    kind = read_json(like / "model_index.json").get("_class_name")
    if kind not in PIPELINES:
        raise InputError(f"{like / 'model_index.json'} is that of a {kind}; expected was one of {', '.join(PIPELINES)}")
    for part, wanted in _sizes(like).items():
        stored = sum(tensor.count for name, tensor in names.items() if name.startswith(_BEGIN[part]))
        if stored < wanted:  # diffusers leaves random numbers in their place, or fails
            raise InputError(
                f"{file} has {stored:,} numbers for the {part}; expected were {wanted:,}, as {like} has it"
            )
    pipeline = _converted(getattr(diffusers, str(kind)), file, like)

    write_folder(out, lambda folder: pipeline.save_pretrained(folder, safe_serialization=True))
    return out


def _converted(kind: Any, file: Path, like: Path) -> Any:
    try:
        check_regular(file)
        without = {"safety_checker": None} if "safety_checker" in inspect.signature(kind.__init__).parameters else {}
        return kind.from_single_file(
            str(file), config=str(like), local_files_only=True, torch_dtype=torch.float32, **without
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, IndexError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{file} cannot be read as a model like {like}: {first}; expected were weights of the sizes that its "
            "configurations say"
        ) from error


def _sizes(like: Path) -> dict[str, int]:
    """Numbers in each part of a pipeline, by its configurations."""
    transformers = require("transformers", extra="clip")
    with torch.device("meta"):
        parts: dict[str, list[nn.Module]] = {
            "unet": [UNet(**unet_config(read_json(like / "unet" / "config.json")))],
            "vae": [load_autoencoder(like, empty=True)],
            "text_encoder": [],
        }
        for folder in (like / "text_encoder", like / "text_encoder_2"):
            if folder.is_dir():
                config = check_foreign(folder / "config.json")
                kind = getattr(transformers, next(each for each in ENCODERS if each in config["architectures"]))
                parts["text_encoder"].append(kind(kind.config_class(**config)))
    return {name: sum(each.numel() for part in own for each in part.parameters()) for name, own in parts.items()}
