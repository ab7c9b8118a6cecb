"""`videofusion models`."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import tyro

from videofusion.models import SHIPPED, find


def models() -> None:
    """List the models that ship, and the words that each knows."""
    for model in SHIPPED.values():
        if not model.folder.is_dir():
            print(f"{model.name}  (missing from this installation)\n  {model.summary}")
            continue
        print(f"{model.name}  ({model.shape}, {model.megabytes:.1f} MB)\n  {model.summary}")
        print(f'  for example: videofusion generate "{model.example}" --model {model.name} -o clip.mp4')
        print(textwrap.fill(f"words: {', '.join(model.words)}", 100, initial_indent="  ", subsequent_indent="    "))


def export(
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")],
    *,
    dtype: str = "float16",
    diffusers: Annotated[str | None, tyro.conf.arg(metavar="NETWORK")] = None,
) -> None:
    """Write a model folder to share: the same model in half the bytes, or an image model for diffusers.

    Of a checkpoint, the averaged weights are exported.

    Args:
        model: a name that `videofusion models` lists, a model folder, a run folder, or a
            checkpoint folder, as RUN/checkpoints/step-00000100
        out: the new folder
        dtype: of the weights: float16, bfloat16 or float32
        diffusers: write this network alone, unet or VideoFusion's base, as a Stable Diffusion folder that diffusers
            loads without videofusion; it must be an image network
    """
    if not (Path(model) / "state.json").is_file():  # of a checkpoint
        find(model)

    from diffusers.utils import logging

    from videofusion.training.export import export_model as write

    logging.disable_progress_bar()  # of loading, which takes a moment
    print(write(model, out, dtype=dtype, diffusers=diffusers))
