"""Small videos whose contents are known to the frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image


def scene(number: int, frames: int, *, moves: float = 0.0, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """A scene of soft spots in colours of its own; `moves` are pixels a frame to the right."""
    draw = np.random.default_rng(number)
    spots = draw.uniform(-70, 70, (height // 8, width // 2, 3)) + draw.uniform(80, 170, 3)
    image = Image.fromarray(spots.clip(0, 255).astype(np.uint8))
    picture = np.array(image.resize((4 * width, height), Image.Resampling.BICUBIC))
    return [np.roll(picture, round(moves * frame), axis=1)[:, :width] for frame in range(frames)]


def write(path: Path, frames: Iterable[np.ndarray], fps: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = None
        for frame in frames:
            if stream is None:
                stream = file.add_stream("libx264", rate=fps)
                stream.height, stream.width, stream.pix_fmt = *frame.shape[:2], "yuv420p"
                stream.options = {"crf": "10", "preset": "ultrafast"}
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        file.mux(stream.encode(None))
    return path


@pytest.fixture(scope="session")
def make_scene() -> Callable[..., list[np.ndarray]]:
    return scene


@pytest.fixture(scope="session")
def write_video() -> Callable[..., Path]:
    return write
