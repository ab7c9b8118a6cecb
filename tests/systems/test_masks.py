"""Inpainting over time by every system: what is outside of the mask is kept to the bit, in pixels and in latents."""

from __future__ import annotations

import re

import pytest
import torch
from tiny import CAPTIONS, FRAMES, SIZE, vdm, videofusion
from torch import Tensor

from videofusion.diffusion import Known
from videofusion.errors import InputError
from videofusion.networks.tiny_autoencoder import TinyAutoencoder

KINDS = ["image-first", "corrected", "joint", "published", "framewise", "vdm"]


def pipeline(kind: str):
    return (vdm() if kind == "vdm" else videofusion(kind)).pipeline()


def clips(size: int = SIZE) -> Tensor:
    return torch.sin(0.31 * torch.arange(2 * FRAMES * 3 * size * size)).reshape(2, FRAMES, 3, size, size)


def mask(size: int = SIZE) -> Tensor:
    """A square that moves down, and nothing of the last frame."""
    made = torch.zeros(FRAMES, 1, size, size)
    for frame in range(FRAMES - 1):
        made[frame, :, frame : frame + size // 2, : size // 2] = 1
    return made


@pytest.mark.parametrize("weight", [0.0, 2.0])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_outside_is_kept_to_the_bit(kind: str, weight: float) -> None:
    known = Known(clips(), range(FRAMES), weight, mask=mask())
    made = pipeline(kind)(CAPTIONS[:2], known=known, steps=2, seed=3)
    outside = (mask() == 0).expand_as(made)
    assert torch.equal(made[outside], clips()[outside])
    assert ((made - clips())[~outside].abs() > 1e-3).float().mean() > 0.9
    other = pipeline(kind)(CAPTIONS[:2], known=known, steps=2, seed=9)
    assert (other - made).flatten(2).abs().amax(dim=2)[
        :, :-1
    ].min() > 1e-3  # each frame by its seed, the middle one too
    alone = pipeline(kind)(CAPTIONS[1], known=Known(clips()[1], range(FRAMES), weight, mask=mask()), steps=2, seed=4)
    torch.testing.assert_close(alone, made[1], atol=2e-4, rtol=0)


def test_in_latents_a_place_is_made_anew_where_any_of_its_pixels_is() -> None:
    torch.manual_seed(0)
    side = 2 * SIZE
    pipe = vdm(vae=TinyAutoencoder(width=8, latent_channels=3, factor=2), shape=(FRAMES, side, side)).pipeline()
    one = torch.zeros(1, 1, side, side)
    one[..., 5, 3] = 1
    known = Known(clips(side), range(FRAMES), mask=one)
    made = pipe(CAPTIONS[:2], known=known, steps=2, output="latent")
    changed = (made != pipe.space.encode(clips(side))).any(dim=2)
    assert changed[..., 2, 1].all()
    assert int(changed.sum()) == changed[..., 2, 1].numel()


@pytest.mark.parametrize(
    ("known", "says"),
    [
        ({"mask": mask()[..., :4]}, "mask has the shape (5, 1, 8, 4); of these known frames it must be 5x1x8x8"),
        ({"mask": mask().expand(3, -1, -1, -1, -1)}, "mask has the shape (3, 5, 1, 8, 8)"),
        ({"mask": 0 * mask()}, "one at least must be left to make"),
    ],
)
def test_refusals(known: dict, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        pipeline("vdm")(CAPTIONS[:2], known=Known(clips(), range(FRAMES), **known), steps=1)
    if "3, 5" not in says:
        return
    with pytest.raises(InputError, match="mask is of 3 clips; it must be of each of 2, or of one"):
        pipeline("vdm")(CAPTIONS[:2], known=Known(clips()[0], range(FRAMES), **known), steps=1)
