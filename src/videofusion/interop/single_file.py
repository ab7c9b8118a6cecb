"""Models in one file of safetensors, as Stable Diffusion's authors and many who train it on write them, as folders.

diffusers converts them. What the file does not hold, the sizes and the tokenizer, comes from a folder of the same kind
of model, so that nothing is guessed and nothing is fetched. ModelScope's own file of its video U-Net becomes a folder
likewise, whose other parts are those of the folder that is named.
"""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from videofusion.errors import InputError, require
from videofusion.files import PICKLES, check_regular, write_folder
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.interop.diffusers_folder import ENCODERS, UNETS, network_kind, read_folder
from videofusion.interop.diffusers_unet import read_json, unet_config
from videofusion.interop.modelscope_files import is_modelscope, to_diffusers
from videofusion.interop.snapshots import PARTS
from videofusion.interop.video_unets import KIND as VIDEO
from videofusion.interop.weight_files import read_header
from videofusion.networks.unet import UNet
from videofusion.parts import WEIGHTS, read_tensors, without_bars
from videofusion.trusted import check_foreign

PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionXLPipeline",
    "StableDiffusionInstructPix2PixPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionXLInpaintPipeline",
)
UNET = "model.diffusion_model."
# How the names of each part's weights begin in such a file.
_BEGIN = {"unet": (UNET,), "vae": ("first_stage_model.",), "text_encoder": ("cond_stage_model.", "conditioner.")}
XL = f"{UNET}label_emb.0.0.weight"
# Of a pipeline, what is neither in such a file nor read here.
_WITHOUT = {"safety_checker": None, "feature_extractor": None, "image_encoder": None, "requires_safety_checker": False}


def unpack_single_file(file: str | Path, like: str | Path, out: str | Path) -> Path:
    """Write the folder of a model that is in one file.

    Args:
        file: safetensors with U-Net, autoencoder and text encoders; or with ModelScope's video U-Net alone.
        like: folder of a pipeline of the same kind (Stable Diffusion 1.5, 2.1, XL): its configurations and tokenizers
            are taken, its weights, if there are any, are not. For a video U-Net, of ModelScope's model in diffusers'
            layout, of which all but the U-Net's weights is taken.
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
    if is_modelscope(names):
        return _unpack_video(file, like, out)
    for part, begin in _BEGIN.items():
        if not any(name.startswith(begin) for name in names):
            raise InputError(
                f"{file} holds no {part}: no name of its weights begins with {begin[0]!r}; expected was a whole model "
                "(a LoRA is given beside a model, a part of diffusers is a folder)"
            )
    if network_kind(like) != UNETS[0]:
        raise InputError(
            f"like is {like}; expected was the folder of a diffusers pipeline with a {UNETS[0]}, of which the "
            f"configurations are read that {file.name} does not hold"
        )
    xl = read_json(like / "unet" / "config.json").get("addition_embed_type") == "text_time"
    if xl != (XL in names):
        kinds = ("Stable Diffusion 1.x or 2.x", "Stable Diffusion XL")
        raise InputError(f"{file} is a {kinds[XL in names]}, but {like} is a {kinds[xl]}; expected was one of its kind")
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

    with without_bars():
        write_folder(out, lambda folder: pipeline.save_pretrained(folder, safe_serialization=True))
    return out


def _unpack_video(file: Path, like: Path, out: Path) -> Path:
    """The folder of a video model with the U-Net of ModelScope's file."""
    import diffusers

    if network_kind(like) != VIDEO:
        raise InputError(
            f"like is {like}, but {file} is ModelScope's video U-Net; expected was the folder of a diffusers pipeline "
            f"with a {VIDEO}, of which the other parts are taken"
        )
    read_folder(like)
    with torch.device("meta"):
        unet = diffusers.UNet3DConditionModel.from_config(read_json(like / "unet" / "config.json"))
    state = {name: value.contiguous() for name, value in to_diffusers(read_tensors(file), unet, file).items()}

    def fill(folder: Path) -> None:
        shutil.copy(like / "model_index.json", folder)
        for part in filter(lambda name: (like / name).is_dir(), PARTS):
            weights = ("*.safetensors*",) if part == "unet" else ()
            ignored = shutil.ignore_patterns(*weights, *(f"*{end}" for end in PICKLES))
            shutil.copytree(like / part, folder / part, ignore=ignored)
        save_file(state, folder / "unet" / WEIGHTS, metadata={"format": "pt"})

    write_folder(out, fill)
    return out


def _converted(kind: Any, file: Path, like: Path) -> Any:
    try:
        check_regular(file)
        known = inspect.signature(kind.__init__).parameters
        without = {name: value for name, value in _WITHOUT.items() if name in known}
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
