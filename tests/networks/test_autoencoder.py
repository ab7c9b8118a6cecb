"""Latents of an autoencoder: diffusers' own numbers, whatever is encoded together, and back."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from videofusion.clip import read_clip
from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.networks.autoencoder import Latents, Pixels, space_of
from videofusion.networks.tiny_autoencoder import TinyAutoencoder


def tiny_kl(**settings: object) -> AutoencoderKL:
    """Diffusers' autoencoder with hardly any weights; a place of its latents is 2x2 pixels."""
    torch.manual_seed(0)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        **{"scaling_factor": 0.5, "shift_factor": 0.1, **settings},
    ).eval()


def clip(frames: int = 3, size: int = 8) -> torch.Tensor:
    return torch.sin(torch.arange(2 * frames * 3 * size * size) * 0.37).reshape(2, frames, 3, size, size)


def test_a_kl_autoencoder_gives_diffusers_own_numbers() -> None:
    vae, x = tiny_kl(), clip()
    space = Latents(vae, chunk=6)
    with torch.no_grad():
        raw = vae.encode(x.flatten(0, 1)).latent_dist.mode()
        back = (raw - 0.1) / 2.0 * 2.0 + 0.1  # a rounding away from raw, which on some machines grows in the decoder
        theirs = vae.decode(back).sample.clamp(-1, 1)
    latents = space.encode(x)
    assert (back - raw).abs().max() < 1e-6
    assert (space.factor, space.channels, latents.shape) == (2, 4, (2, 3, 4, 4, 4))
    assert torch.equal(latents.flatten(0, 1), (raw - 0.1) / torch.tensor(2.0))
    assert (space.decode(latents).flatten(0, 1) - theirs).abs().max() < 5e-6


def test_a_tiny_one_of_diffusers() -> None:
    torch.manual_seed(0)
    vae = AutoencoderTiny(
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ).eval()
    space, x = Latents(vae, chunk=6), clip()
    with torch.no_grad():
        raw = vae.encode(x.flatten(0, 1)).latents
        theirs = vae.decode(raw).sample.clamp(-1, 1)
    assert torch.equal(space.encode(x).flatten(0, 1), raw)
    assert torch.equal(space.decode(raw[None])[0], theirs)


@pytest.mark.parametrize("chunk", [1, 2, 4, None])
def test_frames_do_not_depend_on_the_chunks(chunk: int | None) -> None:
    vae, x = tiny_kl(), clip()
    one, other = Latents(vae, chunk=6), Latents(vae, chunk=chunk)
    torch.testing.assert_close(other.encode(x), one.encode(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(other.decode(one.encode(x)), one.decode(one.encode(x)), rtol=0, atol=1e-5)
    drawn = [space.encode(x, torch.Generator().manual_seed(7)) for space in (one, other)]
    torch.testing.assert_close(*drawn, rtol=0, atol=1e-5)
    assert not torch.equal(drawn[0], one.encode(x))


def test_a_frame_is_encoded_to_the_same_bits_in_any_company() -> None:
    space, x = Latents(tiny_kl()), clip(frames=7)
    together = space.encode(x)
    assert torch.equal(space.encode(x[1:, 2:5]), together[1:, 2:5])
    assert torch.equal(space.encode(x[:1, 6:]), together[:1, 6:])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(space.encode(x), together)


def test_channels_may_have_their_own_mean_and_deviation() -> None:
    means, deviations = [0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0]
    plain = Latents(tiny_kl(scaling_factor=1.0, shift_factor=None))
    own = Latents(tiny_kl(scaling_factor=1.0, latents_mean=means, latents_std=deviations))
    mean, std = (torch.tensor(each)[:, None, None] for each in (means, deviations))
    torch.testing.assert_close(own.encode(clip()), (plain.encode(clip()) - mean) / std)
    torch.testing.assert_close(own.decode(own.encode(clip())), plain.decode(plain.encode(clip())))
    with pytest.raises(InputError, match="one for each of 4 channels"):
        Latents(tiny_kl(latents_std=[1.0]))


def test_it_is_frozen() -> None:
    vae = tiny_kl().train()
    x = clip().requires_grad_()
    assert not Latents(vae).encode(x).requires_grad
    assert not vae.training
    assert not any(parameter.requires_grad for parameter in vae.parameters())


def test_what_it_cannot_take_is_refused() -> None:
    space = Latents(tiny_kl())
    with pytest.raises(InputError, match=r"size is 9x8; .* multiples of 2"):
        space.encode(torch.zeros(1, 1, 3, 9, 8))
    with pytest.raises(InputError, match="takes b t 3 h w"):
        space.encode(torch.zeros(1, 1, 4, 8, 8))
    with pytest.raises(InputError, match="takes b t 4 h w"):
        space.decode(torch.zeros(1, 1, 3, 8, 8))
    with pytest.raises(InputError, match="no distribution to draw from"):
        Latents(TinyAutoencoder(width=8)).encode(clip(size=16), torch.Generator())


def test_pixels_are_a_space_too() -> None:
    assert isinstance(space_of(None), Pixels)
    assert torch.equal(Pixels().encode(clip()), clip())
    assert Pixels().decode(3 * clip()).abs().max() == 1


def test_real_weights_on_real_frames(shared_data: Path) -> None:
    """There and back, as its folder's measure of these clips says: 32.2 dB on average at 64x64."""
    space = Latents(load_autoencoder(shared_data / "taef2"))
    told = json.loads((shared_data / "taef2" / "measured_latent_stats.json").read_text())["weizmann64 native"]
    files = sorted((shared_data / "weizmann64").rglob("*.mp4"))[::3]
    frames = torch.stack([read_clip(file)[20] for file in files])[None]
    latents = space.encode(frames)
    error = (space.decode(latents) - frames).div(2).square().mean(dim=(0, 2, 3, 4))
    assert (-10 * error.log10()).mean() == pytest.approx(told["psnr_mean"], abs=1)
    means = latents.mean(dim=(0, 1, 3, 4))
    assert (means - torch.tensor(told["mean"])).abs().max() < 0.4
