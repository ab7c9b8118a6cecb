"""Which frames make a clip, and their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from videofusion.video import frames
from videofusion.video.decode import Video
from videofusion.video.footage import Unreadable
from videofusion.video.frames import crop, fit, frames_at, resize, stack_resized, window


def video(count: int, fps: float = 30.0, *, milliseconds: bool = False) -> Video:
    times = np.arange(count) / fps
    times = times.round(3) if milliseconds else times
    return Video(path=Path("a"), codec="none", width=64, height=48, times=times, fps=float(fps))


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_each_start_is_as_likely_and_none_goes_over_the_end(stride):
    places = np.linspace(0, 1, 1000, endpoint=False).tolist()
    windows = [window(video(40), 8, place=place, stride=stride) for place in places]
    assert all(np.array_equal(np.diff(numbers), [stride] * 7) for numbers in windows)
    starts, counts = np.unique([numbers[0] for numbers in windows], return_counts=True)
    assert starts.tolist() == list(range(40 - 7 * stride))
    assert counts.max() - counts.min() <= 1


def test_the_shortest_video_that_is_long_enough():
    assert window(video(15), 8, place=0.9, stride=2).tolist() == list(range(0, 15, 2))
    assert window(video(14), 8, place=0.0, stride=2) is None
    assert window(video(22), 8, place=0.9, fps=10).tolist() == list(range(0, 22, 3))
    assert window(video(21), 8, place=0.0, fps=10) is None


@pytest.mark.parametrize("rate", [24, 29.97, 30, 60])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_rate_that_divides_the_files_takes_every_nth_frame(rate, every):
    """Also where the container has rounded the times to milliseconds."""
    rounded = video(200, rate, milliseconds=True)
    for place in np.linspace(0, 0.999, 57):
        numbers = window(rounded, 16, place=float(place), fps=rate / every)
        assert np.diff(numbers).tolist() == [every] * 15


def test_another_rate_keeps_the_pace():
    numbers = window(video(100, 25), 20, place=0.0, fps=10)
    assert abs(numbers / 25 - np.arange(20) / 10).max() <= 1 / 25
    slow = window(video(20, 5), 20, place=0.0, fps=10)
    assert slow.tolist() == [number // 2 for number in range(20)]


def test_a_frame_is_on_screen_until_the_next():
    uneven = Video(path=Path("a"), codec="none", width=4, height=4, times=np.array([0, 0.1, 1.0, 1.05]), fps=4.0)
    assert frames_at(uneven, np.array([0, 0.05, 0.1, 0.9, 1.0, 1.02, 1.3])).tolist() == [0, 0, 1, 1, 2, 2, 3]


def test_a_frame_of_the_right_size_stays_as_it_is():
    frame = torch.randint(256, (48, 64, 3), dtype=torch.uint8)
    assert torch.equal(fit(frame, (48, 64)), frame)


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (20, 70), (7, 5), (96, 32)])
def test_fitting_covers_without_stretching(size):
    grid = torch.zeros(48, 64, 3, dtype=torch.uint8)
    grid[:, :, 0] = (torch.arange(48) * 5)[:, None]
    grid[:, :, 1] = torch.arange(64) * 3
    fitted = fit(grid, size).float()
    assert fitted.shape == (*size, 3)
    inner = fitted[size[0] // 4 : -(size[0] // 4) or None, size[1] // 4 : -(size[1] // 4) or None]
    scale = max(size[0] / 48, size[1] / 64)
    down = (inner[-1, 0, 0] - inner[0, 0, 0]) / max(1, inner.shape[0] - 1) / 5
    right = (inner[0, -1, 1] - inner[0, 0, 1]) / max(1, inner.shape[1] - 1) / 3
    assert float(down) == pytest.approx(1 / scale, rel=0.15)
    assert float(right) == pytest.approx(1 / scale, rel=0.15)
    # Around the centre, up to half a pixel.
    assert abs(float(fitted[..., 0].mean()) / 5 - 23.5) <= 0.5 / scale + 0.1
    assert abs(float(fitted[..., 1].mean()) / 3 - 31.5) <= 0.5 / scale + 0.1


def test_making_smaller_does_not_alias():
    stripes = torch.zeros(128, 128, 3, dtype=torch.uint8)
    stripes[:, ::2] = 255
    small = resize(stripes, (30, 30)).float()
    assert abs(float(small.mean()) - 127.5) < 2
    assert float(small[:, 2:-2].std()) < 6


@pytest.mark.parametrize("together", [1, 10_000, 4 * 2**20])
def test_frames_of_any_size_are_resized_together_as_each_alone(together, monkeypatch):
    monkeypatch.setattr(frames, "_TOGETHER", together)
    draw = np.random.default_rng(0)
    sizes = [(48, 64)] * 3 + [(60, 52)] + [(48, 64)] * 2 + [(30, 30)] * 2
    pictures = [draw.integers(0, 256, (*size, 3), np.uint8) for size in sizes]
    square = [picture for picture in pictures if picture.shape != (60, 52, 3)]
    for some, size in ((pictures[:3], (20, 24)), (square[:5], (24, 32)), (pictures[6:], (30, 30))):
        alone = torch.stack([resize(torch.from_numpy(picture), size) for picture in some])
        assert torch.equal(stack_resized(iter(some), size), alone)
    with pytest.raises(Unreadable, match="differ in their proportions"):
        stack_resized(pictures, (20, 20))


def test_crops_reach_all_corners():
    frames = torch.arange(6 * 8, dtype=torch.uint8).reshape(1, 6, 8, 1).expand(1, 6, 8, 3)
    assert crop(frames, (2, 2), (0.0, 0.0))[0, 0, 0, 0] == 0
    assert crop(frames, (2, 2), (1.0, 1.0))[0, -1, -1, 0] == 47
    assert crop(frames, (6, 8), (0.3, 0.8)).shape == frames.shape
