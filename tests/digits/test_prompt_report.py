"""The report on moving digits, for models that are known to be right, wrong, dull or copies."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from videofusion.digits.judge import Judge
from videofusion.digits.moving_digits import evaluation_prompts, render
from videofusion.digits.prompt_report import Protocol, digits_report
from videofusion.digits.protocol import QUESTIONS, answers, frames_of, real_clips_of
from videofusion.digits.variety import Nearest, Space
from videofusion.errors import InputError
from videofusion.evaluation.making import Sampling, make
from videofusion.evaluation.metrics.diversity import diversity, mean_pairwise

SMALL = Protocol(count=40, two_digits=10, real=40, prompts=4, samples=4, training_clips=256)


@pytest.fixture(scope="module")
def judge():
    return Judge.load()


def test_a_perfect_model_gets_a_perfect_report(perfect):
    report = digits_report(perfect, SMALL, Sampling(batch=20))
    model = {name: row for name, row in report.record["rates"].items() if name.startswith("model, one digit")}
    assert len(model) == 2
    for row in model.values():
        for question in QUESTIONS:
            assert row[question]["value"] >= 0.85, question
        assert row["digit"]["count"] == 20
    # The fixture draws real clips, but some of its images by chance more often than others.
    assert report.record["diversity"]["value"] > 0.7
    assert json.dumps(report.record)
    assert report.table.count("|") > 50
    assert len(report.captions) == len(report.clips) == 20


@pytest.mark.slow
def test_a_perfect_model_of_digits_over_photographs_too(perfect_over_photos):
    """Judged as if on plain grounds it would not pass: the judge has to know."""
    report = digits_report(perfect_over_photos, replace(SMALL, grounds="photos"), Sampling(batch=20))
    for name, row in report.record["rates"].items():
        if "two digits" not in name:
            for question in QUESTIONS:
                assert row[question]["value"] >= 0.85, (name, question)
    plain = digits_report(perfect_over_photos, SMALL, Sampling(batch=20)).record["rates"]
    assert plain["model, one digit, seen combinations"]["digit"]["value"] < 0.7


def test_the_change_at_the_base_frame_stands_in_record_and_table(perfect):
    def flashing(prompts, **rest):
        clips = perfect(prompts, **rest)
        clips[:, 8] *= 0.7
        return clips

    flashing.config = perfect.config
    for model, most in ((perfect, 1.2), (flashing, None)):
        report = digits_report(model, SMALL, Sampling(batch=20))
        found = report.record["change_at_base_frame"]
        assert found["model"]["clips"] == 40
        assert found["real"]["median"] == pytest.approx(1, abs=0.1)
        assert (found["model"]["median"] < 1.2) == (most is not None)
        assert "change at the base frame" in report.table


def test_one_wrong_answer_does_not_hide_the_others(colour_blind, judge):
    specs = evaluation_prompts(24, held_out=True, seed=2)
    clips = make(colour_blind, [s.caption for s in specs], list(range(24)), Sampling(batch=7))
    found = answers(judge.look(clips), specs)
    assert not any(found["colour"])
    assert not any(found["all three"])
    assert sum(found["digit"]) >= 22
    assert sum(found["direction"]) >= 23


def test_a_missing_second_digit_is_wrong_in_everything(judge):
    specs = evaluation_prompts(16, held_out=False, seed=6, two_digits=True)
    alone = [replace(s, objects=s.objects[:1]) for s in specs]
    found = answers(judge.look(render(alone, 16, 32), 2), specs)
    first, second = (sum(found["digit"][k::2]) for k in (0, 1))
    assert first >= 14
    assert second <= 2


def test_diversity_of_copies_is_none_and_of_real_clips_is_all(judge):
    groups = real_clips_of([(3, "red", "left"), (7, "blue", "up")], 24, 16, seed=1)
    assert all(spec.objects[0].digit == 3 and spec.objects[0].direction == "left" for spec in groups[0])
    found = judge.look(render([s for group in groups for s in group], 16, 32))
    space = Space.of(found)
    real = space.place(found).split(24)
    same = [place[:1].expand(5, -1) for place in real]
    assert diversity(same, real).value == pytest.approx(0, abs=1e-4)
    assert diversity([place[:12] for place in real], [place[12:] for place in real]).value == pytest.approx(1, abs=0.25)


def test_mean_pairwise_of_known_points():
    assert mean_pairwise(torch.tensor([[0.0, 0], [3, 4], [0, 0]])) == pytest.approx(10 / 3)


def test_a_training_clip_is_at_no_distance_from_itself(judge):
    specs = evaluation_prompts(12, held_out=False, seed=8)
    real = render(specs, 16, 32)
    found = judge.look(real)
    nearest = Nearest(judge, Space.of(found), 64, 16)
    copies = render(nearest.specs[:12], 16, 32)
    own, others = nearest([(copies, judge.look(copies)), (real, found)])
    for space in ("features", "pixels"):
        # cdist over 49,152 pixels leaves rounding
        assert own[space].max() < 0.1 * others[space].min()
        assert np.isfinite(others[space]).all()


def test_sampling_in_batches_keeps_order_and_seeds(perfect):
    prompts = ["a red 3 moving left", "a blue 7", "a green 1 moving up", "a white 0"]
    one = make(perfect, prompts, [5, 6, 7, 8], Sampling(batch=4))
    assert torch.equal(one, make(perfect, prompts, [5, 6, 7, 8], Sampling(batch=3)))


def test_models_that_the_judge_cannot_look_at_are_refused():
    for config in ({"frames": 1, "height": 32, "width": 32}, {"frames": 8, "height": 16, "width": 16}):
        with pytest.raises(InputError, match="judge"):
            frames_of(SimpleNamespace(config=SimpleNamespace(**config)))


@pytest.mark.parametrize("wrong", [{"count": 3}, {"samples": 1}, {"prompts": 0}, {"grounds": "sand"}])
def test_a_protocol_that_cannot_be_halved_is_refused(wrong):
    with pytest.raises(InputError):
        Protocol(**wrong)
