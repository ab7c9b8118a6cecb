"""Latents and text embeddings of a source's videos, made once and written as shards; see `encoded`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from videofusion.clip.check import from_uint8
from videofusion.data.items import Encoding, Item, Source, reasons
from videofusion.data.layouts.encoded import FORMAT, SETTINGS, read_settings, rows_of, shards_of
from videofusion.errors import InputError, RunError
from videofusion.files import whole_path, write_whole
from videofusion.locking import FILE, locked
from videofusion.video.footage import Footage, Unreadable
from videofusion.video.frames import ROUNDING, fit, frames_at

Progress = Callable[[int, int], None]
_FRAMES = 32  # that are decoded before they are encoded


@runtime_checkable
class ClipEncoder(Protocol):
    """What brings clips [b t 3 h w] to latents [b t c h w]."""

    def encode(self, clip: Tensor) -> Tensor: ...


@runtime_checkable
class TextEncoder(Protocol):
    """What brings texts to embeddings [b l d], each of one length, and masks [b l]."""

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]: ...


def encode(
    source: Source,
    out: str | Path,
    made: Encoding,
    clips: ClipEncoder | None,
    texts: TextEncoder | None = None,
    *,
    device: str | torch.device = "cpu",
    shard_bytes: int = 512 * 2**20,
    progress: Progress | None = None,
) -> tuple[int, dict[str, str]]:
    """Encode all frames of all videos, or resume in a folder where that was stopped.

    Each shard is there whole or not at all. What cannot be read is left out, and named in its shard.

    Args:
        source: the videos.
        out: the folder; it is made if it is not there.
        made: what the encoders are, and size and rate of the frames.
        clips: the autoencoder; None keeps the frames themselves, at their size.
        texts: the text encoder, where captions are to be embedded too.
        device: where `clips` computes.
        shard_bytes: a shard is closed once it holds so many.
        progress: called with (videos done, videos in all) after each.

    Returns:
        How many videos are encoded, and reason by name for those that are left out.

    Raises:
        InputError: no encoder, no video, videos that are already encoded, a folder that was made of other videos or
            otherwise.
        RunError: the folder cannot be written to.
    """
    if clips is None and texts is None:
        raise InputError("autoencoder and text are both not given; give at least one of them")
    root = Path(out).expanduser()
    items = list(source.items)
    if not items:
        raise InputError(f'data "{source.root}" contains no usable clip{reasons(source.problems)}')
    if source.made is not None:
        raise InputError(f'data "{source.root}" is already encoded')
    if shard_bytes < 1:
        raise InputError(f"shard_bytes is {shard_bytes}; it must be a whole number of at least 1")
    with locked(root, "out"):
        return _encode_all(source, items, root, made, clips, texts, device, shard_bytes, progress)


def _encode_all(
    source: Source,
    items: Sequence[Item],
    root: Path,
    made: Encoding,
    clips: ClipEncoder | None,
    texts: TextEncoder | None,
    device: str | torch.device,
    shard_bytes: int,
    progress: Progress | None,
) -> tuple[int, dict[str, str]]:
    shards, rows = _begun(root, made, items)
    settings = {"format": FORMAT, "made": made.to_json(), "source": str(source.root)}
    try:
        _write_settings(root, settings)
        while len(rows) < len(items):
            tensors: dict[str, Tensor] = {}
            told: list[dict[str, Any]] = []
            while len(rows) + len(told) < len(items) and sum(each.nbytes for each in tensors.values()) < shard_bytes:
                number = len(rows) + len(told)
                row, found = _encoded(items[number], made, clips, texts, device)
                told.append(row)
                tensors.update({f"{number}.{what}": tensor for what, tensor in found.items()})
                if progress is not None:
                    progress(number + 1, len(items))
            _write_shard(root / f"{shards:05d}.safetensors", tensors, told)
            shards, rows = shards + 1, rows + told
        _write_settings(root, {**settings, "items": len(items)})
    except OSError as error:
        raise RunError(f'"{root}" could not be written: {error}; run the same command to resume') from error
    bad = {row["name"]: row["reason"] for row in rows if "reason" in row}
    return len(rows) - len(bad), dict(source.problems) | bad


def kept_frames(footage: Footage, fps: float | int | None) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers of the frames that are encoded, and the times at which they are shown.

    Args:
        footage: the video.
        fps: frames per second; None for all frames.

    Raises:
        Unreadable: a rate is asked for, and nothing says that of the footage.
    """
    if fps is None or len(footage) == 1:
        return np.arange(len(footage)), footage.times
    if footage.fps == 0:
        raise Unreadable("nothing says its frame rate, so it cannot be encoded at another")
    times = np.arange(max(1, int(np.ceil((footage.seconds - ROUNDING) * fps)))) / fps
    return frames_at(footage, times), times


