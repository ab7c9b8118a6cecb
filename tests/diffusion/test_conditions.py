"""Conditions: null values, windows of frames, clips of the batch."""

from __future__ import annotations

import pytest
import torch

from videofusion.diffusion import Conditions
from videofusion.diffusion.conditions import INPUTS, KINDS
from videofusion.errors import InputError

TEXT, MASK = torch.randn(2, 7, 4), torch.tensor([[True] * 3 + [False] * 4, [True] * 7])
NULL = {"text": torch.zeros(1, 2, 4), "labels": torch.tensor([9])}


def test_without_puts_the_null_value_in_place_for_every_clip() -> None:
    conditions = Conditions(text=TEXT, labels=torch.tensor([1, 2]), null=NULL)
    free = conditions.without("labels")
    assert free.labels.tolist() == [9, 9]
    assert free.text is TEXT
    assert conditions.without("text", "labels").text.shape == (2, 2, 4)
    assert conditions.without("image_embedding") == conditions  # not given: nothing to go without


def test_null_text_has_the_null_mask_never_that_of_the_prompt() -> None:
    masked = Conditions(text=TEXT, text_mask=MASK, null=NULL)
    assert masked.without("text").text_mask is None
    null_mask = torch.tensor([[True, False]])
    with_mask = Conditions(text=TEXT, text_mask=MASK, null=NULL | {"text_mask": null_mask})
    assert torch.equal(with_mask.without("text").text_mask, null_mask.expand(2, 2))


def test_pooled_text_goes_with_the_text() -> None:
    conditions = Conditions(text=TEXT, pooled_text=torch.ones(2, 3), null=NULL | {"pooled_text": torch.zeros(1, 3)})
    assert conditions.without("text").pooled_text.tolist() == [[0, 0, 0]] * 2
    with pytest.raises(InputError, match="'pooled_text' needs its null value; given are text, labels"):
        Conditions(text=TEXT, pooled_text=torch.ones(2, 3), null=NULL).without("text")


def test_what_has_no_null_value_or_is_no_condition_is_refused() -> None:
    with pytest.raises(InputError, match="guidance over 'text' needs its null value; given are none"):
        Conditions(text=TEXT).without("text")
    with pytest.raises(InputError, match="guidance over 'prompt' is not known"):
        Conditions(text=TEXT).without("prompt")


def test_a_window_keeps_global_frame_numbers_and_its_own_shares() -> None:
    share = torch.rand(2, 6)
    window = Conditions(text=TEXT, share=share).window(2, 5)
    assert window.frames.tolist() == [2, 3, 4]
    assert torch.equal(window.share, share[:, 2:5])
    assert window.text is TEXT
    assert window.window(1, 3).frames.tolist() == [3, 4]


def test_frame_numbers_of_a_window_are_where_the_clip_is() -> None:
    share = torch.empty(2, 6, device="meta")
    assert Conditions(share=share).window(2, 5).frames.device == share.device
    assert Conditions(share=share).window([0, 4]).frames.device == share.device


@pytest.mark.parametrize("frames", [[1, 4], range(1, 3), range(1, 5, 3)])
def test_a_window_may_be_any_frames(frames: list[int] | range) -> None:
    beside, control = torch.randn(2, 6, 1, 4, 4), (torch.randn(2, 6, 3, 2, 2), torch.randn(2, 6, 5, 1, 1))
    window = Conditions(share=torch.rand(2, 6), beside=beside, control=control).window(frames)
    assert window.frames.tolist() == list(frames)
    assert torch.equal(window.beside, beside[:, list(frames)])
    assert all(torch.equal(mine, each[:, list(frames)]) for mine, each in zip(window.control, control, strict=True))
    assert window.window([1]).frames.tolist() == [list(frames)[1]]


def test_every_input_of_networks_is_of_a_kind_and_the_same_for_all_frames_or_not() -> None:
    assert set(INPUTS.values()) == set(KINDS)
    assert INPUTS["beside"] == "beside"
    assert INPUTS["control"] == "residuals"
    assert "middle_frame" not in INPUTS


def test_null_values_of_what_differs_between_frames_fit_any_number_of_them() -> None:
    beside, control = torch.ones(2, 6, 1, 4, 4), (torch.ones(2, 6, 3, 2, 2),)
    null = {"beside": torch.zeros(1, 1, 1, 1, 1), "control": (torch.zeros(1, 1, 1, 1, 1),)}
    free = Conditions(beside=beside, control=control, null=null).without("beside", "control")
    assert torch.equal(free.beside, torch.zeros_like(beside))
    assert torch.equal(free.control[0], torch.zeros_like(control[0]))


def test_what_is_added_goes_with_its_clips() -> None:
    conditions = Conditions(added={"loudness": torch.tensor([1.0, 2.0])}, null={"loudness": torch.zeros(1)})
    assert conditions.given()["loudness"].tolist() == [1.0, 2.0]
    assert conditions.select([1]).added["loudness"].tolist() == [2.0]
    assert conditions.without("loudness").added["loudness"].tolist() == [0.0, 0.0]
    assert conditions.window(0, 2).added["loudness"].tolist() == [1.0, 2.0]


def test_select_takes_clips_of_the_batch() -> None:
    conditions = Conditions(text=TEXT, labels=torch.tensor([1, 2]), frames=torch.arange(3), temporal=0.0, null=NULL)
    chosen = conditions.select([1, 1, 0])
    assert chosen.labels.tolist() == [2, 2, 1]
    assert torch.equal(chosen.text, TEXT[[1, 1, 0]])
    assert chosen.frames is conditions.frames
    assert not chosen.temporal


def test_given_names_what_is_there() -> None:
    assert list(Conditions(text=TEXT, frames=torch.arange(3), null=NULL).given()) == ["text", "frames"]
