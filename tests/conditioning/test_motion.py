"""Laws of lambda from data, and of the knob that chooses it."""

from __future__ import annotations

import pytest
import torch

from videofusion.conditioning.motion import MOST_SHARE, measured_share, share_at, share_profiles
from videofusion.errors import InputError


def clip(frames: int = 5, clips: int = 3) -> torch.Tensor:
    return torch.randn(clips, frames, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("frames", [2, 5, 16])
def test_a_still_clip_shares_the_most(frames):
    still = clip(1).expand(-1, frames, -1, -1, -1)
    expected = torch.full((3, frames), MOST_SHARE**2)
    expected[:, frames // 2] = 1
    torch.testing.assert_close(measured_share(still), expected)


def test_unrelated_and_opposite_frames_share_nothing():
    share = measured_share(clip())
    assert share[:, 2].tolist() == [1, 1, 1]
    share[:, 2] = 0
    assert share.max() < 0.02
    opposite = clip(1).expand(-1, 5, -1, -1, -1) * torch.tensor([-1.0, 1, 1, 1, 1]).reshape(5, 1, 1, 1)
    assert measured_share(opposite)[:, 0].tolist() == [0, 0, 0]


def test_brightness_and_contrast_do_not_count():
    frames = clip()
    frames[:, 1:4] += frames[:, 2:3]  # related
    changed = 0.3 * frames + torch.linspace(-1, 1, 5).reshape(5, 1, 1, 1)
    torch.testing.assert_close(measured_share(changed), measured_share(frames), atol=1e-5, rtol=1e-4)


def test_a_known_correlation():
    base, own = clip(1, 1), clip(1, 2)[1:]
    pair = torch.cat([0.6 * base + 0.8 * own, base], dim=1)
    assert float(measured_share(pair)[0, 0]) == pytest.approx(0.36, abs=0.06)


def test_a_flat_frame_is_related_to_nothing():
    frames = clip()
    frames[:, 0] = -1
    assert measured_share(frames)[:, 0].tolist() == [0, 0, 0]


def profiles() -> list[list[float]]:
    share = torch.rand(40, 7, generator=torch.Generator().manual_seed(0)) * 0.9
    share[:, 3] = 1
    return share_profiles(share)


def test_profiles_are_quantiles_over_the_distance():
    share = torch.tensor([[0.1, 0.2, 1.0, 0.4], [0.3, 0.6, 1.0, 0.8]])
    table = torch.tensor(share_profiles(share, quantiles=3))
    expected = [[1.0, 0.2, 0.1], [1.0, 0.5, 0.2], [1.0, 0.8, 0.3]]  # distances 0, 1 and 2 to the base frame
    torch.testing.assert_close(table, torch.tensor(expected))


@pytest.mark.parametrize("frames", [2, 5, 7, 16])
def test_more_motion_is_less_share_everywhere(frames):
    curves = torch.stack([share_at(profiles(), motion, frames) for motion in torch.linspace(0, 1, 23).tolist()])
    assert curves.shape == (23, frames)
    assert (curves.diff(dim=0) <= 1e-6).all()
    others = torch.arange(frames) != frames // 2
    assert (curves[0] - curves[-1])[others].min() > 0.1
    assert (curves[:, frames // 2] == 1).all()


def test_the_knob_reaches_all_that_was_seen():
    table = torch.tensor(profiles())
    assert share_at(profiles(), 1.0, 7)[3:].tolist() == pytest.approx(table[0].tolist())  # the freest
    assert share_at(profiles(), 0.0, 7)[3:6].tolist() == pytest.approx(table[-1, :3].tolist())
    half = share_at(profiles(), 0.5, 7)
    assert half[3:6].tolist() == pytest.approx(table[5, :3].tolist())
    assert torch.equal(half[1:3].flip(0), half[4:6])


@pytest.mark.parametrize("motion", [-0.01, 1.01, float("nan"), float("inf")])
def test_a_knob_out_of_range_is_refused(motion):
    with pytest.raises(InputError, match=r"motion is .*; it must lie in \[0, 1\], 0 for still and 1 for free"):
        share_at(profiles(), motion, 7)
