"""Writing a clip as MP4, GIF, WebP or a PNG sheet, by the name's ending."""

from __future__ import annotations

import io
import itertools
import math
import shutil
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray
from torch import Tensor

from videofusion.clip.animated import write_gif, write_webp
from videofusion.clip.check import check_clip, to_uint8
from videofusion.clip.output import check_output
from videofusion.clip.provenance import provenance_text
from videofusion.clip.sheet import folded_sheet, png_bytes
from videofusion.errors import InputError, RunError
from videofusion.files import whole_file, write_whole

_Frame = NDArray[np.uint8]  # h w 3
# Endings of what can be written frame by frame.
STREAMED = (".mp4", ".gif", ".webp")
# Else swscale rounds with a bias and mixes colours of pixels that do not share a sample: both show where a clip is read
# and written again and again.
_EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND

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
    _check_fps(fps)
    if scale < 1:
        raise InputError(f"scale is {scale}; it must be a whole number of at least 1")
    if path.suffix.lower() == ".png":
        note = None if provenance is None else provenance_text(provenance)
        data = png_bytes(folded_sheet(clip, scale=scale), note)
    else:
        file = io.BytesIO()
        _encode(file, path.suffix.lower(), _enlarged(to_uint8(clip).numpy(), scale), len(clip), fps, provenance)
        data = file.getvalue()
    write_whole(path, data)


def write_frames(
    frames: Iterable[_Frame],
    path: str | Path,
    fps: float | int,
    provenance: Mapping[str, Any] | None = None,
    *,
    count: int,
    scale: int = 1,
    given: int = 0,
) -> None:
    """Write frames as they come, as `write_clip` does; none is held, so that a video may be of any length.

    The file is there whole or not at all. Where the frames end in an error, those that came up to then are kept beside
    it: `long.mp4` as `long.partial.mp4`.

    Args:
        frames: h w 3, all of one size.
        path: ends in .mp4, .gif or .webp; its folder is made if missing.
        fps: as for `write_clip`.
        provenance: as for `write_clip`.
        count: of the frames, as far as it is known.
        scale: as for `write_clip`.
        given: of the frames, those at the begin that are nothing to be kept on their own.

    Raises:
        InputError: another ending, a folder that cannot be written to, or another rate.
        RunError: the disk is full, the encoder fails, or the frames do once more than `given` came.
    """
    path = check_output(path, endings=STREAMED, name="path")
    _check_fps(fps)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    failed: list[BaseException] = []

    def until_it_fails() -> Iterator[_Frame]:
        try:
            yield from frames
        except BaseException as error:  # an interruption, too: the file is closed in order first
            failed.append(error)

    came = _Counted(until_it_fails())
    with whole_file(path) as file:
        _encode(file, path.suffix.lower(), _enlarged(came, scale), count, fps, provenance)
        if failed and came.count > given:
            file.flush()
            shutil.copyfile(file.name, partial)
            if isinstance(failed[0], Exception):
                first = (str(failed[0]).strip().splitlines() or [type(failed[0]).__name__])[0]
                raise RunError(f"{first}; the {came.count} frames before it are kept in {partial}") from failed[0]
        if failed:
            raise failed[0]


def _check_fps(fps: float | int) -> None:
    if not 0 < fps <= 240:
        raise InputError(f"fps is {fps}; it must be above 0 and at most 240")


class _Counted:
    """Frames, and how many have come."""

    def __init__(self, frames: Iterable[_Frame]) -> None:
        self.frames, self.count = frames, 0

    def __iter__(self) -> Iterator[_Frame]:
        for frame in self.frames:
            self.count += 1
            yield frame


def _enlarged(frames: Iterable[_Frame], scale: int) -> Iterator[_Frame]:
    return (frame.repeat(scale, axis=0).repeat(scale, axis=1) for frame in frames)


def watchable_scale(height: int, width: int) -> int:
    """Return the `scale` that brings the shorter side of a small clip to 256 pixels or just below."""
    return max(1, 256 // min(height, width))


def _encode(
    file: BufferedIOBase,
    kind: str,
    frames: Iterable[_Frame],
    count: int,
    fps: float | int,
    provenance: Mapping[str, Any] | None,
) -> None:
    """Write frames as they come, at their size."""
    note = None if provenance is None else provenance_text(provenance)
    if kind == ".mp4":
        _mp4(file, frames, count, fps, note)
    elif kind == ".gif":
        write_gif(file, zip(frames, _durations(count, fps, unit=10), strict=False), note)  # it counts in hundredths
    else:
        write_webp(file, zip(frames, _durations(count, fps, unit=1), strict=False), note)


def _mp4(file: BufferedIOBase, frames: Iterable[_Frame], count: int, fps: float | int, note: str | None) -> None:
    # Room for the index in front of the pictures, so that a browser plays while it loads.
    room = 4096 + 64 * count + 2 * len(note or "")
    shown = ""
    try:
        with av.open(file, "w", format="mp4", options={"moov_size": str(room)}) as container:
            if note is not None:
                container.metadata["comment"] = note
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
            stream.pix_fmt = "yuv420p"
            # A sample of colour is the mean of 2x2 pixels; told nothing, readers take it for one of the left two.
            stream.options = {"crf": str(_CRF), "preset": "slow", "chroma_sample_location": "center"}
            codec = stream.codec_context
            codec.colorspace = codec.color_primaries = codec.color_trc = _BT709
            codec.color_range = ColorRange.MPEG
            converter = VideoReformatter()
            for picture in frames:
                height, width = picture.shape[:2]
                even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                if not shown:
                    stream.height, stream.width = even.shape[:2]
                    shown = f"{width}x{height}"
                frame = converter.reformat(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24"),
                    format="yuv420p",
                    dst_colorspace=Colorspace.ITU709,
                    dst_color_range=ColorRange.MPEG,
                    interpolation=_EXACT,
                )
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    except av.FFmpegError as error:
        raise RunError(f"the clip of {count} frames of {shown} could not be encoded: {error}") from error


def _durations(count: int, fps: float | int, unit: int) -> list[int]:
    """Milliseconds per frame in whole units, rounded so that the clip as a whole keeps its pace."""
    ends = [unit * math.floor(1000 * number / (fps * unit) + 0.5) for number in range(count + 1)]
    return [max(unit, end - start) for start, end in itertools.pairwise(ends)]
