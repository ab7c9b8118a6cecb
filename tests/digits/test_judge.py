"""The judge that ships, on rendered clips of handwriting that it was not trained on."""

import pytest
import torch
from safetensors.torch import save_file

from videofusion.digits.judge import WEIGHTS, Judge
from videofusion.digits.moving_digits import evaluation_prompts, render
from videofusion.digits.protocol import answers, rates
from videofusion.errors import InputError


@pytest.fixture(scope="module")
def judge():
    return Judge.load()


@pytest.mark.parametrize(("two", "least"), [(False, 0.97), (True, 0.93)])
def test_right_on_real_clips(judge, two, least):
    specs = evaluation_prompts(160, held_out=True, seed=12, two_digits=two)
    found = rates(answers(judge.look(render(specs, 16, 32), 1 + two), specs))
    for question in ("digit", "colour", "direction"):
        assert found[question].value >= least, question
    assert found["same ends"].value >= 0.9
    assert found["place kept"].value >= (0.5 if two else 0.97)  # tracks of digits that cross may change hands


def test_a_clip_is_judged_for_itself(judge):
    clips = render(evaluation_prompts(70, held_out=False, seed=13), 16, 32)  # more than one chunk
    all_of_them, one = judge.look(clips), judge.look(clips[69:])
    assert torch.equal(all_of_them.digit[69:], one.digit)
    assert torch.allclose(all_of_them.shape[69:], one.shape, atol=1e-4)
    frames, over_time = judge.features(clips)
    assert torch.allclose(frames[69:], judge.features(clips[69:])[0], atol=1e-4)
    assert torch.allclose(over_time[69:], judge.features(clips[69:])[1], atol=1e-4)


def test_another_digit_in_the_last_frame_is_noticed(judge):
    specs = evaluation_prompts(40, held_out=False, seed=14)
    clips = render(specs, 16, 32)
    other = clips.roll(1, 0)
    mixed = torch.cat([clips[:, :8], other[:, 8:]], 1)
    differs = [a.objects[0].digit != b.objects[0].digit for a, b in zip(specs, [specs[-1], *specs[:-1]], strict=True)]
    same_colour = [
        a.objects[0].colour == b.objects[0].colour for a, b in zip(specs, [specs[-1], *specs[:-1]], strict=True)
    ]
    noticed = (~judge.look(mixed).same_ends[:, 0]).tolist()
    told = [n for n, d in zip(noticed, differs, strict=True) if d]
    assert sum(told) >= 0.85 * len(told), same_colour
    assert judge.look(clips).same_ends.float().mean() >= 0.9


def test_an_empty_clip_has_not_the_same_digit_at_both_ends(judge):
    found = judge.look(torch.full((2, 16, 3, 32, 32), -1.0))
    assert not found.same_ends.any()
    assert not found.place_kept.any()


def test_a_digit_that_jumps_once_does_not_keep_its_place(judge):
    clips = render(evaluation_prompts(20, held_out=False, seed=16), 16, 32)
    assert judge.look(clips).place_kept.float().mean() >= 0.95
    clips[:, 9] = clips[:, 9].roll(6, -1)  # of some, half a digit comes in again at the other side
    assert judge.look(clips).place_kept.float().mean() <= 0.1


def test_features_over_time_do_not_know_what_stands_still(judge):
    clips = render(evaluation_prompts(8, held_out=False, seed=15), 16, 32)
    _, over_time = judge.features(clips[:, :1].expand(-1, 16, -1, -1, -1))
    assert torch.allclose(over_time, over_time[:1].expand_as(over_time), atol=1e-4)


def test_frame_features_follow_their_frames(judge):
    clips = render(evaluation_prompts(4, held_out=False, seed=16), 16, 32)
    frames, _ = judge.features(clips)
    assert torch.allclose(judge.features(clips.flip(1))[0], frames.flip(1), atol=1e-4)


def test_weights_of_another_judge_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Judge.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(InputError, match="cannot be read"):
        Judge.load(tmp_path / "text.safetensors")
    save_file({"digits.head.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="other weights"):
        Judge.load(tmp_path / "other.safetensors")


def test_the_weights_are_small():
    assert WEIGHTS.stat().st_size < 1_000_000


@pytest.mark.parametrize("two", [False, True])
def test_the_judge_is_right_over_photographs(two):
    specs = evaluation_prompts(140, held_out=True, seed=12, two_digits=two, grounds="photos")
    judge = Judge.load(grounds="photos")
    found = rates(answers(judge.look(render(specs, 16, 32), 1 + two), specs))
    for question in ("digit", "colour", "direction"):
        assert found[question].value >= 0.95, question
