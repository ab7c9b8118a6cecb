"""The judge as an extractor, whose weights are in the package."""

from pathlib import Path

import pytest
import torch

from videofusion.digits.judge import WEIGHTS, Judge
from videofusion.errors import InputError
from videofusion.evaluation.extractors import load_extractor
from videofusion.evaluation.record import checksum


def test_gives_the_judge_s_features_and_leaves_the_judge_alone():
    clips = torch.rand(3, 5, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    extractor = load_extractor("digits", device="cpu")
    frames, course = Judge.load().features(clips)
    found = extractor.read(clips)
    torch.testing.assert_close(found["course"], course)
    torch.testing.assert_close(found["frames"].reshape(frames.shape), frames)
    assert extractor.checksum == checksum(WEIGHTS)
    assert any(parameter.requires_grad for parameter in Judge.load().clips.parameters())
    with pytest.raises(InputError, match="1 frames, but digits takes at least 2"):
        extractor.read(clips[:, :1])


def test_weights_are_given_where_they_are_needed_and_nowhere_else():
    with pytest.raises(InputError, match="i3d takes weights, which are not given: i3d_pretrained_400"):
        load_extractor("i3d")
    with pytest.raises(InputError, match="those of digits are in the package"):
        load_extractor("digits", Path("x.pt"))
