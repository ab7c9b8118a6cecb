"""`videofusion decode`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from videofusion.cli.options import Force, refuse_existing
from videofusion.errors import InputError, RunError, printable
from videofusion.generation.rows import FILE_FPS, check_file
from videofusion.models import SHIPPED, find


def decode(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    *,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")],
    model: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    fps: Annotated[float | None, tyro.conf.arg(metavar="N")] = None,
    scale: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    sheet: tyro.conf.FlagCreatePairsOff[bool] = False,
    device: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    tile: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    force: Force = False,
) -> None:
    """Make a video from what `videofusion generate` kept when it could not decode or write it.

    FILE contains its prompt, model, seeds and rate. Name a model of your own with --model.

    Args:
        file: the .safetensors file: a clip, or latents
        out: the file: .mp4, .gif, .webp, or .png for a contact sheet
        model: the model of the latents: a name that `videofusion models` lists, or a model folder
        fps: frames per second of the file; as first requested by default
        scale: pixels of the file for each of the clip's; small clips are enlarged by default
        sheet: also write the frames side by side, as a .png beside OUT
        device: cpu, cuda, ...; the fastest available by default. Try cpu if a GPU's memory was too small
        tile: decode frames in tiles of so many pixels, in less memory: try 512, then 256. By default only frames above
            1024x1024 pixels go in tiles, of 512
        force: replace OUT if it exists
    """
    check_file(fps, scale)
    files = list(dict.fromkeys([out, *[out.with_suffix(".png")] * sheet]))
    refuse_existing(files, force)
    if model is not None:
        find(model)

    from videofusion.clip import check_output, watchable_scale, write_clip
    from videofusion.generation.keeping import read_kept
    from videofusion.models import load

    files = [check_output(each, name="--out") for each in files]
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
    pixels = watchable_scale(*clip.shape[-2:]) if scale is None else scale
    for each in files:
        write_clip(clip, each, fps or kept.fps or FILE_FPS, told, scale=pixels)
    print(printable(f"{', '.join(map(str, files))}  ({len(clip)} frames)"))
