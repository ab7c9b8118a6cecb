"""`videofusion decode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from videofusion.cli.option_groups import OUTPUT, OutputOptions
from videofusion.errors import InputError, RunError, printable
from videofusion.generation.rows import FILE_FPS
from videofusion.models import SHIPPED, find


def decode(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")],
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    tile: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    output: Annotated[OutputOptions, tyro.conf.OmitArgPrefixes] = OUTPUT,
) -> None:
    """Make a video from what `videofusion generate` kept when it could not decode or write it.

    FILE contains its prompt, model, seeds and rate. Name a model of your own with --model.

    Args:
        file: the .safetensors file: a clip, or latents
        out: the file: .mp4, .gif, .webp, or .png for a contact sheet
        model: the model of the latents: a name that `videofusion models` lists, or a model folder
        device: cpu, cuda, ...; the fastest available by default. Try cpu if a GPU's memory was too small
        tile: decode frames in tiles of so many pixels, in less memory: try 512, then 256. By default only frames above
            1024x1024 pixels go in tiles, of 512
        output: the file; its rate is the one first asked for by default
    """
    output.check()
    files = output.files(out, name="--out")
    if model is not None:
        find(model)

    from videofusion.clip import write_clip
    from videofusion.generation.keeping import read_kept
    from videofusion.models import load

    kept = read_kept(file.expanduser())
    told: dict[str, Any] = {**kept.provenance} | ({} if model is None else {"model": model})
    clip = kept.made
    if kept.name == "clip" and tile is not None:
        raise InputError(f'tile is {tile}, but "{file}" holds a clip, which is not decoded')
    if kept.name == "latents":
        own = str(told.get("model", ""))
        if model is None and own not in SHIPPED:
            raise InputError(
                f'"{file}" was made with the model {own[:200]!r}; a file may name any folder, so name it with --model'
            )
        pipe = load(own, device=device)
        if tile is not None:
            pipe.enable_vae_tiling(tile)
        try:
            clip = pipe.decode(clip)
        except (RuntimeError, MemoryError) as error:  # torch calls a lack of memory the former
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RunError(f'the latents of "{file}" could not be decoded: {first}') from error
    for each in files:
        write_clip(clip, each, output.fps or kept.fps or FILE_FPS, told, scale=output.enlarged(*clip.shape[-2:]))
    print(printable(f"{', '.join(map(str, files))}  ({len(clip)} frames)"))
