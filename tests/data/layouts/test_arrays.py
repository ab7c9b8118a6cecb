"""Numpy files of clips."""

from __future__ import annotations

import numpy as np
import pytest

from videofusion.data.folder import VideoFolder
from videofusion.data.layouts.detection import open_source
from videofusion.errors import InputError

GENERATOR = np.random.default_rng(0)


def as_bytes(clip):
    return ((clip + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def test_moving_mnist(tmp_path):
    array = GENERATOR.integers(0, 255, (20, 7, 16, 16), dtype=np.uint8)
    np.save(tmp_path / "mnist_test_seq.npy", array)
    data = VideoFolder(tmp_path / "mnist_test_seq.npy", frames=20, size=16)
    assert data.names == [f"mnist_test_seq.npy[{number}]" for number in range(7)]
    for number in range(7):
        assert (as_bytes(data.sample(number).clip) == array[:, number, :, :, None]).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("last", [True, False])
def test_channels_may_be_third_or_last(tmp_path, channels, last):
    array = GENERATOR.integers(0, 255, (4, 5, 16, 16, channels), dtype=np.uint8)
    np.save(tmp_path / "a.npy", array if last else array.transpose(0, 1, 4, 2, 3))
    data = VideoFolder(tmp_path, frames=5, size=16)
    assert (as_bytes(data.sample(2).clip) == array[2]).all()


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 3, 8, 8)), "holds float64"),
        (np.zeros((8, 8), np.uint8), "has the shape 8x8"),
        (np.zeros((2, 2, 8, 8, 8), np.uint8), "third or the last axis"),
        (np.zeros((2, 2, 3, 8, 3), np.uint8), "third or the last axis"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, said):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=said):
        open_source(tmp_path / "a.npy")


def test_damage_is_a_sentence(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 8, 8), np.uint8))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be read"):
        open_source(tmp_path / "a.npy")
