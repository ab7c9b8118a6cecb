"""Models in one file whose kind its names say, unpacked once.

What the file does not hold, the sizes and the tokenizer, is that of the model which such files come from: its
configurations on the Hub, without its weights.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path

from videofusion.errors import InputError, printable, require
from videofusion.interop.modelscope_files import is_modelscope
from videofusion.interop.single_file import UNET, XL, unpack_single_file
from videofusion.interop.snapshots import find_configurations, find_model
from videofusion.interop.weight_files import Stored, read_header

# Models on the Hub whose configurations such files have, by text encoder and what the U-Net takes beside the latents.
ORIGINS = {
    ("1.x", ""): "stable-diffusion-v1-5/stable-diffusion-v1-5",
    ("1.x", "image"): "timbrooks/instruct-pix2pix",
    ("1.x", "mask"): "stable-diffusion-v1-5/stable-diffusion-inpainting",
    ("XL", ""): "stabilityai/stable-diffusion-xl-base-1.0",
}


def find_folder(path: str | Path) -> Path:
    """The folder of a model of others: its folder, its name on the Hub, or a file that it is in; see `find_model`.

    Raises:
        InputError: see `find_model` and `unpacked`.
    """
    file = Path(path).expanduser()
    return unpacked(file) if file.is_file() else find_model(path)


def unpacked(file: Path) -> Path:
    """The folder of a model in one file whose kind its names say, kept among the Hub's assets for the next time.

    Args:
        file: safetensors with U-Net, autoencoder and text encoders.

    Raises:
        InputError: the file is a pickle, is not whole, or holds what is not known by its names; the sentence says how
            to unpack it; its kind's configurations cannot be had.
    """
    hub = require("huggingface_hub", extra="clip")
    file = file.resolve()
    names, told = read_header(file), file.stat()
    instead = f"unpack it with the configurations of its kind: videofusion weights unpack {file} OUT --like FOLDER"
    kind = kind_of(names)
    if kind not in ORIGINS:
        raise InputError(f"{file} {_said_of(kind)}; {instead}")
    mark = hashlib.sha256(f"{file} {told.st_size} {told.st_mtime_ns}".encode()).hexdigest()[:12]
    place = Path(hub.constants.HF_ASSETS_CACHE) / "videofusion" / "unpacked" / f"{file.stem}-{mark}"
    if (place / "model_index.json").is_file():
        return place
    try:
        like = find_configurations(ORIGINS[kind])
    except InputError as error:
        raise InputError(f"{file} holds no configurations and no tokenizer ({error}); {instead}") from error
    print(printable(f"{file.name} is unpacked into {place}, where it stays", line=True), file=sys.stderr)
    return unpack_single_file(file, like, place)


def kind_of(names: Mapping[str, Stored]) -> tuple[str, str]:
    """Which Stable Diffusion a file holds, and what its U-Net takes beside the latents; "" where it is none.

    Args:
        names: of its weights.
    """
    first, latents = f"{UNET}input_blocks.0.0.weight", "first_stage_model.post_quant_conv.weight"
    if is_modelscope(names):
        return "ModelScope", ""
    if any(name not in names or len(names[name].shape) != 4 for name in (first, latents)):
        return "", ""
    channels = names[latents].shape[0]
    beside = names[first].shape[1] - channels
    takes = {0: "", channels: "image", channels + 1: "mask"}.get(beside, f"{beside} more channels")
    marks = {"cond_stage_model.transformer.": "1.x", "cond_stage_model.model.": "2.x", "conditioner.embedders.1.": "XL"}
    found = [kind for begin, kind in marks.items() if any(name.startswith(begin) for name in names)]
    return (found[0] if len(found) == 1 and (found[0] == "XL") == (XL in names) else ""), takes


def _said_of(kind: tuple[str, str]) -> str:
    name, takes = kind
    if name == "ModelScope":
        return "is ModelScope's U-Net alone, without autoencoder and text encoder"
    if name == "2.x":
        return "is a Stable Diffusion 2.x, of which nothing in the file says whether it predicts the noise or v"
    if name:
        return f"is a Stable Diffusion {name} whose U-Net takes {takes} beside the latents, which is not known here"
    return "is none of Stable Diffusion 1.x and XL by the names of its weights"
