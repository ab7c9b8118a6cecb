"""What is a clip, and what is said of that which is not."""

from __future__ import annotations

import pytest
import torch

from videofusion.clip import check_clip, from_uint8, to_uint8
from videofusion.errors import InputError


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (16, 3, 32, 48), (2, 1, 8, 8)])
def test_clips_pass_as_they_are(shape):
    clip = torch.rand(shape) * 2 - 1
    assert check_clip(clip) is clip


def test_several_clips_have_one_more_axis():
    clips = torch.zeros(2, 4, 3, 8, 8)
    assert check_clip(clips, axes="b t c h w") is clips
    with pytest.raises(InputError, match=r"2x4x3x8x8.*t c h w"):
        check_clip(clips)


@pytest.mark.parametrize(
    ("clip", "named"),
    [
        ([[0.0]], "is a list"),
        (torch.zeros(3, 8, 8), "3x8x8"),
        (torch.zeros(()), "single number"),
        (torch.zeros(0, 3, 8, 8), "0x3x8x8.*empty"),
        (torch.zeros(4, 2, 8, 8), "2 channels.*it must be 1 or 3"),
        (torch.zeros(4, 8, 8, 3), "8 channels"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), "uint8"),
        (torch.full((4, 3, 8, 8), 255.0), "255.*finite and in"),
        (torch.full((4, 3, 8, 8), -1.5), "-1.5"),
        (torch.full((4, 3, 8, 8), float("nan")), "nan"),
        (torch.full((4, 3, 8, 8), float("inf")), "inf"),
    ],
)
def test_all_else_gets_a_sentence_with_the_name(clip, named):
    with pytest.raises(InputError, match=named) as caught:
        check_clip(clip, name="my clip")
    assert str(caught.value).startswith("my clip ")
    assert "\n" not in str(caught.value)


def test_one_number_that_is_none_is_found():
    clip = torch.zeros(4, 3, 8, 8)
    clip[2, 1, 3, 3] = float("nan")
    with pytest.raises(InputError, match="nan"):
        check_clip(clip)


def test_bytes_come_back_and_ends_are_exact():
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).expand(1, 16, 16, 3)
    clip = from_uint8(frames)
    assert clip.shape == (1, 3, 16, 16)
    assert (float(clip.min()), float(clip.max())) == (-1, 1)
    assert torch.equal(to_uint8(clip), frames)


def test_grey_becomes_three_channels_and_overshoot_is_cut():
    frames = to_uint8(torch.full((2, 1, 4, 4), 1.01))
    assert frames.shape == (2, 4, 4, 3)
    assert frames.unique().tolist() == [255]
