"""Plain diffusion told an embedding of the middle frame in place of a text (MagicVideo's unsupervised training)."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny import CAPTIONS, FRAMES, MIDDLE, SIZE, batch, keys, vdm

from videofusion.conditioning.condition import Step
from videofusion.conditioning.frame_as_text import FrameAsText
from videofusion.conditioning.image import FrameEncoder
from videofusion.conditioning.prompt import dropped
from videofusion.diffusion.known import Known
from videofusion.models import load
from videofusion.systems.vdm import VDMSystem

CLIPS = 3


def told(**options: object) -> VDMSystem:
    system = vdm(**options)
    system.conditions = (FrameAsText(system.text_encoder, FrameEncoder(size=16, channels=(8, 8)).eval()),)
    return system


def test_captions_are_not_heard_but_the_middle_frame_is():
    system, clips = told(caption_dropout=0.0), batch(CLIPS)
    said = system.loss(clips, keys(CLIPS), 1).per_clip
    other = replace(clips, captions=[*reversed(clips.captions)])
    assert torch.equal(system.loss(other, keys(CLIPS), 1).per_clip, said)
    assert not torch.equal(vdm(caption_dropout=0.0).loss(other, keys(CLIPS), 1).per_clip, said)

    class Seen(FrameEncoder):
        def forward(self, frame):
            assert torch.equal(frame, clips.clip[:, MIDDLE])
            return super().forward(frame)

    seen = Seen(size=16, channels=(8, 8)).eval()
    system.conditions = (FrameAsText(system.text_encoder, seen),)
    system.loss(clips, keys(CLIPS), 1).total.backward()
    assert all(p.grad.any() for p in seen.parameters())


def test_what_is_left_out_is_left_out_as_captions_are():
    """So that both kinds of training make the same unconditional model."""
    clips = batch(CLIPS)
    ours, theirs = (make(caption_dropout=1.0).loss(clips, keys(CLIPS), 1).per_clip for make in (told, vdm))
    torch.testing.assert_close(ours, theirs)
    some = {"caption_dropout": 0.5}
    drop = dropped(keys(8), Step(number=1, frames=range(FRAMES), dropout=0.5))
    assert 0 < sum(drop) < 8  # each clip for itself, in one batch
    few = batch(2)
    eight = replace(few, clip=few.clip[:1].repeat(8, 1, 1, 1, 1), captions=few.captions[:1] * 8, names=["x"] * 8)
    both = (make(**some).loss(eight, keys(8), 1).per_clip for make in (told, vdm))
    same = torch.tensor([torch.allclose(a, b, atol=1e-6) for a, b in zip(*both, strict=True)])
    assert same.tolist() == list(drop)


def test_a_model_hears_frames_that_are_given_and_no_prompt(tmp_path):
    system = told(caption_dropout=0.1)
    system.pipeline().save_pretrained(tmp_path)
    pipe = load(tmp_path, device="cpu")

    def make(prompt: str, known: Known | None = None) -> torch.Tensor:
        with pytest.warns(UserWarning, match="ignores the prompt"):
            return pipe(prompt, seed=1, steps=2, guidance=3.0, known=known)

    assert torch.equal(make(CAPTIONS[0]), make(CAPTIONS[1]))
    frame = batch(1).clip[0, MIDDLE : MIDDLE + 1]
    known = Known(frame, (MIDDLE,))
    with_frame = make(CAPTIONS[0], known)
    torch.nn.init.zeros_(pipe.image_encoder.project.weight)
    assert not torch.allclose(make(CAPTIONS[0], known), with_frame)
    assert with_frame.shape == (FRAMES, 3, SIZE, SIZE)


def test_what_is_made_anew_of_a_frame_is_not_shown_in_place_of_the_text():
    pipe, clip = told().pipeline(), batch(1).clip[0]
    mask = torch.zeros(FRAMES, 1, SIZE, SIZE)
    mask[:, :, :, SIZE // 2 :] = 1
    other = torch.where(mask == 1, -clip, clip)
    with pytest.warns(UserWarning, match="ignores the prompt"):
        made = [
            pipe(CAPTIONS[0], seed=1, steps=2, known=Known(frames, range(FRAMES), mask=mask))
            for frames in (clip, other)
        ]
    assert torch.equal(*made)
