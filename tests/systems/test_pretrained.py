"""Image models of diffusers as base generators: named in a recipe, trained beside, and kept in the pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel, UNet2DModel

import videofusion as vf
from videofusion.data.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.systems.build import build_system
from videofusion.systems.pretrained import is_diffusers
from videofusion.systems.videofusion import VideoFusionSystem
from videofusion.training.recipe import Recipe
from videofusion.training.recipes import get_recipe
from videofusion.training.sizes import recipe_parts
from videofusion.training.trainer import train

SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
AS_THEIRS = {"schedule": "scaled_linear", "prediction": "eps", "weighting": "eps", "residual_from_base": False}


def saved(folder: Path, model: torch.nn.Module, **scheduler: object) -> Path:
    model.save_pretrained(folder / "unet")
    DDIMScheduler(**{**SCALED, **scheduler}).save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A model of pictures that is told nothing."""
    torch.manual_seed(0)
    model = UNet2DModel(
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
    )
    return saved(tmp_path / "pictures", model)


def conditional(folder: Path, channels: int, **options: object) -> Path:
    torch.manual_seed(0)
    model = UNet2DConditionModel(
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=16,
        **options,
    )
    return saved(folder, model)


def recipe(folder: Path, **changes: object) -> Recipe:
    keys = {**AS_THEIRS, "pretrained_base": str(folder), "base_loss": "fixed", "sample_interval": 0, **changes}
    return get_recipe("tiny", keys)


def test_is_the_base_with_the_very_predictions(pictures: Path) -> None:
    system = build_system(recipe(pictures), MovingDigits(4, 16, "train"))
    assert isinstance(system, VideoFusionSystem)
    theirs = UNet2DModel.from_pretrained(pictures / "unet").eval()
    z, n = torch.randn(2, 1, 3, 16, 16), 700
    time = system.denoiser.schedule.network_time(torch.full((2,), (n + 1) / 1000, dtype=torch.float64))
    with torch.no_grad():
        torch.testing.assert_close(system.base.eval()(z, time)[:, 0], theirs(z[:, 0], n).sample, rtol=1e-4, atol=1e-5)
    assert (system.schedule, system.prediction) == ("scaled_linear", "eps")
    assert not any(parameter.requires_grad for parameter in system.base.parameters())
    counted = {part.name: part.frozen for part in recipe_parts(recipe(pictures))}
    assert counted["base"] == sum(parameter.numel() for parameter in theirs.parameters())


def test_is_trained_beside_and_kept_in_the_pipeline(pictures: Path, tmp_path: Path) -> None:
    found = train(recipe(pictures, steps=2, workers=0), tmp_path / "run", bar=False, device="cpu")
    pipe = vf.load(found.model, device="cpu")
    theirs = UNet2DModel.from_pretrained(pictures / "unet")
    assert torch.equal(pipe.base.conv_in.weight, theirs.conv_in.weight)
    assert pipe("a red three", seed=0, steps=2).shape == (4, 3, 16, 16)
    again = train(recipe(pictures, steps=3, workers=0), tmp_path / "run", bar=False, device="cpu")
    assert again.step == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedule": "cosine"}, "set schedule=scaled_linear prediction=eps"),
        ({"prediction": "v"}, "set schedule=scaled_linear prediction=eps"),
        ({"residual_from_base": True}, "residual_from_base needs generators of the same channels"),
    ],
)
def test_what_does_not_suit_it_is_said_with_what_to_set(pictures: Path, changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_system(recipe(pictures, **changes), MovingDigits(4, 16, "train"))


def test_what_it_has_to_be_told_must_be_there(tmp_path: Path, saved_vae: Path) -> None:
    data = MovingDigits(4, 16, "train")
    reads = conditional(tmp_path / "reads", 3)
    with pytest.raises(InputError, match=r"embeddings of size 16; set text_encoder=.*reads text_dim=16"):
        build_system(recipe(reads), data)
    latents = conditional(tmp_path / "latents", 4)
    with pytest.raises(InputError, match=r"the recipe works in pixels; set autoencoder=.*latents if it has"):
        build_system(recipe(latents), data)
    classes = conditional(tmp_path / "classes", 3, num_class_embeds=5)
    with pytest.raises(InputError, match="has to be told class numbers"):
        build_system(recipe(classes), data)
    assert is_diffusers(reads)
    assert not is_diffusers(None)
    assert not is_diffusers(tmp_path)


def test_latents_and_texts_of_one_pipeline(tmp_path: Path, saved_vae: Path, saved_text: Path) -> None:
    folder = conditional(tmp_path / "sd", 4)
    keys = {"autoencoder": str(saved_vae), "text_encoder": str(saved_text), "text_dim": 16, "steps": 2, "workers": 0}
    found = train(recipe(folder, **keys), tmp_path / "run", bar=False, device="cpu")
    theirs = UNet2DConditionModel.from_pretrained(folder / "unet")
    pipe = vf.load(found.model, device="cpu")
    assert torch.equal(pipe.base.conv_in.weight, theirs.conv_in.weight)
    assert pipe("abc", seed=0, steps=2).shape == (4, 3, 16, 16)
