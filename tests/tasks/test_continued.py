"""A video that goes on is never in memory, and what was made of it is kept."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import CAPTIONS, SIZE, videofusion

from videofusion.cli import main
from videofusion.clip import read_clip, read_provenance
from videofusion.errors import InputError, RunError
from videofusion.generation.continuing import continued
from videofusion.tasks import check_windows, extend
from videofusion.video.decode import open_video

HIGH, WIDE = 360, 640


@dataclass
class Long:
    """Frames of a size that would fill the memory, made when they are asked for."""

    count: int
    height: int = HIGH
    width: int = WIDE
    fps: float = 10.0

    @property
    def times(self) -> NDArray[np.float64]:
        return np.arange(self.count) / self.fps

    @property
    def seconds(self) -> float:
        return self.count / self.fps

    def __len__(self) -> int:
        return self.count

    def decode(self, numbers: Sequence[int], cover: tuple[int, int] | None = None) -> Iterator[NDArray[np.uint8]]:
        for number in numbers:
            yield np.full((self.height, self.width, 3), 40 + number % 160, np.uint8)


def go_on(pipe: Any, footage: Long, files: list[Path], more: int, **options: Any) -> None:
    frames = len(footage) + more
    overlap = check_windows(pipe, len(footage), frames)
    told = {"prompt": CAPTIONS[0], "seed": 3}
    size = (SIZE, SIZE)
    continued(
        pipe,
        footage,
        told,
        files,
        frames=frames,
        overlap=overlap,
        size=size,
        fps=10.0,
        scale=2,
        seed=3,
        steps=2,
        **options,
    )


def test_a_long_video_is_not_held(tmp_path: Path) -> None:
    pipe, out = videofusion("image-first").pipeline(), tmp_path / "long.mp4"
    go_on(pipe, Long(20), [tmp_path / "warm.mp4"], 2)
    tracemalloc.start()
    go_on(pipe, Long(200), [out], 5)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < 40 * HIGH * WIDE * 3  # of 200 frames
    made = read_clip(out, size=(SIZE, SIZE))
    assert len(made) == 205
    shown = (made[:200].mean((1, 2, 3)) * 127.5 + 127.5).numpy()
    assert np.abs(shown - (40 + np.arange(200) % 160)).max() < 1.5
    told = read_provenance(out)
    assert told is not None
    assert told["seed"] == 3


def test_it_is_what_extend_makes(tmp_path: Path) -> None:
    pipe, footage = videofusion("image-first").pipeline(), Long(9, SIZE, SIZE)
    go_on(pipe, footage, [tmp_path / "a.webp", tmp_path / "a.png"], 7)
    clip = torch.from_numpy(np.stack(list(footage.decode(range(9))))).movedim(-1, 1).float() / 127.5 - 1
    made = extend(pipe, clip, CAPTIONS[0], frames=16, seed=3, steps=2)
    back = read_clip(tmp_path / "a.webp", size=(SIZE, SIZE))
    assert (back - made).abs().max() <= 1.01 / 127.5
    assert (tmp_path / "a.png").is_file()


def test_what_was_made_before_a_failure_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = videofusion("image-first").pipeline()
    began: list[int] = []

    def fail(number: int, windows: int) -> None:
        began.append(number)
        if number == 2:
            raise RuntimeError("CUDA out of memory\nmore of it")

    out = tmp_path / "long.mp4"
    with pytest.raises(RunError, match=r"CUDA out of memory; the 13 frames before it are kept in .*partial"):
        go_on(pipe, Long(9), [out], 8, on_window=fail)
    assert not out.exists()
    assert len(open_video(tmp_path / "long.partial.mp4")) == 13


def test_nothing_is_begun_where_nothing_can_be_made(tmp_path: Path) -> None:
    pipe = videofusion("image-first").pipeline()
    with pytest.raises(InputError, match="sampler"):
        continued(
            pipe,
            Long(9),
            {"prompt": "a"},
            [tmp_path / "a.mp4"],
            frames=12,
            overlap=3,
            size=(SIZE, SIZE),
            fps=10,
            scale=1,
            sampler="none",
        )
    with pytest.raises(InputError, match="a sheet holds at most"):
        go_on(pipe, Long(10**8), [tmp_path / "a.png"], 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["digits", "colours"])
def test_six_rounds_of_extend_leave_the_given_frames_as_they_are(kind: str, tmp_path: Path) -> None:
    from videofusion.clip import write_clip

    path = tmp_path / "0.mp4"
    few = ["--steps", "2", "--prompt", "a red three moving left"]
    if kind == "digits":
        assert main(["generate", "a red three moving left", "-o", str(path), "--seed", "5", "--steps", "4"]) == 0
    else:
        draw = torch.Generator().manual_seed(0)
        clip = torch.nn.functional.interpolate(
            torch.rand(16, 3, 6, 6, generator=draw) * 2 - 1, (32, 32), mode="bicubic"
        )
        write_clip(clip.clamp(-1, 1), path, scale=8)
    first = read_clip(path, size=(32, 32))
    for number in range(6):
        after = tmp_path / f"{number + 1}.mp4"
        frames = str(17 + number)
        assert main(["extend", str(path), "-o", str(after), "--frames", frames, *few]) == 0
        path = after
    moved = (read_clip(path, size=(32, 32))[:16] - first) * 127.5
    assert moved.mean((0, 2, 3)).abs().max() <= 0.5
    assert moved.abs().mean() <= 1
