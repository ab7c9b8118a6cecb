"""Content and motion apart, for a model that keeps them apart by construction and one that does not."""

import pytest
import torch

from videofusion.digits.judge import Judge
from videofusion.digits.motion_report import (
    Protocol,
    digits_motion,
    form_threshold,
    other_course,
    same_digit,
    same_form,
)
from videofusion.digits.moving_digits import evaluation_prompts, render
from videofusion.errors import InputError
from videofusion.evaluation.making import Sampling


def test_a_model_with_content_and_motion_apart(perfect):
    plan = Protocol(pairs=24, prompts=6, knob=(0.0, 0.25, 0.5, 1.0), real=60)
    found = digits_motion(perfect, plan, Sampling())
    rates = found.record["rates"]
    assert rates["keeps digit, form and colour"]["value"] > 0.8
    assert found.record["other_course_over_random_pairs"] > 0.7
    assert found.record["form_threshold_right_on_real_pairs"]["value"] > 0.85
    assert found.record["knob"]["spearman_per_prompt"] > 0.95
    distances = found.record["knob"]["mean_displacement"]
    assert distances == sorted(distances)
    strength = found.record["knob"]["strength"]  # at 0 this model stands still
    assert strength["left"] == pytest.approx(strength["lowest"] / strength["highest"])
    assert strength["left"] < 0.05
    assert strength["highest"] == pytest.approx(found.record["knob"]["mean_displacement_of_real"], rel=0.5)
    assert "displacement left at motion 0, of that at 1" in found.table
    assert len(found.pairs) == len(found.pair_captions) == 12
    assert "| keeps digit, form and colour" in found.table


def test_a_model_without_motion_of_its_own_has_one_course(perfect):
    """Same content seed and a motion seed that is not listened to."""

    def deaf(prompts, *, motion_seed=None, **rest):
        return perfect(prompts, **rest)

    deaf.config = perfect.config
    found = digits_motion(deaf, Protocol(pairs=12, prompts=0, real=20), Sampling())
    assert found.record["rates"]["other course"]["value"] == 0
    assert found.record["rates"]["keeps digit, form and colour"]["value"] == 1
    assert found.knob is None


def test_a_clip_is_like_itself_and_unlike_another():
    judge = Judge.load()
    a = judge.look(render(evaluation_prompts(20, held_out=False, seed=1), 16, 32))
    b = judge.look(render(evaluation_prompts(20, held_out=False, seed=2), 16, 32))
    assert same_form(a, a).min() > 0.8
    assert same_form(a, b).mean() < 0.7
    assert same_digit(a, a).float().mean() > 0.9
    assert not other_course(a, a).any()
    threshold, right = form_threshold(judge, 16, 80, 0)
    assert 0.5 < threshold < 1
    assert right.value > 0.85


def test_a_digit_that_changes_from_frame_to_frame_is_not_kept():
    judge = Judge.load()
    clips = render(evaluation_prompts(48, held_out=False, seed=3), 16, 32)
    # Frame i of clip j is that of clip j + i: every frame is a good one, of another digit.
    restless = torch.stack([clips.roll(-i, 0)[:, i] for i in range(16)], 1)
    a, b = judge.look(restless), judge.look(restless.roll(1, 0))
    threshold, _ = form_threshold(judge, 16, 60, 0)
    assert same_digit(a, b).float().mean() < 0.1
    assert (same_form(a, b) > threshold).float().mean() < 0.1


def test_a_knob_that_does_nothing_leaves_all_of_the_motion(perfect):
    def deaf(prompts, *, motion=None, **rest):
        return perfect(prompts, **rest)

    deaf.config = perfect.config
    found = digits_motion(deaf, Protocol(pairs=2, prompts=4, real=20), Sampling()).record["knob"]
    assert found["strength"]["left"] == 1
    assert found["spearman_per_prompt"] == 0


@pytest.mark.parametrize(
    "wrong", [{"pairs": 1}, {"real": 3}, {"knob": (0.0, 1.0)}, {"knob": (1.0, 0.5, 0.0)}, {"grounds": "sand"}]
)
def test_protocols_that_measure_nothing_are_refused(wrong):
    with pytest.raises(InputError):
        Protocol(**wrong)
