"""Stable Video Diffusion's parts as diffusers has them: the same numbers, weights by name, or a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_folders as tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import videofusion as vf
from videofusion.conditioning.image import SquashedFrames
from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.interop.stable_video import load_stable_video, stable_video_config, stable_video_unet
from videofusion.networks.autoencoder import TemporalLatents, space_of


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.stable_video_pipeline(), tmp_path_factory.mktemp("svd") / "svd")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "svd"))


def change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {  # a transformer at the coarsest level too, two blocks a level, three levels
            "block_out_channels": (32, 32, 64),
            "down_block_types": ("DownBlockSpatioTemporal", *("CrossAttnDownBlockSpatioTemporal",) * 2),
            "up_block_types": (*("CrossAttnUpBlockSpatioTemporal",) * 2, "UpBlockSpatioTemporal"),
            "layers_per_block": 2,
            "num_attention_heads": (1, 2, 4),
        },
    ],
)
@torch.no_grad()
def test_the_network_is_theirs_exactly(options: dict[str, Any]) -> None:
    theirs = tiny.stable_video_unet(**options).double()
    ours = stable_video_unet(theirs).double()
    z, time, text = torch.randn(2, 3, 8, 8, 8), torch.tensor([1.2, -0.3]), torch.randn(2, 1, 24)
    numbers = torch.tensor([[6.0, 127.0, 0.02], [3.0, 20.0, 0.1]])
    told = [each.double() for each in (z, time, text, numbers)]
    found = ours(told[0], told[1], text=told[2], numbers=told[3])
    # in float64: in float32 other epsilons of norms would pass for rounding
    assert error(found, theirs(*told).sample) < 1e-10
    assert len(ours.state_dict()) == len(theirs.state_dict())


def test_one_token_is_looked_at_without_a_question() -> None:
    ours = stable_video_unet(tiny.stable_video_unet())
    told = {"text": torch.randn(2, 1, 24), "numbers": torch.randn(2, 3)}
    z, time = torch.randn(2, 3, 8, 8, 8), torch.tensor([1.0, 0.0])
    with torch.no_grad():
        short = ours(z, time, **told)
    assert error(short, ours(z, time, **told).detach()) < 1e-5


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"_class_name": "UNet3DConditionModel"}, "it must be UNetSpatioTemporalConditionModel"),
        ({"transformer_layers_per_block": 2}, "transformer_layers_per_block is 2; our U-Net has it as 1 only"),
        ({"addition_time_embed_dim": 32}, "addition_time_embed_dim is 32"),
        ({"projection_class_embeddings_input_dim": 512}, "projection_class_embeddings_input_dim is 512"),
        ({"act_fn": "gelu"}, "act_fn is 'gelu'"),
    ],
)
def test_what_ours_does_not_have(values: dict[str, Any], said: str) -> None:
    config = {"_class_name": "UNetSpatioTemporalConditionModel", **tiny.stable_video_unet().config}
    assert stable_video_config(config)["temporal"] == "svd"
    with pytest.raises(InputError, match=said):
        stable_video_config(config | values)


@torch.no_grad()
def test_the_autoencoder_decodes_some_frames_of_a_clip_at_once(folder: Path) -> None:
    vae = load_autoencoder(folder)
    space = space_of(vae, 2)
    assert isinstance(space, TemporalLatents)
    clip = torch.rand(2, 5, 3, 8, 8) * 2 - 1
    latents = space.encode(clip)
    expected = vae.encode(clip.flatten(0, 1)).latent_dist.mode().unflatten(0, (2, 5))
    assert error(space.unscaled(latents), expected) < 1e-5
    parts = [vae.decode(part, num_frames=len(part)).sample for whole in expected for part in whole.split(2)]
    decoded = torch.cat(parts).unflatten(0, (2, 5)).clamp(-1, 1)
    assert error(space.decode(latents), decoded) < 1e-5
    assert error(space.decode(latents[1]), decoded[1]) < 1e-5
    assert error(space_of(vae, 5).decode(latents), decoded) > 1e-3  # frames that are decoded together see each other
    with pytest.raises(InputError, match="this autoencoder takes b t 4 h w"):
        space.decode(latents[:, :, :3])


@torch.no_grad()
def test_its_decoder_takes_large_frames_in_tiles(folder: Path) -> None:
    vae = load_autoencoder(folder)
    latents = torch.randn(1, 3, 4, 24, 40)
    whole, tiled = space_of(vae).decode(latents), space_of(vae, tile=32).decode(latents)
    sizes: list[torch.Size] = []
    vae.decoder.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape))
    assert torch.equal(space_of(vae, tile=32).decode(latents), tiled)
    assert {size[-2:] for size in sizes} == {(32 // 2, 32 // 2)}
    away = (tiled - whole).square().mean().sqrt() / whole.square().mean().sqrt()
    assert 0 < away < 0.15, away  # group norm and attention see a tile, not the whole


@pytest.mark.parametrize("size", [(300, 500), (224, 224), (40, 64)])
@torch.no_grad()
def test_pictures_are_squashed_as_theirs_are(size: tuple[int, int]) -> None:
    from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion as theirs

    picture = torch.rand(1, 3, *size) * 2 - 1
    expected = (theirs._resize_with_antialiasing(picture, (224, 224)) + 1) / 2
    assert error(SquashedFrames(tiny.image_encoder())._square(picture), expected) < 1e-5


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("vae", {"latent_channels": 3}, "with the latents of .*vae, which have 3, it must be 6 and 3"),
        ("image_encoder", {"projection_dim": 16}, r"gives embeddings 16 wide \(projection_dim\), but .* reads 24"),
        ("unet", {"num_frames": 1}, r"num_frames is 1; it must be in \[2, 4096\]"),
        ("unet", {"block_out_channels": 32}, "unet.config.json is not as diffusers writes it"),
        ("vae", {"_class_name": "AutoencoderKL"}, "is that of a AutoencoderKL; expected was AutoencoderKLTemporalDec"),
    ],
)
def test_parts_that_do_not_suit_each_other(copy: Path, part: str, values: dict[str, Any], said: str) -> None:
    change(copy / part / "config.json", **values)
    with pytest.raises(InputError, match=said):
        load_stable_video(copy)


def test_a_folder_that_is_not_whole(copy: Path) -> None:
    file = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights.pop("conv_in.bias")
    save_file(weights, file)
    with pytest.raises(InputError, match=r"the weights lack conv_in\.bias"):
        vf.load(copy)
    shutil.rmtree(copy / "image_encoder")
    with pytest.raises(InputError, match=r"image_encoder.config\.json is missing; expected was .* CLIPVisionModelWith"):
        vf.load(copy)
    change(copy / "model_index.json", image_encoder=[None, None])
    with pytest.raises(InputError, match="names no image_encoder; expected was one of CLIPVisionModelWithProjection"):
        vf.load(copy)
    with pytest.raises(InputError, match=r"system is 'controlvideo', but .* is a video model"):
        vf.load(copy, system="controlvideo")
    with pytest.raises(InputError, match=r"low_memory is True, but .* is a video model"):
        vf.load(copy, low_memory=True)
