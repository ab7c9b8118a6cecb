"""PSNR and SSIM where they are known."""

import pytest
import torch

from videofusion.errors import InputError
from videofusion.evaluation.metrics.reconstruction import clip_psnr, psnr, ssim

CLIPS = torch.rand(2, 3, 3, 16, 18, generator=torch.Generator().manual_seed(0)) - 0.5


def test_psnr_of_a_known_error():
    off = torch.tensor([0.1, 0.2, 0.4]).reshape(1, 3, 1, 1, 1)
    found = psnr(CLIPS + off, CLIPS, value_range=(-1, 1))
    expected = 10 * torch.log10(4 / torch.tensor([0.01, 0.04, 0.16]))
    torch.testing.assert_close(found, expected.double().expand(2, 3), rtol=0, atol=1e-4)
    whole = clip_psnr(CLIPS + off, CLIPS, value_range=(-1, 1))
    torch.testing.assert_close(whole, 10 * torch.log10(4 / torch.full((2,), 0.07).double()), rtol=0, atol=1e-4)
    assert (whole < found.mean(dim=1)).all()


def test_values_and_range_scale_together():
    noisy = (CLIPS + 0.3 * torch.randn(CLIPS.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    for measure in (psnr, clip_psnr, ssim):
        torch.testing.assert_close(
            measure(noisy / 2 + 0.5, CLIPS / 2 + 0.5, value_range=(0, 1)), measure(noisy, CLIPS, value_range=(-1, 1)),
            rtol=1e-6, atol=1e-6,
        )  # fmt: skip


def test_a_frame_without_error():
    assert psnr(CLIPS, CLIPS, value_range=(-1, 1)).isposinf().all()
    torch.testing.assert_close(ssim(CLIPS, CLIPS, value_range=(-1, 1)), torch.ones(2, 3).double())


def test_ssim_of_flat_frames_is_that_of_their_brightness():
    a, b, c1 = 0.3, 0.7, 0.01**2  # of values in [0, 1]
    flat = torch.ones(1, 1, 1, 12, 12, dtype=torch.float64)
    expected = (2 * a * b + c1) / (a**2 + b**2 + c1)
    assert ssim(2 * a * flat - 1, 2 * b * flat - 1, value_range=(-1, 1)).item() == pytest.approx(expected)


def test_ssim_of_an_inverted_picture_is_negative_and_frames_are_apart():
    frames = CLIPS.clone()
    frames[:, 1] = -frames[:, 1]
    found = ssim(frames, CLIPS, value_range=(-1, 1))
    assert (found[:, 1] < -0.5).all()  # structure turned round, brightness nearly the same
    torch.testing.assert_close(found[:, [0, 2]], torch.ones(2, 2).double())


@pytest.mark.parametrize("measure", [psnr, clip_psnr, ssim])
def test_bad_input_is_refused(measure):
    with pytest.raises(InputError, match="must be the same"):
        measure(CLIPS, CLIPS[:1], value_range=(-1, 1))
    with pytest.raises(InputError, match="value_range"):
        measure(CLIPS, CLIPS, value_range=(1, -1))
    for wrong in (CLIPS * torch.nan, 2 * CLIPS + 1):
        with pytest.raises(InputError, match="finite and in the value_range"):
            measure(wrong, CLIPS, value_range=(-1, 1))


def test_frames_smaller_than_the_window_are_refused():
    with pytest.raises(InputError, match="10x18"):
        ssim(CLIPS[..., :10, :], CLIPS[..., :10, :], value_range=(-1, 1))
