"""Ways to spoil clips: what all of them have in common, and what each leaves alone."""

import pytest
import torch
from torch import Generator

from tools.distortions import ALL_DISTORTIONS
from videofusion.digits.moving_digits import evaluation_prompts, render


@pytest.fixture(scope="module")
def clips():
    return render(evaluation_prompts(6, held_out=False, seed=5), 16, 32)


@pytest.mark.parametrize("name", ALL_DISTORTIONS)
def test_nothing_at_strength_zero_and_more_with_more(clips, name):
    spoil = ALL_DISTORTIONS[name]
    away = [float((spoil(clips, s, Generator().manual_seed(0)) - clips).square().mean()) for s in (0.0, 0.4, 1.0)]
    assert away[0] == pytest.approx(0, abs=1e-10)
    assert away[0] < away[1] < away[2]


@pytest.mark.parametrize("name", ALL_DISTORTIONS)
def test_shape_range_and_repeatability(clips, name):
    spoil = ALL_DISTORTIONS[name]
    spoiled = spoil(clips, 0.7, Generator().manual_seed(1))
    assert spoiled.shape == clips.shape
    assert spoiled.abs().max() <= 1 + 1e-6
    assert torch.equal(spoiled, spoil(clips, 0.7, Generator().manual_seed(1)))


def test_shuffling_keeps_the_frames(clips):
    shuffled = ALL_DISTORTIONS["shuffle"](clips, 1.0, Generator().manual_seed(2))
    ordered = clips.flatten(2).sum(-1).sort(1).values
    assert torch.allclose(shuffled.flatten(2).sum(-1).sort(1).values, ordered)
    # Each frame has left its place.
    assert (shuffled - clips).flatten(2).abs().amax(-1).min() > 0


def test_freezing_keeps_the_beginning(clips):
    frozen = ALL_DISTORTIONS["freeze"](clips, 0.5, Generator())
    assert torch.equal(frozen[:, :8], clips[:, :8])
    assert (frozen[:, 8:] == frozen[:, 8:9]).all()


def test_stuttering_shows_earlier_frames_again(clips):
    stuttered = ALL_DISTORTIONS["stutter"](clips, 0.5, Generator().manual_seed(3))
    again = (stuttered[:, 1:] == stuttered[:, :-1]).flatten(2).all(-1)
    assert again.sum(1).tolist() == [8] * len(clips)  # half of the 15 frames that have one before them, rounded
    assert torch.equal(stuttered[:, 1:][~again], clips[:, 1:][~again])


def test_a_still_warp_is_one_for_all_frames_of_a_clip(clips):
    still = clips[:, :1].expand(-1, 16, -1, -1, -1)
    bent, trembling = (ALL_DISTORTIONS[name](still, 0.7, Generator().manual_seed(4)) for name in ("still warp", "warp"))
    assert torch.equal(bent, bent[:, :1].expand_as(bent))
    assert (trembling[:, 1:] - trembling[:, :1]).flatten(2).abs().amax(-1).min() > 0.1


def test_blocks_keep_what_is_even_and_take_any_size():
    even = torch.full((1, 2, 3, 12, 20), 0.5)
    spoil = ALL_DISTORTIONS["blocks"]
    # The mean of a block of 8x8 is its first coefficient over 8, and 0.5 * 8 is two steps of 2.
    assert torch.allclose(spoil(even, 1.0, Generator()), even, atol=1e-6)
    ramp = torch.linspace(-0.5, 0.5, 16).expand(1, 2, 3, 16, 16)
    once = spoil(ramp, 1.0, Generator())
    assert (once - ramp).abs().max() > 0.05
    assert torch.allclose(spoil(once, 1.0, Generator()), once, atol=1e-5)  # its coefficients are whole steps already


def test_a_tint_leaves_the_mean_of_grey(clips):
    grey = torch.zeros(4, 2, 3, 8, 8)
    tinted = ALL_DISTORTIONS["colour"](grey, 0.5, Generator().manual_seed(5))
    assert torch.allclose(tinted.mean(2), grey.mean(2), atol=1e-6)
    assert tinted.abs().max() > 0.05
