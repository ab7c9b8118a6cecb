"""Decoding and writing what was made, so that nothing of it is lost where either fails."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from videofusion.clip import write_clip
from videofusion.clip.provenance import provenance_text
from videofusion.errors import InputError, RunError
from videofusion.files import check_regular, parse_json, write_whole
from videofusion.systems.pipeline import VideoPipeline

_NAMES = ("clip", "latents")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What could not become a file.

    Args:
        name: "clip", or "latents", which are still to be decoded.
        made: t c h w.
        fps: frames per second of the file that it should have become; None where that is not known.
        provenance: what is known about the making.
    """

    name: str
    made: Tensor
    fps: float | None
    provenance: Mapping[str, Any]


def decoded(pipe: VideoPipeline, latents: Tensor, path: Path, fps: float, provenance: Mapping[str, Any]) -> Tensor:
    """The clip of what was sampled; where decoding fails, keep that, so that what was made is not lost."""
    try:
        return pipe.decode(latents)
    except RuntimeError as error:  # torch calls a lack of memory one
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        kept = _keep("latents", latents, path, fps, provenance)
        where = f"they are kept in {kept}, for `videofusion decode`" if kept else "nor could they be kept"
        raise RunError(f"the latents could not be decoded: {first}; {where}") from error


def write(clip: Tensor, path: Path, fps: float, scale: int, provenance: Mapping[str, Any]) -> None:
    """Write a clip; where that fails, keep its numbers, so that what was made is not lost."""
    try:
        write_clip(clip, path, fps, provenance, scale=scale)
    except (RunError, InputError) as error:
        kept = _keep("clip", clip, path, fps, provenance)
        where = f"its numbers are kept in {kept}, for `videofusion decode`" if kept else "nor could its numbers be kept"
        raise RunError(f"{error}; {where}") from error


def kept_bytes(name: str, made: Tensor, fps: float, provenance: Mapping[str, Any]) -> bytes:
    """What `read_kept` reads: a file of safetensors."""
    told = {"fps": str(float(fps)), "provenance": provenance_text(provenance)}
    return save({name: made.cpu().contiguous()}, told)


def read_kept(path: Path) -> Kept:
    """What a file of `kept_bytes` holds.

    Raises:
        InputError: it is no such file.
    """
    try:
        check_regular(path)
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name in _NAMES]  # noqa: SIM118
            if len(names) != 1:
                raise InputError(f'"{path}" holds no {" and no ".join(_NAMES)}; it is not a file of kept latents')
            made, notes = file.get_tensor(names[0]), dict(file.metadata() or {})
        told = parse_json(notes.get("provenance", "{}"))
        fps = float(notes.get("fps", "nan"))
    except (OSError, SafetensorError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'"{path}" cannot be read: {getattr(error, "strerror", None) or error}') from error
    if made.ndim != 4 or not made.is_floating_point() or not isinstance(told, dict):
        raise InputError(f'"{path}" holds a {names[0]} of shape {tuple(made.shape)}; it must be frames, t c h w')
    return Kept(name=names[0], made=made.float(), fps=fps if math.isfinite(fps) else None, provenance=told)


def _keep(name: str, made: Tensor, path: Path, fps: float, provenance: Mapping[str, Any]) -> Path | None:
    """Save "clip" or "latents" (t c h w) as safetensors beside `path`, here, or among the temporary files."""
    data = kept_bytes(name, made, fps, provenance)
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
