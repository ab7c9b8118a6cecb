"""Making clips for a measure: frames that are given, and the ends of longer videos."""

from __future__ import annotations

import pytest
import torch
from tiny import CAPTIONS, FRAMES, SIZE, batch, vdm, videofusion

from videofusion.errors import InputError
from videofusion.evaluation.making import Sampling, make
from videofusion.tasks import extend

PROMPTS, SEEDS = CAPTIONS[:3], [4, 5, 6]


def test_first_frames_are_those_of_the_real_clips() -> None:
    real = batch(3).clip
    made = make(vdm().pipeline(), PROMPTS, SEEDS, Sampling(steps=2, batch=2, given=2), real=real)
    assert torch.equal(made[:, :2], real[:, :2])
    assert (made[:, 2:] - real[:, 2:]).abs().amax(dim=(1, 2, 3, 4)).min() > 0.1
    guided = make(vdm().pipeline(), PROMPTS, SEEDS, Sampling(steps=2, batch=2, given=2, weight=2.0), real=real)
    assert (guided - made).abs().max() > 1e-3


def test_the_end_of_a_longer_video_is_as_long_as_a_clip() -> None:
    pipe, sampling = vdm().pipeline(), Sampling(steps=2, batch=2, frames=8)
    made = make(pipe, PROMPTS, SEEDS, sampling)
    assert made.shape == (3, FRAMES, 3, SIZE, SIZE)
    clips = make(pipe, PROMPTS, SEEDS, Sampling(steps=2))
    whole = extend(pipe, clips, PROMPTS, frames=8, seed=SEEDS, steps=2)
    torch.testing.assert_close(made, whole[:, -FRAMES:], atol=1e-4, rtol=0)


def test_base_noise_is_held_or_fresh_in_each_window() -> None:
    pipe = videofusion("corrected").pipeline()
    held, fresh = (make(pipe, PROMPTS, SEEDS, Sampling(steps=2, frames=7, held=held)) for held in (True, False))
    torch.testing.assert_close(held[:, :3], fresh[:, :3])  # the clip's own last frames
    assert (held - fresh)[:, 3:].abs().max() > 1e-2


def test_a_longer_video_is_longer_than_a_clip() -> None:
    with pytest.raises(InputError, match="frames is 4; an extended video has at least the frames of a clip, 5"):
        make(vdm().pipeline(), PROMPTS, SEEDS, Sampling(steps=1, frames=4))
