"""Loads models of transformers from folders, as safetensors and strictly, or says why not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from videofusion.errors import InputError, require
from videofusion.parts import check_count, without_bars
from videofusion.trusted import LOCAL, check_foreign


def read_model(
    folder: Path, kinds: Sequence[str], what: str, *, as_kind: str | None = None, empty: bool = False
) -> Any:
    """A model in float32, whose weights are those of its files.

    Args:
        folder: with config.json and safetensors.
        kinds: classes of transformers, one of which the folder must hold.
        what: the model is, for errors.
        as_kind: the class to read it as, that of its tower that is wanted; its own when None.
        empty: leave the weights where they are; for torch's meta device.

    Raises:
        InputError: another kind of model, weights that are a pickle or do not fit; transformers is not installed.
    """
    transformers = require("transformers", extra="clip")
    config = check_foreign(folder / "config.json")
    name = next(iter(config.get("architectures") or []), None)
    if name not in kinds:
        raise InputError(f"{what} {folder} is a {name}; it must be one of {', '.join(kinds)}")
    if not empty and not any(folder.glob("*.safetensors")):
        pickles = ", ".join(file.name for file in sorted(folder.glob("*.bin"))[:1])
        there = f"only {pickles}, a pickle, which can run code when it is read and is refused" if pickles else "none"
        raise InputError(f"{what} {folder} must have its weights as safetensors; it has {there}")
    kind = getattr(transformers, as_kind or str(name))
    try:
        sizes = kind.config_class.from_pretrained(folder, **LOCAL)
        if as_kind not in (None, name) and "projection_dim" in config:  # a tower's projection is the whole model's
            sizes.projection_dim = config["projection_dim"]
        if empty:
            return kind(sizes)
        with torch.device("meta"):
            check_count(folder, kind(sizes))
        with without_bars():
            model, told = kind.from_pretrained(
                folder,
                config=sizes,
                use_safetensors=True,
                variant=_variant(folder),
                output_loading_info=True,
                dtype=torch.float32,
                **LOCAL,
            )
    except InputError as error:
        raise InputError(f"{what} {error}") from error
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise cannot_load(what, folder, error) from error
    for key, lack in (("missing_keys", "lack"), ("mismatched_keys", "have another size of")):
        if told.get(key):
            raise InputError(f"{what} {folder} cannot be used: its weights {lack} {sorted(map(str, told[key]))[0]}")
    return model


def _variant(folder: Path) -> str | None:
    """Which of a folder's files to read: whole precision, or half where there is nothing else."""
    return None if any(".fp16." not in file.name for file in folder.glob("*.safetensors")) else "fp16"


def cannot_load(what: str, folder: Path, error: Exception) -> InputError:
    """The error for a model that a library could not load, with the first line of the library's reason."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return InputError(f"{what} {folder} cannot be loaded: {first}")
