"""Longer videos: given frames stay, windows do not show in the noise, seeds and batches as of any clip."""

from __future__ import annotations

import re

import pytest
import torch
from tiny import CAPTIONS, FRAMES, SIZE, vdm, videofusion
from torch import Tensor

from videofusion.errors import InputError
from videofusion.networks.tiny_autoencoder import TinyAutoencoder
from videofusion.tasks import extend, generate

ONE = {"seed": 3, "steps": 1}
KINDS = ["image-first", "corrected", "published", "vdm"]


def pipeline(kind: str):
    return (vdm() if kind == "vdm" else videofusion(kind)).pipeline()


def clips(frames: int = FRAMES, count: int = 2) -> Tensor:
    numbers = torch.arange(count * frames * 3 * SIZE * SIZE).reshape(count, frames, 3, SIZE, SIZE)
    return torch.sin(0.31 * numbers)


@pytest.mark.parametrize("kind", KINDS)
def test_given_frames_stay_and_each_clip_goes_on_by_its_own_seed(kind: str) -> None:
    pipe, given = pipeline(kind), clips()
    seen: list[tuple[int, int]] = []
    options = {"frames": 11, "steps": 2, "sampler": "ddim", "sampler_options": {"spacing": "flow", "eta": 0.5}}
    made = extend(pipe, given, CAPTIONS[:2], seed=[3, 4], on_window=lambda *at: seen.append(at), **options)
    assert made.shape == (2, 11, 3, SIZE, SIZE)
    assert seen == [(0, 3), (1, 3), (2, 3)]  # windows of 5 with 3 given: two new frames each
    assert torch.equal(made[:, :FRAMES], given)
    assert made.abs().max() <= 1
    alone = extend(pipe, given[1], CAPTIONS[1], seed=4, **options)
    torch.testing.assert_close(alone, made[1], atol=1e-4, rtol=0)
    other = extend(pipe, given, CAPTIONS[:2], seed=[3, 4], motion_seed=[8, 9], **options)
    assert (other - made)[:, FRAMES:].abs().amax(dim=(0, 2, 3, 4)).min() > 1e-3


@pytest.mark.parametrize("kind", ["image-first", "vdm"])
def test_a_video_does_not_depend_on_where_it_was_interrupted(kind: str) -> None:
    pipe, options = pipeline(kind), {"seed": 3, "steps": 2}
    whole = extend(pipe, clips()[0], CAPTIONS[0], frames=11, **options)
    half = extend(pipe, clips()[0], CAPTIONS[0], frames=9, **options)
    rest = extend(pipe, half, CAPTIONS[0], frames=11, **options)
    torch.testing.assert_close(rest, whole)


def test_a_weight_changes_what_comes() -> None:
    pipe, options = pipeline("vdm"), {"seed": 3, "steps": 2, "frames": 7, "overlap": 2}
    made = [extend(pipe, clips()[0], CAPTIONS[0], weight=weight, **options) for weight in (0.0, 2.0)]
    assert (made[0] - made[1])[FRAMES:].abs().max() > 1e-3


def test_latents_go_on_as_latents_and_given_pixels_stay_to_the_bit() -> None:
    torch.manual_seed(0)
    side = 2 * SIZE
    pipe = vdm(vae=TinyAutoencoder(width=8, latent_channels=3, factor=2), shape=(FRAMES, side, side)).pipeline()
    numbers = torch.arange(FRAMES * 3 * side * side).reshape(FRAMES, 3, side, side)
    given, options = torch.sin(0.1 * numbers), {"frames": 8, "seed": 1, "steps": 2}
    made = extend(pipe, given, CAPTIONS[0], **options)
    assert torch.equal(made[:FRAMES], given)
    latents = extend(pipe, given, CAPTIONS[0], output="latent", **options)
    assert latents.shape == (8, 3, SIZE, SIZE)
    torch.testing.assert_close(pipe.decode(latents)[FRAMES:], made[FRAMES:], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("frames", "options", "says"),
    [
        (FRAMES, {"frames": 5}, "frames is 5; the clip has 5, it must be more"),
        (2, {"frames": 9}, "clip has 2 frames; 3 are needed to continue from (overlap)"),
        (FRAMES, {"frames": 9, "overlap": 5}, "overlap is 5; this model's clips have 5 frames, it must be 1 to 4"),
        (FRAMES, {"frames": 9, "overlap": 0}, "overlap is 0; this model's clips have 5 frames, it must be 1 to 4"),
        (FRAMES, {"frames": 9, "overlap": 2}, "places of known frames are [0, 1]; the variant 'image-first'"),
        (FRAMES, {"frames": 9, "weight": -1.0}, "weight of known frames is -1.0"),
        (FRAMES, {"frames": 9, "output": "gif"}, "output is 'gif'"),
    ],
)
def test_refusals_are_one_sentence(frames: int, options: dict, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = pipeline("image-first")
    monkeypatch.setattr(pipe.residual, "forward", None)  # refused before any work
    with pytest.raises(InputError, match=re.escape(says)):
        extend(pipe, clips(frames)[0], CAPTIONS[0], **{"steps": 1, **options})


def test_a_clip_has_to_be_one() -> None:
    with pytest.raises(InputError, match="clip has the shape 5x3x8x8; it must have the axes b t c h w"):
        extend(pipeline("vdm"), clips()[0], CAPTIONS[:1], frames=9)


@pytest.mark.parametrize("noise", ["progressive", "shuffled"])
def test_videos_go_on_with_noise_that_is_correlated_over_frames(noise: str) -> None:
    """By the frames' numbers in the whole; of shuffled noise windows may hold the same frame's noise twice."""
    pipe = vdm(noise=noise, noise_parameter=0.9 if noise == "progressive" else 4.0).pipeline()
    options = {"seed": 3, "steps": 2, "weight": 1.0}
    whole = extend(pipe, clips()[0], CAPTIONS[0], frames=11, **options)
    half = extend(pipe, clips()[0], CAPTIONS[0], frames=9, **options)
    torch.testing.assert_close(extend(pipe, half, CAPTIONS[0], frames=11, **options), whole)
    assert whole.isfinite().all()


def test_a_video_longer_than_its_noise_is_refused_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = vdm(noise="ou").pipeline()
    monkeypatch.setattr(pipe.unet, "forward", None)
    with pytest.raises(InputError, match=r"frames holds 1024; 'ou' noise has frames 0 to 1023"):
        extend(pipe, clips()[0], CAPTIONS[0], frames=1024)


@pytest.mark.parametrize("kind", KINDS)
def test_more_frames_than_the_model_has_go_on_from_its_first_clip(kind: str) -> None:
    pipe, options = pipeline(kind), {"seed": [3, 7], "steps": 2}
    made = generate(pipe, CAPTIONS[:2], frames=11, height=SIZE, **options)
    longer = extend(pipe, pipe(CAPTIONS[:2], **options), CAPTIONS[:2], frames=11, **options)
    torch.testing.assert_close(made, longer, atol=1e-4, rtol=0)
    alone = generate(pipe, CAPTIONS[0], frames=11, seed=3, steps=2)
    torch.testing.assert_close(alone, made[0], atol=1e-4, rtol=0)
    assert torch.equal(generate(pipe, CAPTIONS[0], frames=4, **ONE), pipe(CAPTIONS[0], frames=4, **ONE))
    with pytest.raises(InputError, match="at most 4096 are made at once; extend continues"):
        generate(pipe, CAPTIONS[0], frames=5000)
