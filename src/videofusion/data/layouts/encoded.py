"""Latents, or frames of one size, and text embeddings that were made before training, as clips: the layout `encoded`.

A folder holds `encoded.json`, which says what they were made with, and shards `00000.safetensors`, ... Of item i of the
source a shard has "i.latents" [t c h w], or "i.frames" [t h w 3] in bytes where no autoencoder made it, "i.times"
(seconds, float64) and, for each caption, a row of "i.text" [n l d] and "i.text_mask" [n l]; the shard's metadata have
what is said of each item. A video that could not be read is an item too, with the reason: so the clips' numbers, and
with them all draws of a training, are those of the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from videofusion.clip.check import from_uint8
from videofusion.data.items import Encoding, Item, Source
from videofusion.data.layouts.metadata import number_in, text_of
from videofusion.errors import InputError
from videofusion.files import check_regular, parse_json
from videofusion.video.footage import Frame, Unreadable

SETTINGS = "encoded.json"
FORMAT = 1  # of the folder; another one is refused


@dataclass(frozen=True)
class _Item:
    """One item in a shard.

    Args:
        shard: the file.
        number: of the item.
        height: of its frames, in pixels.
        width: of its frames, in pixels.
        fps: frames per second on average, 0 where nothing says it.
        seconds: length.
    """

    shard: Path
    number: int
    height: int
    width: int
    fps: float | int
    seconds: float | int


@dataclass(frozen=True)
class EncodedFootage(_Item):
    """The latents or frames of one item on disk; `times` are seconds from the first frame to each frame [t]."""

    times: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times)

    def read(self, numbers: NDArray[np.int64], caption: int) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Latents or pixels of frames by number [t c h w]; a caption's embedding with its mask, where there is one.

        Raises:
            Unreadable: the shard is damaged.
        """
        first, last = int(numbers.min()), int(numbers.max()) + 1
        try:
            with safe_open(self.shard, "pt") as file:
                pixels = f"{self.number}.frames" in file.keys()  # noqa: SIM118 (it is no dict)
                kept = file.get_slice(f"{self.number}.{'frames' if pixels else 'latents'}")
                clip = kept[first:last][torch.from_numpy(numbers - first)]
                clip = from_uint8(clip) if pixels else clip
                if f"{self.number}.text" not in file.keys():  # noqa: SIM118 (it is no dict)
                    return clip, None
                rows = (
                    file.get_slice(f"{self.number}.{what}")[caption : caption + 1] for what in ("text", "text_mask")
                )
                text, mask = (row[0] for row in rows)
                return clip, (text, mask)
        except (OSError, SafetensorError) as error:
            raise Unreadable(f"the shard {self.shard.name} cannot be read: {error}") from error

    def check(self) -> None:
        """Raise `Unreadable` where a latent is no number."""
        latents, _ = self.read(np.arange(len(self)), 0)
        if not latents.isfinite().all():
            raise Unreadable("a latent is no number")

    def decode(self, numbers: Sequence[int], cover: tuple[int, int] | None = None) -> Iterator[Frame]:
        raise Unreadable("it was encoded by `videofusion data encode`, which is for training only")


@dataclass(frozen=True)
class EncodedVideo(_Item):
    """Where such latents are."""

    def open(self) -> EncodedFootage:
        try:
            with safe_open(self.shard, "np") as file:
                times = file.get_tensor(f"{self.number}.times")
            if times.ndim != 1 or len(times) == 0 or not np.isfinite(times).all():
                raise Unreadable(f"the shard {self.shard.name} has no times of its frames")
        except (OSError, SafetensorError) as error:
            raise Unreadable(f"the shard {self.shard.name} cannot be read: {error}") from error
        return EncodedFootage(**vars(self), times=times)


@dataclass(frozen=True)
class Broken:
    """A video that could not be read when it was to be encoded."""

    reason: str

    def open(self) -> EncodedFootage:
        raise Unreadable(self.reason)


def list_encoded(path: str | Path, fold: int = 1) -> Source:
    """The clips of a folder that `videofusion data encode` wrote.

    Raises:
        InputError: no such folder, one that is not finished, or one of another version.
    """
    root = Path(path).expanduser()
    settings = read_settings(root)
    if settings is None:
        raise InputError(f'data "{path}" has no {SETTINGS}; `videofusion data encode` writes such folders')
    if fold != 1:
        raise InputError(f"fold is {fold}; it must be 1, as the fold was chosen when the data were encoded")
    rows = [(shard, row) for shard in shards_of(root) for row in rows_of(shard)]
    if len(rows) != settings.get("items"):
        raise InputError(f'data "{path}" is only partly encoded; run the same `videofusion data encode` to finish it')
    made = Encoding(**settings["made"])
    items = [_item(number, row, shard, made) for number, (shard, row) in enumerate(rows)]
    return Source(root=root, files=items, told="the encoded items' own texts", made=made)


def read_settings(root: Path) -> dict[str, Any] | None:
    """What the folder's `encoded.json` says; None where there is none.

    Raises:
        InputError: a file of another kind, or of another version.
    """
    file = root / SETTINGS
    if not file.is_file():
        return None
    try:
        settings = parse_json(file.read_bytes())
        version = settings["format"]
        Encoding(**settings["made"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f'"{file}" cannot be read as what `videofusion data encode` writes') from error
    if version != FORMAT:
        raise InputError(
            f'"{file}" is of format {version}; this version reads format {FORMAT}, so encode the data again'
        )
    return settings


def shards_of(root: Path) -> list[Path]:
    """The shards of a folder, in order."""
    return sorted(file for file in root.glob("*.safetensors") if not file.name.startswith("."))


def rows_of(shard: Path) -> list[dict[str, Any]]:
    """What a shard says of its items, in order.

    Raises:
        InputError: a damaged file.
    """
    try:
        check_regular(shard)
        with safe_open(shard, "np") as file:
            rows: list[dict[str, Any]] = parse_json(file.metadata()["items"])
        if not isinstance(rows, list):
            raise ValueError("its items are not a list")
        return rows
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'the shard "{shard}" cannot be read ({error}); delete it, and encode the data again'
        ) from error


def _item(number: int, row: Mapping[str, Any], shard: Path, made: Encoding) -> Item:
    """The item of a row; where the row cannot be read one that says so, for the others keep their numbers."""
    try:
        return _read_item(number, row, shard, made)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        return Item(f"{shard.name}, item {number}", Broken(f"what the shard says of it cannot be read: {what}"))


def _read_item(number: int, row: Mapping[str, Any], shard: Path, made: Encoding) -> Item:
    told: Any = {key: text_of(row.get(key)) for key in ("label", "identity", "action", "split")}
    captions = row["captions"]
    if not (isinstance(row["name"], str) and isinstance(captions, list)):
        raise ValueError("its name is not a text, or its captions are not a list")
    if "reason" in row:
        return Item(row["name"], Broken(text_of(row["reason"])), tuple(map(text_of, captions)), **told)
    fps, seconds = (0 if row[key] == 0 else number_in(row[key] or "none") for key in ("fps", "seconds"))
    if fps is None or seconds is None:
        raise ValueError(f"its fps is {str(row['fps'])[:40]}, its seconds are {str(row['seconds'])[:40]}")
    origin = EncodedVideo(shard, number, made.height, made.width, fps, seconds)
    return Item(row["name"], origin, tuple(map(text_of, captions)), **told)
