"""Reading parts of a video, at a rate and a size."""

from __future__ import annotations

import pytest
import torch

from videofusion.clip import read_clip, write_clip
from videofusion.errors import InputError


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    clip = torch.linspace(-0.9, 0.9, 30)[:, None, None, None].expand(30, 3, 32, 48)
    path = tmp_path_factory.mktemp("clip") / "a.mp4"
    write_clip(clip, path, 10)
    return path


def numbers(clip):
    return ((clip.mean((1, 2, 3)) + 0.9) / 1.8 * 29).round().int().tolist()


def test_whole(path):
    clip = read_clip(path)
    assert clip.dtype == torch.float32
    assert clip.shape == (30, 3, 32, 48)
    assert numbers(clip) == list(range(30))


def test_parts(path):
    assert numbers(read_clip(path, start=1.2, frames=4)) == [12, 13, 14, 15]
    assert numbers(read_clip(path, fps=5)) == list(range(0, 30, 2))
    assert numbers(read_clip(path, start=1, fps=20, frames=4)) == [10, 10, 11, 11]
    assert read_clip(path, size=(16, 16), frames=2).shape == (2, 3, 16, 16)


def test_what_cannot_be_read_is_a_sentence_with_the_path(path, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    for bad, settings, named in (
        (tmp_path / "none.mp4", {}, "none.mp4.*no such file"),
        (tmp_path / "text.mp4", {}, "text.mp4.*not a video"),
        (path, {"frames": 31}, "too short: 30 frames"),
        (path, {"start": 5}, "too short"),
        (path, {"frames": 0}, "frames is 0"),
        (path, {"fps": -1}, "fps is -1"),
        (path, {"start": -1}, "start is -1"),
    ):
        with pytest.raises(InputError, match=named):
            read_clip(bad, **settings)
