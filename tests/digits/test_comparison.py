"""What is measured of clips of moving digits."""

import numpy as np
import pytest
import torch

from tools.distortions import DISTORTIONS
from videofusion.digits.comparison import DigitsMeasure, colour_drift, colour_shift, evaluate, place_kept
from videofusion.digits.judge import Judge
from videofusion.digits.moving_digits import evaluation_prompts, render
from videofusion.errors import InputError
from videofusion.evaluation.making import Sampling


def test_places_are_kept_by_real_clips_and_not_by_jumping_ones():
    clips = render(evaluation_prompts(32, held_out=False, seed=3), 16, 32)
    judge = Judge.load()
    assert place_kept(judge.look(clips)).float().mean() > 0.95
    shuffled = DISTORTIONS["shuffle"](clips, 1.0, torch.Generator().manual_seed(0))
    assert place_kept(judge.look(shuffled)).float().mean() < 0.5


def test_a_perfect_model_is_near_real_clips(perfect):
    found = evaluate(perfect, 128, sampling=Sampling(batch=64), reference=256)
    assert found["rates"]["direction"]["value"] > 0.9
    assert found["place_kept"] > 0.9
    assert found["quality"]["value"] > 0
    floor = DigitsMeasure(128, reference=256).real()
    assert abs(found["quality"]["value"] - floor["quality"]["value"]) < 5 * floor["quality"]["deviation"]
    assert found["colour_shift"]["value"] < 0.05


def test_a_shift_of_the_colour_is_its_length():
    clips = torch.rand(8, 4, 3, 6, 6) - 0.5
    real = clips.mean(dim=(0, 1, 3, 4))
    shift = torch.tensor([0.2, 0.0, -0.1])
    assert colour_shift(clips, real).value == pytest.approx(0, abs=1e-6)
    found = colour_shift(clips + shift[:, None, None], real)
    assert found.value == pytest.approx(float(np.hypot(0.2, 0.1)) / 2, rel=1e-5)  # [-1, 1] is two wide


def test_drift_is_that_of_the_last_frame_from_the_first():
    clips = torch.zeros(4, 5, 3, 6, 6)
    assert colour_drift(clips).value == 0
    clips[:, 2] = 1  # a flash in the middle is none
    assert colour_drift(clips).value == 0
    clips[:2, -1, 0] = 1
    assert colour_drift(clips).value == pytest.approx(0.25)


def test_too_few_clips_are_refused_before_anything_is_made():
    with pytest.raises(InputError, match="clips is 12, but the measure of moving digits needs at least 128"):
        DigitsMeasure(12)
