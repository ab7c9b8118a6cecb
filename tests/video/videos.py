"""Videos whose frames say which one they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

STEP = 10  # grey levels from one frame to the next
CODECS = {".mp4": "libx264", ".mov": "libx264", ".mkv": "libx264", ".webm": "libvpx-vp9", ".avi": "mpeg4"}


def picture(number: int, height: int, width: int) -> np.ndarray:
    """A grey that tells the number on the left, and noise on the right, so that a file has bits to lose."""
    frame = np.random.default_rng(number).integers(0, 255, (height, width, 3), dtype=np.uint8)
    frame[:, : width // 2] = 5 + STEP * number
    return frame


def number_of(frame: np.ndarray) -> int:
    """Which frame this is, after any coding."""
    return round((float(frame[:, : frame.shape[1] * 3 // 8].mean()) - 5) / STEP)


def make_video(
    path: Path,
    count: int = 24,
    *,
    height: int = 48,
    width: int = 64,
    fps: int = 10,
    stamps: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video with a key frame every 8 frames; `stamps` are times in 1/1000 s, for uneven ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames = [picture(number, height, width) for number in range(count)]
    if path.suffix in (".gif", ".webp"):
        first, *rest = (Image.fromarray(frame) for frame in frames)
        first.save(path, save_all=True, append_images=rest, duration=1000 // fps, loop=0)
        return path
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}) as file:
        stream = file.add_stream(CODECS[path.suffix], rate=fps)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.gop_size = 8
        stream.bit_rate = 2_000_000
        stream.options = options or {}
        if stamps is not None:
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for number, frame in enumerate(frames):
            shown = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if stamps is not None:
                shown.pts, shown.time_base = stamps[number], Fraction(1, 1000)
            file.mux(stream.encode(shown))
        file.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def video() -> Callable[..., Path]:
    return make_video


@pytest.fixture(scope="session")
def which() -> Callable[[np.ndarray], int]:
    return number_of
