"""Systems in the latents of an autoencoder: they train there, and their pipelines come back to pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import batch, by_part, keys, shake, unet, words

import videofusion
from videofusion.conditioning.motion import Motion
from videofusion.conditioning.prompt import Prompt
from videofusion.diffusion.conditions import Conditions
from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.networks.autoencoder import Latents
from videofusion.networks.fingerprints import fingerprint
from videofusion.networks.unet import UNet
from videofusion.systems.vdm import VDMConfig, VDMSystem
from videofusion.systems.videofusion import VideoFusionConfig, VideoFusionSystem

SHAPE = (5, 16, 16)  # of the clips: their latents are 8x8
ASKED = {"seed": 3, "steps": 2}


def latent_unet(temporal: str, seen: int) -> UNet:
    settings = {key: value for key, value in unet(temporal).config.items() if not key.startswith("_")}
    network = UNet(**{**settings, "in_channels": seen, "out_channels": 4})
    shake(network)
    return network


@pytest.fixture(params=["vdm", "videofusion"])
def system(request: pytest.FixtureRequest, saved_vae: Path) -> VDMSystem | VideoFusionSystem:
    torch.manual_seed(0)
    vae = load_autoencoder(saved_vae)
    if request.param == "vdm":
        config, common = by_part(VDMConfig, {"shape": SHAPE, "vae": vae})
        return VDMSystem(latent_unet("factorised", 4), [Prompt(words())], config, common)
    config, common = by_part(VideoFusionConfig, {"shape": SHAPE, "vae": vae, "share": 0.5, "variant": "image-first"})
    told = [Prompt(words()), Motion(0.5, None, 0.0)]
    return VideoFusionSystem(latent_unet("image", 4), latent_unet("residual", 8), told, config, common)


def test_a_pipeline_decodes_what_it_made_and_comes_back_from_its_folder(
    system: VDMSystem | VideoFusionSystem, saved_vae: Path, tmp_path: Path
) -> None:
    for part in system.modules.values():
        part.eval()
    pipe = system.pipeline()
    pipe.set_progress_bar_config(disable=True)
    latents, clip = (pipe("a red three", **ASKED, output=output) for output in ("latent", "clip"))
    assert (latents.shape, clip.shape) == ((5, 4, 8, 8), (5, 3, 16, 16))
    assert torch.equal(pipe.decode(latents), clip)
    assert torch.equal(Latents(load_autoencoder(saved_vae)).decode(latents), clip)
    pipe.save_pretrained(tmp_path)
    assert fingerprint(load_autoencoder(tmp_path)) == fingerprint(load_autoencoder(saved_vae))
    again = videofusion.load(tmp_path, device="cpu")
    assert torch.equal(again.decode(latents), clip)
    torch.testing.assert_close(again("a red three", **ASKED), clip, rtol=0, atol=1e-5)  # weights lie otherwise
    with pytest.raises(InputError, match="size is 18x16; both must be multiples of 4"):
        pipe("a red three", height=18)
    with pytest.raises(InputError, match="output is 'pixels'"):
        pipe("a red three", output="pixels")


def test_the_autoencoder_is_no_part_of_what_is_trained(system: VDMSystem | VideoFusionSystem) -> None:
    assert list(system.frozen) == ["vae"]
    assert "vae" not in system.modules
    clip = system.space.encode(torch.sin(torch.arange(4 * 5 * 3 * 256.0)).reshape(4, 5, 3, 16, 16))
    loss = system.loss(replace(batch(), clip=clip), keys(), 1)
    loss.total.backward()
    assert loss.per_clip.isfinite().all()
    assert all(p.grad is None and not p.requires_grad for p in system.frozen["vae"].parameters())


def test_the_middle_frame_is_cut_to_its_range_in_pixels_only(system: VDMSystem | VideoFusionSystem) -> None:
    if not isinstance(system, VideoFusionSystem):
        pytest.skip("it is shown no middle frame")
    pipe = system.pipeline()
    five = torch.full((1, 1, 4, 8, 8), 5.0)
    for vae, most in ((system.frozen["vae"], 5), (None, 1)):
        pipe.register_modules(vae=vae)
        found = pipe.complete(Conditions(), keys(1), 1.0, lambda denoiser, frames, told: five)
        assert found.middle_frame is not None
        assert found.middle_frame.max() == most
