"""Rows to files: a model that is loaded once and makes batch after batch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from diffusers.utils import logging
from torch import Tensor

from videofusion.clip import watchable_scale, write_clip
from videofusion.errors import InputError, RunError
from videofusion.files import write_whole
from videofusion.generation.image_options import call_of
from videofusion.generation.keeping import kept_bytes
from videofusion.generation.rows import FILE_FPS, Row
from videofusion.models import load
from videofusion.tasks import generate


@dataclass(frozen=True, kw_only=True)
class Form:
    """How clips become files.

    Args:
        ending: of the file, one of `CLIP_ENDINGS`.
        sheet: also write the frames side by side, as .png.
        fps: frames per second of the file, and of the scene for models that condition on it; `FILE_FPS` and any
            when None.
        scale: pixels of the file for each of the clip's; None enlarges small clips.
    """

    ending: str = ".mp4"
    sheet: bool = False
    fps: float | None = None
    scale: int | None = None

    def files(self, row: Row) -> list[str]:
        """Names of a row's files."""
        return [row.name + ending for ending in dict.fromkeys([self.ending, *[".png"] * self.sheet])]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the files' contents beside the clip."""
        return {"fps": self.rate, "scale": self.scale}

    @property
    def rate(self) -> float:
        """Frames per second of the file."""
        return self.fps or FILE_FPS


class Maker:
    """A model, ready to make rows into files.

    Args:
        model: a name or a folder, as `load` takes it.
        weights: the model's digest, with what else decides what it makes, for the record.
        folder: where the files go.
        form: of the files.
        options: what else `load` takes.
    """

    def __init__(self, model: str, weights: str, folder: Path, form: Form, options: Mapping[str, Any]) -> None:
        logging.disable_progress_bar()  # of loading, which takes a moment
        self._pipe = load(model, **options)
        self._weights, self._folder, self._form = weights, folder, form
        self._made_by = {"model": model} | {name: value for name, value in options.items() if name != "device"}

    def make(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Make the clips of rows with equal `call` and `image` and write their files, each whole or not at all.

        Returns:
            a line of the record for each row.

        Raises:
            RunError: a file cannot be written, which no other row will find better.
        """
        began = time.perf_counter()
        try:
            made = self._sampled(rows)
        except (InputError, RuntimeError, MemoryError) as error:  # torch calls a lack of memory a RuntimeError
            if len(rows) > 1:  # it may be one row's fault, or their number's
                return [line for row in rows for line in self.make([row])]
            return [failed(rows[0], str(error))]
        seconds = (time.perf_counter() - began) / len(rows)
        return [self._finish(row, latents, seconds) for row, latents in zip(rows, made, strict=True)]

    def _finish(self, row: Row, latents: Tensor, seconds: float) -> dict[str, Any]:
        """Decode and write a clip; where decoding fails, what was sampled is kept beside the other rows' files."""
        began = time.perf_counter()
        try:
            clip = self._pipe.decode(latents)
        except (RuntimeError, MemoryError) as error:
            file = self._folder / f"{row.name}.latents.safetensors"
            told = {**self._made_by, **row.told}
            write_whole(file, kept_bytes("latents", latents, self._form.rate, told))
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            return failed(row, f"the latents could not be decoded and are kept in {file.name}: {first}")
        return self._write(row, clip, seconds + time.perf_counter() - began)

    def _sampled(self, rows: Sequence[Row]) -> Tensor:
        seeds = [row.settings["seed"] for row in rows]
        motions = [row.settings["motion_seed"] for row in rows]
        call = rows[0].call
        size = (call["height"], call["width"])
        return generate(
            self._pipe,
            [row.settings["prompt"] for row in rows],
            seed=seeds,
            motion_seed=[seed if own is None else own for seed, own in zip(seeds, motions, strict=True)],
            output="latent",
            fps=self._form.fps if self._pipe.takes_fps else None,
            **call,
            **call_of(self._pipe, rows[0].image, size=size, frames=call["frames"]),
        )

    def _write(self, row: Row, clip: Tensor, seconds: float) -> dict[str, Any]:
        form = self._form
        scale = form.scale or watchable_scale(*clip.shape[-2:])
        files = form.files(row)
        try:
            for file in files:
                write_clip(clip, self._folder / file, form.rate, {**self._made_by, **row.told}, scale=scale)
        except RunError as error:
            if not isinstance(error.__cause__, av.FFmpegError):
                raise
            return failed(row, str(error))
        except (OSError, ValueError) as error:  # a clip that the format cannot hold
            return failed(row, str(error))
        made = {"files": files, **self._made_by, "weights": self._weights, "seconds": round(seconds, 3)}
        return {"row": row.number, "id": row.name, "state": "done", **row.told, **form.settings, **made}


def failed(row: Row, reason: str) -> dict[str, Any]:
    """The line of the record for a row that could not be made."""
    first = (reason.strip().splitlines() or ["no reason was given"])[0]
    return {"row": row.number, "id": row.name, "state": "failed", "reason": first, **row.told}
