"""Resizing before a network: exact where nothing is to be done, right in place, size and colour where something is."""

import numpy as np
import pytest
import torch

from videofusion.clip.check import from_uint8
from videofusion.evaluation.protocols import RESIZES
from videofusion.evaluation.resize import squared

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("how", RESIZES)
def test_a_frame_of_the_right_size_stays_as_it_is(how):
    frame = RANDOM.integers(0, 256, (16, 16, 3), np.uint8)
    assert torch.equal(squared(frame, 16, how), from_uint8(torch.from_numpy(frame)))


@pytest.mark.parametrize("how", RESIZES)
@pytest.mark.parametrize("shape", [(33, 47), (47, 33), (40, 40)])
def test_the_middle_is_cut_out_of_any_shape(how, shape):
    frame = np.zeros((*shape, 3), np.uint8)
    frame[..., 0] = 255  # red, with a green middle
    frame[shape[0] // 2 - 8 : shape[0] // 2 + 8, shape[1] // 2 - 8 : shape[1] // 2 + 8] = (0, 255, 0)
    found = squared(frame, 16, how)
    assert found.shape == (3, 16, 16)
    assert found.aminmax()[0] >= -1
    assert found.aminmax()[1] <= 1
    torch.testing.assert_close(found[:, 8, 8], torch.tensor([-1.0, 1.0, -1.0]), atol=0.02, rtol=0)
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([1.0, -1.0, -1.0]), atol=0.02, rtol=0)


def test_only_tats_way_lets_fine_stripes_alias():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::4] = 255  # a mean of a quarter; every fourth column alone would be all white or all black
    spread = {how: float(squared(stripes, 16, how).std()) for how in RESIZES}
    mean = {how: float(squared(stripes, 16, how)[:, 2:-2, 2:-2].mean()) for how in RESIZES}
    assert mean["bilinear-antialias"] == pytest.approx(-0.5, abs=0.02)
    assert mean["bicubic-antialias"] == pytest.approx(-0.5, abs=0.02)
    assert abs(mean["bilinear"] + 0.5) > 0.2
    assert spread["bilinear-antialias"] < 0.1
