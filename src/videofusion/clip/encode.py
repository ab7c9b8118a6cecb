"""Writing a clip as MP4, GIF, WebP or a PNG sheet, by the name's ending."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from videofusion.clip.check import check_clip, to_uint8
from videofusion.clip.output import check_output, write_whole
from videofusion.clip.provenance import EXIF_DESCRIPTION, provenance_text
from videofusion.clip.sheet import folded_sheet, png_bytes
from videofusion.errors import InputError, RunError

_Frames = NDArray[np.uint8]  # t h w 3

# H.264 quality: 12 shows no loss at 32x32, and such clips are small anyway.
_CRF = 12
# The code for BT.709 in all three of H.264's colour fields.
_BT709 = 1


def write_clip(
    clip: Tensor,
    path: str | Path,
    fps: float | int = 8,
    provenance: Mapping[str, Any] | None = None,
    *,
    scale: int = 1,
) -> None:
    """Write one clip; the file is there whole or not at all.

    MP4 is H.264 in yuv420p, which plays everywhere and keeps colour at half the resolution:
    a `scale` of 2 or more keeps all of a small clip's. It needs even sizes: an odd one gets
    its last row or column twice. GIF has 256 colours a frame, WebP is lossless, PNG is a
    sheet of the frames in reading order.

    Args:
        clip: `t c h w`, values in [-1, 1].
        path: ends in .mp4, .gif, .webp or .png; its folder is made if missing.
        fps: frames per second, above 0 and at most 240.
        provenance: what is known about the making (model, prompt, seed); goes into the file
            with a statement that the clip is machine-made. None for real clips.
        scale: whole number of pixels that each pixel becomes in both directions.

    Raises:
        InputError: no clip, an unknown ending, a folder that cannot be written to.
        RunError: the disk is full, or the encoder fails.
    """
    check_clip(clip)
    path = check_output(path, name="path")
    if not 0 < fps <= 240:
        raise InputError(f"fps is {fps}; allowed are values above 0 and up to 240")
    if scale < 1:
        raise InputError(f"scale is {scale}; allowed are whole numbers from 1")
    note = None if provenance is None else provenance_text(provenance)
    if path.suffix.lower() == ".png":
        data = png_bytes(folded_sheet(clip, scale=scale), note)
    else:
        frames = to_uint8(clip).numpy().repeat(scale, axis=1).repeat(scale, axis=2)
        data = {".mp4": _mp4, ".gif": _gif, ".webp": _webp}[path.suffix.lower()](frames, fps, note)
    write_whole(path, data)


def watchable_scale(height: int, width: int) -> int:
    """Return the `scale` that brings the shorter side of a small clip to 256 pixels or just below."""
    return max(1, 256 // min(height, width))


def _mp4(frames: _Frames, fps: float | int, note: str | None) -> bytes:
    height, width = frames.shape[1:3]
    frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    file = io.BytesIO()
    # Room for the index in front of the pictures, so that a browser plays while it loads.
    room = 4096 + 64 * len(frames) + 2 * len(note or "")
    try:
        with av.open(file, "w", format="mp4", options={"moov_size": str(room)}) as container:
            if note is not None:
                container.metadata["comment"] = note
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": str(_CRF), "preset": "slow"}
            codec = stream.codec_context
            codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
            codec.color_range = ColorRange.MPEG
            for picture in frames:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(
                    format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except av.FFmpegError as error:
        raise RunError(f"the clip of {len(frames)} frames of {width}x{height} could not be encoded: {error}") from error
    return file.getvalue()


def _gif(frames: _Frames, fps: float | int, note: str | None) -> bytes:
    first, *rest = (Image.fromarray(frame) for frame in frames)
    file = io.BytesIO()
    comment = {} if note is None else {"comment": note.encode()}
    durations = _durations(len(frames), fps, unit=10)  # a GIF counts hundredths of a second
    first.save(file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, **comment)
    return file.getvalue()


def _webp(frames: _Frames, fps: float | int, note: str | None) -> bytes:
    first, *rest = (Image.fromarray(frame) for frame in frames)
    file = io.BytesIO()
    exif = Image.Exif()
    if note is not None:
        exif[EXIF_DESCRIPTION] = note
    durations = _durations(len(frames), fps, unit=1)
    first.save(
        file, "WEBP", save_all=True, append_images=rest, duration=durations, loop=0, lossless=True, exif=exif.tobytes()
    )
    return file.getvalue()


def _durations(count: int, fps: float | int, unit: int) -> list[int]:
    """Milliseconds per frame in whole units, rounded so that the clip as a whole keeps its pace."""
    ends = [unit * math.floor(1000 * number / (fps * unit) + 0.5) for number in range(count + 1)]
    return [max(unit, end - start) for start, end in itertools.pairwise(ends)]
