"""Text encoders of transformers from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.errors import InputError, require
from videofusion.interop.transformers_models import cannot_load, read_model
from videofusion.trusted import LOCAL

KINDS = ("CLIPTextModel", "T5EncoderModel")


def load_text_encoder(
    path: str | Path, *, kinds: Sequence[str] = KINDS, prefix: str = "", suffix: str = "", empty: bool = False
) -> FrozenText:
    """A text encoder in float32, with its tokenizer.

    Args:
        path: folder of a pipeline, with `text_encoder` and `tokenizer`; or a folder with the files of both.
        kinds: of text encoders that will do.
        prefix: of the names of a pipeline's two folders.
        suffix: likewise, "_2" for the second encoder of Stable Diffusion XL.
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
    if not (folder / "config.json").is_file() and (folder / f"{prefix}text_encoder{suffix}").is_dir():
        weights, words = folder / f"{prefix}text_encoder{suffix}", folder / f"{prefix}tokenizer{suffix}"
    model = read_model(weights, kinds, "text encoder", empty=empty)
    try:
        return FrozenText(model, transformers.AutoTokenizer.from_pretrained(words, **LOCAL))
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise cannot_load("text encoder", folder, error) from error
