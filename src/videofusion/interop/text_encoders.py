"""Text encoders of transformers from files."""

from __future__ import annotations

from pathlib import Path

import torch

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.errors import InputError, require
from videofusion.parts import check_count
from videofusion.trusted import LOCAL, check_foreign

KINDS = ("CLIPTextModel", "T5EncoderModel")


def load_text_encoder(path: str | Path, *, empty: bool = False) -> FrozenText:
    """A text encoder in float32, with its tokenizer.

    Args:
        path: folder of a pipeline, with `text_encoder` and `tokenizer`; or a folder with the files of both.
        empty: leave the weights where they are; for torch's meta device.

    Raises:
        InputError: no such folder, another kind of text encoder, weights that are a pickle or do not fit; transformers
            is not installed.
    """
    transformers = require("transformers", extra="clip")
    folder = Path(path).expanduser()
    if not folder.is_dir():
        raise InputError(
            f'text encoder is "{path}"; it must be a folder with a config.json, safetensors and a tokenizer'
        )
    weights, words = folder, folder
    if not (folder / "config.json").is_file() and (folder / "text_encoder").is_dir():
        weights, words = folder / "text_encoder", folder / "tokenizer"
    config = check_foreign(weights / "config.json")
    name = next(iter(config.get("architectures") or []), None)
    if name not in KINDS:
        raise InputError(f"text encoder {weights} is a {name}; allowed are {', '.join(KINDS)}")
    if not any(weights.glob("*.safetensors")):
        pickles = ", ".join(file.name for file in sorted(weights.glob("*.bin"))[:1])
        there = f"only {pickles}, a pickle, which can run code when it is read and is refused" if pickles else "none"
        raise InputError(f"text encoder {weights} must have its weights as safetensors; it has {there}")
    kind = getattr(transformers, str(name))
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(words, **LOCAL)
        sizes = kind.config_class.from_pretrained(weights, **LOCAL)
        if empty:
            return FrozenText(kind(sizes), tokenizer)
        with torch.device("meta"):
            check_count(weights, kind(sizes))
        model, told = kind.from_pretrained(
            weights, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **LOCAL
        )
    except InputError as error:
        raise InputError(f"text encoder {error}") from error
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"text encoder {folder} cannot be loaded: {first}") from error
    for key, what in (("missing_keys", "lack"), ("mismatched_keys", "have another size of")):
        if told.get(key):
            raise InputError(
                f"text encoder {folder} cannot be used: its weights {what} {sorted(map(str, told[key]))[0]}"
            )
    return FrozenText(model, tokenizer)
