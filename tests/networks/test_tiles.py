"""Tiles: how far what they make of a large frame is from the whole, that no seam shows, and what memory they need."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.functional import interpolate

from videofusion.clip import read_clip
from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.networks import autoencoder
from videofusion.networks.autoencoder import Latents
from videofusion.networks.tiles import cut, in_tiles
from videofusion.networks.tiny_autoencoder import TinyAutoencoder


@pytest.mark.parametrize(("length", "side", "made"), [(8, 8, 2), (9, 8, 1), (17, 8, 2), (40, 16, 8), (65, 32, 1)])
def test_the_weights_of_a_place_make_one(length: int, side: int, made: int) -> None:
    total = torch.zeros(length * made)
    for start, weight in cut(length, side, made):
        assert 0 <= start <= max(0, length - side)
        total[start * made : start * made + len(weight)] += weight
    torch.testing.assert_close(total, torch.ones(length * made))


def test_work_that_sees_the_surroundings_only_makes_the_same_of_tiles() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, padding=1)
    x = torch.randn(2, 2, 50, 71)
    with torch.no_grad():
        (found, none), expected = in_tiles(lambda frames: (layer(frames), None), x, 16), layer(x)
        (doubled, _) = in_tiles(lambda frames: (interpolate(layer(frames), scale_factor=2), None), x, 16, made=2)
    assert none is None
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(doubled, interpolate(expected, scale_factor=2))


def smooth(frames: int, height: int, width: int) -> Tensor:
    """Pictures of soft spots [1 t 3 h w]."""
    coarse = torch.randn(frames, 3, height // 16, width // 16, generator=torch.Generator().manual_seed(0)) / 2
    return interpolate(coarse, (height, width), mode="bicubic").clamp(-1, 1)[None]


def random_kl() -> AutoencoderKL:
    """Stable Diffusion's kind, with norms over whole frames and attention between all places: tiles differ most."""
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
    )


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / (expected - expected.mean()).norm())


def test_stable_diffusion_s_kind_differs_the_less_the_larger_tiles_are() -> None:
    """With random weights, all of whose layers hear the norms: a fifth of the contrast in two tiles, more in twelve."""
    x = smooth(1, 64, 96)
    whole = Latents(random_kl())
    z = whole.encode(x)
    expected = whole.decode(z)
    errors = []
    for tile in (32, 48, 64):
        space = Latents(random_kl(), tile=tile)
        made = space.decode(z)
        errors.append((relative(space.encode(x), z), relative(made, expected)))
        for axis in (-1, -2):  # no seam: between neighbouring pixels nothing jumps more than in the whole
            assert made.diff(dim=axis).abs().max() < 1.25 * expected.diff(dim=axis).abs().max()
    assert errors == sorted(errors, reverse=True)
    assert 0 < errors[-1][0] < 0.15
    assert 0 < errors[-1][1] < 0.25


def test_real_weights_on_a_real_frame(shared_data: Path) -> None:
    """Tiles differ from the whole by less than the autoencoder does from the frame (it is 38 dB from this one)."""
    vae = load_autoencoder(shared_data / "taef2")
    x = read_clip(shared_data / "asl_gestures" / "bird.mkv", start=1.0, frames=1)[None, ..., 100:228, 200:392]
    whole, tiled = (Latents(vae, tile=tile) for tile in (None, 128))
    z = whole.encode(x)
    error = (tiled.decode(z) - whole.decode(z)).div(2).square().mean()
    assert -10 * error.log10() > 30


class Counting(TinyAutoencoder):
    """Notes what it is asked to decode, as the entries of its largest features."""

    def __init__(self) -> None:
        super().__init__(width=4)
        self.asked: list[int] = []

    def decode(self, latents: Tensor) -> object:  # type: ignore[override]
        self.asked.append(latents.shape[0] * latents.shape[-1] * latents.shape[-2] * 64)
        return super().decode(latents)


def test_memory_is_that_of_a_chunk_or_a_tile_whatever_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "WHOLE", 128 * 128)
    monkeypatch.setattr(autoencoder, "PIXELS_AT_ONCE", 64 * 64 * 2)
    monkeypatch.setattr(autoencoder, "TILE", 64)
    most = {}
    for frames, height, width in ((2, 8, 8), (9, 8, 8), (1, 16, 16), (3, 16, 16), (1, 17, 16), (2, 24, 40)):
        vae = Counting()
        assert Latents(vae).decode(torch.zeros(1, frames, 4, height, width)).shape[-2:] == (height * 8, width * 8)
        most[frames, height, width] = max(vae.asked)
    assert most[9, 8, 8] == most[2, 8, 8] == 2 * 64 * 64  # two frames at once, however many there are
    assert most[3, 16, 16] == most[1, 16, 16] == 128 * 128  # a frame of that size is decoded whole
    assert (most[1, 17, 16], most[2, 24, 40]) == (64 * 64, 2 * 64 * 64)  # larger ones in tiles, which cost less


@pytest.mark.parametrize("tile", [0, -64, 56, 100])
def test_a_tile_that_cannot_be(tile: int) -> None:
    with pytest.raises(InputError, match=f"tile is {tile}; .* a multiple of 8 pixels, at least 64"):
        Latents(TinyAutoencoder(width=4), tile=tile)
