"""Autoencoders from files: all their weights or a sentence; and a fingerprint of what they compute."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file

from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.networks.fingerprints import fingerprint
from videofusion.networks.tiny_autoencoder import TinyAutoencoder

WEIGHTS = "diffusion_pytorch_model.safetensors"


def kl(seed: int = 0) -> AutoencoderKL:
    torch.manual_seed(seed)
    return AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    kl().save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def test_a_folder_or_a_pipeline_with_one(folder: Path) -> None:
    for path in (folder, folder.parent):
        assert fingerprint(load_autoencoder(path)) == fingerprint(kl())
    with torch.device("meta"):
        empty = load_autoencoder(folder, empty=True)
    assert all(each.is_meta for each in empty.parameters())


def test_our_own_kind(tmp_path: Path) -> None:
    vae = TinyAutoencoder(width=8, latents_mean=[0.5] * 4)
    vae.save_pretrained(tmp_path)
    found = load_autoencoder(tmp_path)
    assert isinstance(found, TinyAutoencoder)
    assert fingerprint(found) == fingerprint(vae)


@pytest.mark.parametrize("pool", [False, True])
def test_weights_of_the_taesd_family(tmp_path: Path, pool: bool) -> None:
    vae = TinyAutoencoder(width=8, latent_channels=5, pool=pool)
    for part in ("encoder", "decoder"):
        save_file(getattr(vae, part).state_dict(), tmp_path / f"mine_{part}.safetensors")
    found = load_autoencoder(tmp_path)
    assert fingerprint(found) == fingerprint(vae)
    frames = torch.rand(1, 3, 16, 16)
    assert found.encode(frames).latents.shape == (1, 5, 2, 2)
    weights = load_file(tmp_path / "mine_encoder.safetensors")
    weights.pop("0.bias")
    save_file(weights, tmp_path / "mine_encoder.safetensors")
    with pytest.raises(InputError, match=r"none of the TAESD family: encoder.0.bias"):
        load_autoencoder(tmp_path)


def test_a_fingerprint_tells_weights_and_scale_apart() -> None:
    prints = {fingerprint(kl()), fingerprint(kl(1)), fingerprint(TinyAutoencoder(width=8))}
    other = kl()
    other.register_to_config(scaling_factor=0.5)
    assert len(prints | {fingerprint(other)}) == 4
    assert fingerprint(kl()) == fingerprint(kl())


def test_what_is_no_autoencoder_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be a folder with a config"):
        load_autoencoder(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"has no config.json, nor one \*_encoder"):
        load_autoencoder(Path(__file__).parent)
    weights = load_file(folder / WEIGHTS)
    save_file({**weights, "more": torch.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(InputError, match="its weights have more"):
        load_autoencoder(folder)
    weights.pop("encoder.conv_in.bias")
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(InputError, match=r"its weights lack encoder.conv_in.bias"):
        load_autoencoder(folder)
    (folder / WEIGHTS).rename(folder / "diffusion_pytorch_model.bin")
    with pytest.raises(InputError, match=r"it has only diffusion_pytorch_model.bin, a pickle"):
        load_autoencoder(folder)
    (folder / "config.json").write_text(json.dumps({"_class_name": "VQModel"}))
    with pytest.raises(InputError, match="is a VQModel; it must be one of AutoencoderKL"):
        load_autoencoder(folder)
