"""Contact sheets: a row per clip, a column per frame, captions above the rows."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from videofusion.clip.check import check_clip, to_uint8
from videofusion.clip.output import check_output
from videofusion.clip.provenance import provenance_text
from videofusion.errors import InputError
from videofusion.files import write_whole

_Picture = NDArray[np.uint8]  # h w 3

_PAPER, _INK = 255, 20
_GAP = 3  # pixels between frames
_FONT_SIZE = 14
_SMALLEST_FRAME = 64  # frames below this are magnified


def contact_sheet(
    clips: Tensor, captions: Sequence[str] | None = None, *, columns: int = 8, scale: int | None = None
) -> _Picture:
    """Lay clips out as a picture, a row for each.

    Args:
        clips: `b t c h w`, values in [-1, 1].
        captions: b texts to stand above the rows.
        columns: the most frames to show of a clip; of a longer one evenly spaced ones, the
            first and the last among them.
        scale: whole number of pixels that each pixel becomes; by itself, what brings a
            frame to 64 pixels.

    Returns:
        uint8 `h w 3`.

    Raises:
        InputError: no clips, another number of captions, a number below 1.
    """
    check_clip(clips, name="clips", axes="b t c h w")
    if captions is not None and len(captions) != len(clips):
        raise InputError(f"captions are {len(captions)} for {len(clips)} clips; there must be one for each clip")
    if columns < 1:
        raise InputError(f"columns is {columns}; it must be a whole number of at least 1")
    numbers = np.linspace(0, clips.shape[1] - 1, min(columns, clips.shape[1])).round().astype(int)
    return _grid(to_uint8(clips[:, numbers.tolist()]).numpy(), captions, scale)


def folded_sheet(clip: Tensor, *, scale: int | None = None) -> _Picture:
    """Lay out every frame of one clip `t c h w` in reading order, up to 8 to a row."""
    frames = to_uint8(check_clip(clip)).numpy()
    columns = min(len(frames), 8)
    blank = np.full((-len(frames) % columns, *frames.shape[1:]), _PAPER, np.uint8)
    rows = rearrange(np.concatenate([frames, blank]), "(row column) h w c -> row column h w c", column=columns)
    return _grid(rows, None, scale)


def save_sheet(
    clips: Tensor,
    path: str | Path,
    captions: Sequence[str] | None = None,
    *,
    columns: int = 8,
    scale: int | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Write `contact_sheet` as a PNG, whole or not at all.

    Args:
        clips: `b t c h w`, values in [-1, 1].
        path: ends in .png; its folder is made if missing.
        captions: see `contact_sheet`.
        columns: see `contact_sheet`.
        scale: see `contact_sheet`.
        provenance: see `write_clip`.

    Raises:
        InputError: see `contact_sheet`; or a path that cannot be written.
        RunError: the disk is full.
    """
    check_output(path, endings=(".png",), name="path")
    note = None if provenance is None else provenance_text(provenance)
    write_whole(path, png_bytes(contact_sheet(clips, captions, columns=columns, scale=scale), note))


def png_bytes(picture: _Picture, note: str | None) -> bytes:
    """Encode a picture `h w 3`, with a text about its origin."""
    texts = PngInfo()
    if note is not None:
        texts.add_text("Description", note)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", pnginfo=texts, optimize=True)
    return file.getvalue()


def _grid(rows: NDArray[np.uint8], captions: Sequence[str] | None, scale: int | None) -> _Picture:
    """Draw frames `row column h w 3` on paper."""
    if scale is None:
        scale = max(1, -(-_SMALLEST_FRAME // min(rows.shape[2:4])))
    elif scale < 1:
        raise InputError(f"scale is {scale}; it must be a whole number of at least 1")
    rows = rows.repeat(scale, axis=2).repeat(scale, axis=3)
    _, columns, height, width, _ = rows.shape
    total_width = columns * (width + _GAP) + _GAP
    font = ImageFont.load_default(_FONT_SIZE)
    strips = []
    for number, row in enumerate(rows):
        if captions is not None:
            strips.append(_label(captions[number], total_width, font))
        strip = np.full((height + _GAP, total_width, 3), _PAPER, np.uint8)
        for column, frame in enumerate(row):
            left = _GAP + column * (width + _GAP)
            strip[:height, left : left + width] = frame
        strips.append(strip)
    return np.concatenate([np.full((_GAP, total_width, 3), _PAPER, np.uint8), *strips])


def _label(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> _Picture:
    """Draw a text, broken into lines that fit the width."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width - 2 * _GAP:
            lines.append(word)
        else:
            lines[-1] = longer
    line_height = _FONT_SIZE + 4
    image = Image.new("RGB", (width, line_height * len(lines) + _GAP), (_PAPER,) * 3)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((_GAP, number * line_height), line, fill=(_INK,) * 3, font=font)
    return np.array(image)
