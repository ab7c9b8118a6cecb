"""Editing by every method and system: what is asked to stay stays, and nothing is changed by no change."""

from __future__ import annotations

import re
from typing import ClassVar

import pytest
import torch
from tiny import CAPTIONS, FRAMES, SIZE, vdm, videofusion
from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.networks.tiny_autoencoder import Decoded, Encoded, TinyAutoencoder
from videofusion.tasks import METHODS, edit

KINDS = ["image-first", "joint", "published", "vdm"]
SAME = {"sdedit": {"strength": 0.01}, "inversion": {"refinements": 3}, "vary": {"strength": 1e-6, "refinements": 3}}
ANY_MODEL = [name for name, method in METHODS.items() if method.asked is None]  # others are for some models


def pipeline(kind: str):
    return (vdm() if kind == "vdm" else videofusion(kind)).pipeline()


def clips(size: int = SIZE) -> Tensor:
    numbers = torch.arange(2 * FRAMES * 3 * size * size).reshape(2, FRAMES, 3, size, size)
    return 0.5 * torch.sin(0.01 * numbers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ANY_MODEL)
def test_each_clip_is_edited_by_its_own_seed_and_prompt(method: str, kind: str) -> None:
    pipe, options = pipeline(kind), {"method": method, "steps": 3}
    made = edit(pipe, clips(), CAPTIONS[:2], seed=[3, 4], **options)
    assert made.shape == clips().shape
    assert made.abs().max() <= 1
    alone = edit(pipe, clips()[1], CAPTIONS[1], seed=4, **options)
    torch.testing.assert_close(alone, made[1], atol=1e-4, rtol=0)
    other = edit(pipe, clips(), CAPTIONS[2:], seed=[3, 4], **options)
    assert (other - made).abs().max() > 1e-4
    again = edit(pipe, clips(), CAPTIONS[:2], seed=[8, 9], **options)
    if method == "inversion" and kind != "published":  # nothing is drawn but an embedding by a prior
        torch.testing.assert_close(again, made)
    else:
        assert (again - made).abs().amax(dim=(0, 2, 3, 4)).max() > 1e-4


@pytest.mark.parametrize(
    ("method", "kind"), [("inversion", "image-first"), ("inversion", "joint"), ("inversion", "vdm"), ("vary", "vdm")]
)
def test_a_clip_comes_back_where_nothing_is_changed(method: str, kind: str) -> None:
    pipe = pipeline(kind)
    options = {"source": CAPTIONS[0], "guidance": 1.0, "steps": 8, "sampler_options": {"spacing": "trailing"}}
    errors = [
        float(
            (edit(pipe, clips()[0], CAPTIONS[0], method=method, **(SAME[method] | more), **options) - clips()[0]).norm()
        )
        for more in ({"refinements": 0}, {})
    ]
    assert errors[1] < errors[0]
    assert errors[1] < 0.3 * float(clips()[0].norm())


