"""Decoding and writing what was made, so that nothing of it is lost where either fails."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from videofusion.clip import write_clip, write_whole
from videofusion.errors import InputError, RunError
from videofusion.systems.pipeline import VideoPipeline


def decoded(pipe: VideoPipeline, latents: Tensor, path: Path, provenance: Mapping[str, Any]) -> Tensor:
    """The clip of what was sampled; where decoding fails, keep that, so that what was made is not lost."""
    try:
        return pipe.decode(latents)
    except RuntimeError as error:  # torch calls a lack of memory one
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        kept = _keep("latents", latents, path, provenance)
        where = f"they are kept in {kept}, for `decode` of the model" if kept else "nor could they be kept"
        raise RunError(f"the latents could not be decoded: {first}; {where}") from error


def write(clip: Tensor, path: Path, fps: float, scale: int, provenance: Mapping[str, Any]) -> None:
    """Write a clip; where that fails, keep its numbers, so that what was made is not lost."""
    try:
        write_clip(clip, path, fps, provenance, scale=scale)
    except (RunError, InputError) as error:
        kept = _keep("clip", clip, path, provenance)
        where = f"its numbers are kept in {kept} (safetensors)" if kept else "nor could its numbers be kept elsewhere"
        raise RunError(f"{error}; {where}") from error


def _keep(name: str, made: Tensor, path: Path, provenance: Mapping[str, Any]) -> Path | None:
    """Save "clip" or "latents" (t c h w) as safetensors beside `path`, here, or among the temporary files."""
    data = save({name: made.cpu().contiguous()}, {key: str(value) for key, value in provenance.items()})
    for folder in (path.parent, Path.cwd(), Path(tempfile.gettempdir())):
        file = folder / f"{path.stem}.safetensors"
        if file.exists():
            continue
        try:
            write_whole(file, data)
        except RunError:  # the next place may do; the caller says where it went
            continue
        return file
    return None
