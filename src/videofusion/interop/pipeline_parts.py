"""Parts of a diffusers pipeline's folder, found and checked before any weight is read; see `diffusers_folder.py`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videofusion.errors import InputError
from videofusion.files import PICKLES
from videofusion.interop.diffusers_unet import read_json
from videofusion.interop.weight_files import read_header
from videofusion.trusted import check_foreign, refuse_code

VAES = ("AutoencoderKL", "AutoencoderTiny", "TinyAutoencoder", "AutoencoderDC")


@dataclass(frozen=True, kw_only=True)
class TextPart:
    """A text encoder of a folder.

    Args:
        name: of its folder.
        tokenizer: name of its tokenizer's folder.
        kind: its class in transformers.
        width: of its token embeddings.
        pooled: width of its embedding of a whole text; None where it has none.
        length: tokens that it takes at once.
    """

    name: str
    tokenizer: str
    kind: str
    width: int
    pooled: int | None
    length: int


def index_of(folder: Path) -> dict[str, Any]:
    """What the index of a pipeline's folder says; raises InputError where it is no such folder."""
    if folder.is_file():
        kind = "a pickle, which is refused" if folder.suffix in PICKLES else "a file"
        raise InputError(f"{folder} is {kind}; expected was the folder of a diffusers pipeline")
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; expected was that of a diffusers pipeline")
    if (folder / "model_index.json").is_file():
        return read_json(folder / "model_index.json")
    if (folder / "config.json").is_file():
        kind = read_json(folder / "config.json").get("_class_name", "part")
        raise InputError(
            f"{folder} is the folder of a {kind} alone; expected was that of a whole pipeline, with a model_index.json"
        )
    pickles = sorted(file.name for file in folder.glob("*") if file.suffix in PICKLES)
    there = f" ({pickles[0]} in it is a pickle, which is not read)" if pickles else ""
    raise InputError(f"{folder} has no model_index.json{there}; expected was the folder of a diffusers pipeline")


def class_of(index: Mapping[str, Any], name: str) -> str | None:
    """The class of a part as a pipeline's index has it."""
    entry = index.get(name)
    return str(entry[1]) if isinstance(entry, list) and len(entry) == 2 and entry[1] else None


def read_part(folder: Path, index: Mapping[str, Any], name: str, kinds: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of a part that must be there, and must be of one of some kinds."""
    said, part = class_of(index, name), folder / name
    if said is None:
        there = ", ".join(sorted(each for each in index if class_of(index, each))) or "none"
        raise InputError(
            f"{folder / 'model_index.json'} names no {name}; expected was one of {either(kinds)} ({there} are)"
        )
    if said not in kinds:
        raise InputError(f"{folder / 'model_index.json'} names a {said} as its {name}; expected was {either(kinds)}")
    if not (part / "config.json").is_file():
        raise InputError(f"{part / 'config.json'} is missing; expected was the configuration of a {said}")
    refuse_code(part)
    config = check_foreign(part / "config.json")
    own = config.get("_class_name") or next(iter(config.get("architectures") or []), None)
    if own is not None and (own not in kinds or (name == "unet" and own != said)):
        wanted = (said,) if name == "unet" else kinds
        raise InputError(f"{part / 'config.json'} is that of a {own}; expected was {either(wanted)}")
    return config


def read_text(folder: Path, index: Mapping[str, Any], suffix: str, kinds: tuple[str, ...]) -> TextPart:
    """A text encoder with its tokenizer.

    Args:
        folder: of the pipeline.
        index: what its index says.
        suffix: of the two parts' names: "", "_2" or "_3".
        kinds: one of which the encoder must be.
    """
    name, tokenizer = f"text_encoder{suffix}", f"tokenizer{suffix}"
    config = read_part(folder, index, name, kinds)
    words = folder / tokenizer
    if class_of(index, tokenizer) is None or not words.is_dir() or not any(words.glob("*.json")):
        raise InputError(f"{words} is missing; expected was the tokenizer of {name}")
    kind = str(class_of(index, name))
    sizes = {"hidden_size": 512, "projection_dim": 512, "max_position_embeddings": 77}
    if not kind.startswith("CLIP"):
        sizes = {"hidden_size": config.get("d_model", 512)}  # T5's name for it
    for key, default in sizes.items():
        sizes[key] = config.get(key, default)
        if not isinstance(sizes[key], int) or sizes[key] < 3:
            raise InputError(f"{folder / name / 'config.json'}: {key} is {sizes[key]!r}; it must be a number above 2")
    return TextPart(
        name=name,
        tokenizer=tokenizer,
        kind=kind,
        width=sizes["hidden_size"],
        pooled=sizes["projection_dim"] if kind.endswith("WithProjection") else None,
        length=min(sizes.get("max_position_embeddings", 2**31), length_of(words)),
    )


def length_of(words: Path) -> int:
    """Tokens that a tokenizer says are the most."""
    config = words / "tokenizer_config.json"
    most = read_json(config).get("model_max_length") if config.is_file() else None
    return int(most) if isinstance(most, int | float) and math.isfinite(most) and most > 2 else 2**31


def latents_of(folder: Path, vae: Mapping[str, Any]) -> tuple[int, int, float]:
    """Channels, factor and scale of an autoencoder's latents."""
    levels = vae.get("block_out_channels") or vae.get("encoder_block_out_channels")
    factor: Any = 2 ** (len(levels) - 1) if isinstance(levels, list) else vae.get("factor")  # of a TinyAutoencoder
    if not isinstance(vae.get("latent_channels"), int) or not isinstance(factor, int) or factor < 1:
        raise InputError(f"{folder / 'vae' / 'config.json'} lacks block_out_channels or latent_channels")
    scale = vae.get("scaling_factor", 1.0 if str(vae.get("_class_name")) in VAES[1:] else 0.18215)
    if not isinstance(scale, int | float) or not math.isfinite(scale) or scale <= 0:
        raise InputError(f"{folder / 'vae' / 'config.json'}: scaling_factor is {scale!r}; it must be a number above 0")
    return vae["latent_channels"], factor, float(scale)


def count_weights(part: Path) -> int:
    """Numbers in a part's files, each of which is whole."""
    variants: dict[str, list[Path]] = {}
    for file in sorted(part.glob("*.safetensors")):
        # in parts "model-00001-of-00002.safetensors" or with ".fp16" in between: one set of files is read
        variants.setdefault(
            ".fp16" if ".fp16" in file.name else ".non_ema" if ".non_ema" in file.name else "", []
        ).append(file)
    if not variants:
        pickles = sorted(file.name for file in part.glob("*") if file.suffix in PICKLES)
        there = f"it has only {pickles[0]}, a pickle, which can run code when it is read" if pickles else "it has none"
        raise InputError(f"{part} must have its weights as safetensors; {there}")
    files = variants.get("") or variants.get(".fp16") or next(iter(variants.values()))
    _all_there(part, files)
    return sum(stored.count for file in files for stored in read_header(file).values())


def _all_there(part: Path, files: list[Path]) -> None:
    there = {file.name for file in files}
    for index in sorted(part.glob("*.safetensors.index*.json")):
        named = set(map(str, read_json(index).get("weight_map", {}).values()))
        missing = sorted(named - there)
        if missing and named & there:
            raise InputError(f"{part / missing[0]} is missing, which {index.name} names; fetch it again")


def either(kinds: tuple[str, ...]) -> str:
    """Names as a sentence has them."""
    return " or ".join(kinds)