def test_variations_keep_the_base_noise() -> None:
    """Of image-first it alone makes the middle frame, so that this is that of the inversion."""
    pipe, options = pipeline("image-first"), {"steps": 3, "source": CAPTIONS[0]}
    same = edit(pipe, clips()[0], CAPTIONS[0], method="inversion", **options)
    varied = [edit(pipe, clips()[0], CAPTIONS[0], method="vary", strength=1.0, seed=seed, **options) for seed in (1, 2)]
    for each in varied:
        torch.testing.assert_close(each[FRAMES // 2], same[FRAMES // 2])
    assert (varied[0] - varied[1]).flatten(1).abs().amax(dim=1)[[0, -1]].min() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ANY_MODEL)
def test_what_is_outside_of_the_mask_is_kept_to_the_bit(method: str, kind: str) -> None:
    mask = torch.zeros(FRAMES, 1, SIZE, SIZE)
    for frame in range(FRAMES):
        mask[frame, :, frame : frame + 3, 2:6] = 1
    made = edit(pipeline(kind), clips(), CAPTIONS[:2], method=method, mask=mask, steps=3)
    outside = (mask == 0).expand_as(made)
    assert torch.equal(made[outside], clips()[outside])
    assert (made - clips())[~outside].abs().max() > 1e-3


def test_latents_outside_of_the_mask_are_kept_to_the_bit() -> None:
    torch.manual_seed(0)
    side = 2 * SIZE
    pipe = vdm(vae=TinyAutoencoder(width=8, latent_channels=3, factor=2), shape=(FRAMES, side, side)).pipeline()
    mask = torch.zeros(1, 1, side, side)
    mask[..., 4:8, 4:8] = 1
    made = edit(pipe, clips(side), CAPTIONS[:2], mask=mask, steps=2, output="latent")
    kept = pipe.space.encode(clips(side))
    changed = (made != kept).any(dim=2)
    assert not changed[..., :2, :].any()
    assert changed[..., 2:4, 2:4].all()


class Squares(nn.Module):
    """An autoencoder whose latents are the means of squares of 2x2 pixels."""

    config: ClassVar[dict[str, int]] = {"latent_channels": 3, "factor": 2}
    dtype = torch.float32

    def encode(self, frames: Tensor) -> Encoded:
        return Encoded(nn.functional.avg_pool2d(frames, 2))

    def decode(self, latents: Tensor) -> Decoded:
        return Decoded(nn.functional.interpolate(latents, scale_factor=2))


@pytest.mark.parametrize("method", ANY_MODEL)
def test_pixels_outside_of_the_mask_are_kept_to_the_autoencoders_error(method: str) -> None:
    side = 2 * SIZE
    pipe = vdm(vae=Squares(), shape=(FRAMES, side, side)).pipeline()
    mask = torch.zeros(1, 1, side, side)
    mask[..., 3:8, 4:8] = 1  # not of whole squares: those that it cuts are made anew
    made = edit(pipe, clips(side), CAPTIONS[:2], method=method, mask=mask, steps=2)
    right = pipe.decode(pipe.space.encode(clips(side)))
    same = (made == right).all(dim=2)
    assert same[..., :2, :].all()
    assert same[..., 8:, :].all()
    assert same[..., :4].all()
    assert not same[..., 2:8, 4:8].any()


@pytest.mark.parametrize(
    ("clip", "options", "says"),
    [
        (clips()[0], {"method": "sdedt"}, 'method "sdedt" is unknown (did you mean "sdedit"?)'),
        (clips()[0], {"strength": 0.0}, "strength is 0.0; it must be above 0 and at most 1"),
        (clips()[0], {"method": "inversion", "strength": 2}, "strength is 2"),
        (clips()[0], {"back": print}, "back is given; the method 'sdedit' does not invert"),
        (clips()[0], {"method": "tune-a-video"}, "method is 'tune-a-video', which takes a model that was tuned on"),
        (clips()[0], {"method": "inversion", "refinements": -1}, "refinements is -1"),
        (clips()[0].repeat(2, 1, 1, 1), {}, "clip has 10 frames; this model edits at most 5 at once"),
        (clips()[0, :, :1], {}, "clip has 1 channels; to be edited it must have 3"),
        (clips()[0], {"mask": torch.zeros(4, 1, SIZE, SIZE)}, "mask has the shape (4, 1, 8, 8)"),
        (clips()[0], {"mask": torch.ones(1, 1, 4, 4)}, "of these known frames it must be 5x1x8x8"),
        (clips()[0], {"source": ["a", "b"], "method": "inversion"}, "source has 2 texts; it must have one"),
        (clips(), {}, "clip has the shape 2x5x3x8x8; it must have the axes t c h w"),
    ],
)
def test_refusals_are_one_sentence(clip: Tensor, options: dict, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = pipeline("vdm")
    monkeypatch.setattr(pipe.unet, "forward", None)  # refused before any work
    with pytest.raises(InputError, match=re.escape(says)):
        edit(pipe, clip, CAPTIONS[0], **{"steps": 1, **options})


def test_there_is_a_clip_for_each_prompt() -> None:
    with pytest.raises(InputError, match="clip holds 2 clips; it must hold one for each of 3 prompts"):
        edit(pipeline("vdm"), clips(), CAPTIONS[:3], steps=1)