def _begun(root: Path, made: Encoding, items: Sequence[Item]) -> tuple[int, list[dict[str, Any]]]:
    """How many shards a folder has, and their rows; raises InputError where those were made of something else."""
    settings = read_settings(root)
    if settings is None:
        if any(path.name != FILE for path in root.iterdir()):
            raise InputError(f'out is "{root}", which already exists; name a new folder')
        return 0, []
    for key, value in made.to_json().items():
        there = settings["made"].get(key)
        if there != value:
            raise InputError(f'out is "{root}", which was started with {key} {there}, but {key} is {value} now')
    shards = shards_of(root)
    rows = [row for shard in shards for row in rows_of(shard)]
    for item, row in zip(items, rows, strict=False):
        if item.name != row["name"]:
            raise InputError(
                f'out is "{root}", which was started with other videos: {row["name"]} where {item.name} is now'
            )
    if len(rows) > len(items):
        raise InputError(
            f'out is "{root}", which was started with {len(rows)} videos or more; there are {len(items)} now'
        )
    return len(shards), rows


@torch.no_grad()
def _encoded(
    item: Item, made: Encoding, clips: ClipEncoder | None, texts: TextEncoder | None, device: str | torch.device
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What is said of an item, and its tensors; none where it cannot be read."""
    row: dict[str, Any] = {"name": item.name, "captions": list(item.captions)}
    row |= {key: getattr(item, key) for key in ("label", "identity", "action", "split") if getattr(item, key)}
    try:
        footage = item.open()
        numbers, times = kept_frames(footage, made.fps)
        size = (made.height, made.width)
        frames = footage.decode(numbers.tolist(), size)
        parts = []
        while some := [fit(torch.from_numpy(frame), size) for frame in islice(frames, _FRAMES)]:
            stacked = torch.stack(some)
            parts.append(stacked if clips is None else clips.encode(from_uint8(stacked)[None].to(device))[0].cpu())
    except Unreadable as error:
        return {**row, "reason": str(error)}, {}
    found = {"frames" if clips is None else "latents": torch.cat(parts), "times": torch.from_numpy(times)}
    if texts is not None:
        each = [texts.encode([caption]) for caption in item.captions or ("",)]
        found["text"] = torch.cat([embedding for embedding, _ in each]).float().cpu()
        found["text_mask"] = torch.cat([mask for _, mask in each]).cpu()
    rate, length = (footage.fps, footage.seconds) if made.fps is None else (made.fps, len(times) / made.fps)
    if len(footage) == 1 and footage.fps == 0:
        rate, length = 0, 0
    return {**row, "fps": rate, "seconds": length}, found


def _write_shard(file: Path, tensors: dict[str, Tensor], rows: list[dict[str, Any]]) -> None:
    with whole_path(file) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, {"items": json.dumps(rows)})


def _write_settings(root: Path, settings: dict[str, Any]) -> None:
    write_whole(root / SETTINGS, (json.dumps(settings, indent=1) + "\n").encode())
