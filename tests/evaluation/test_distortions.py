"""Ways to spoil clips: what all of them have in common, and what each leaves alone."""

import pytest
import torch
from torch import Generator

from videofusion.data.moving_digits import evaluation_prompts, render
from videofusion.evaluation.distortions import DISTORTIONS


@pytest.fixture(scope="module")
def clips():
    return render(evaluation_prompts(6, held_out=False, seed=5), 16, 32)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_nothing_at_strength_zero_and_more_with_more(clips, name):
    spoil = DISTORTIONS[name]
    away = [float((spoil(clips, s, Generator().manual_seed(0)) - clips).square().mean()) for s in (0.0, 0.4, 1.0)]
    assert away[0] == pytest.approx(0, abs=1e-10)
    assert away[0] < away[1] < away[2]


@pytest.mark.parametrize("name", DISTORTIONS)
def test_shape_range_and_repeatability(clips, name):
    spoil = DISTORTIONS[name]
    spoiled = spoil(clips, 0.7, Generator().manual_seed(1))
    assert spoiled.shape == clips.shape
    assert spoiled.abs().max() <= 1 + 1e-6
    assert torch.equal(spoiled, spoil(clips, 0.7, Generator().manual_seed(1)))


def test_shuffling_keeps_the_frames(clips):
    shuffled = DISTORTIONS["shuffle"](clips, 1.0, Generator().manual_seed(2))
    ordered = clips.flatten(2).sum(-1).sort(1).values
    assert torch.allclose(shuffled.flatten(2).sum(-1).sort(1).values, ordered)
    # Each frame has left its place.
    assert (shuffled - clips).flatten(2).abs().amax(-1).min() > 0


def test_freezing_keeps_the_beginning(clips):
    frozen = DISTORTIONS["freeze"](clips, 0.5, Generator())
    assert torch.equal(frozen[:, :8], clips[:, :8])
    assert (frozen[:, 8:] == frozen[:, 8:9]).all()
