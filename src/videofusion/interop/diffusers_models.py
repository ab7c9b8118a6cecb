"""Loads parts of diffusers' pipelines from folders, as safetensors and strictly, or says why not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import WEIGHTS
from videofusion.parts import check_count


def read_diffusers(kind: Any, folder: Path, config: Mapping[str, Any], what: str, *, empty: bool = False) -> Any:
    """A part in float32, whose weights are those of its files, no more and no less.

    Args:
        kind: a class of diffusers.
        folder: with safetensors.
        config: what its config.json says, which was checked.
        what: the part is, for errors.
        empty: leave the weights where they are; for torch's meta device.

    Raises:
        InputError: weights that are a pickle or do not fit.
    """
    if empty:
        return kind.from_config(config)
    variant = _variant(folder, what)
    try:
        with torch.device("meta"):
            check_count(folder, kind.from_config(config))
        found, told = kind.from_pretrained(
            folder,
            use_safetensors=True,
            variant=variant,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
            torch_dtype=torch.float32,
        )
    except InputError as error:
        raise InputError(f"{what} {error}") from error
    except (OSError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{what} {folder} cannot be loaded: {first}") from error
    for key, lack in (
        ("missing_keys", "lack"),
        ("unexpected_keys", "have"),
        ("mismatched_keys", "have another size of"),
    ):
        if told.get(key):
            raise InputError(f"{what} {folder} cannot be used: its weights {lack} {sorted(told[key])[0]}")
    return found


def _variant(folder: Path, what: str) -> str | None:
    """Which of a folder's files to read: whole precision, or half where there is nothing else."""
    for variant in (None, "fp16"):
        middle = "" if variant is None else f".{variant}"
        if any(
            (folder / f"{WEIGHTS}{end}").is_file()
            for end in (f"{middle}.safetensors", f".safetensors.index{middle}.json")
        ):
            return variant
    raise InputError(f"{what} {folder} must have {WEIGHTS}.safetensors; it has {pickles_of(folder)}")


def pickles_of(folder: Path) -> str:
    """The pickles of a folder, as a sentence without safetensors ends."""
    found = sorted(file.name for ending in ("bin", "pt", "pth", "ckpt") for file in folder.glob(f"*.{ending}"))
    return f"only {found[0]}, a pickle, which can run code when it is read and is refused" if found else "none"
