"""Image models of diffusers as base generators: named in a recipe, trained beside, and kept in the pipeline."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel, UNet2DModel

import videofusion as vf
from videofusion.digits.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.networks.inflation import inflated
from videofusion.networks.temporal import TEMPORAL_DESIGNS
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.recipe import Recipe
from videofusion.systems.build import build_system
from videofusion.systems.pretrained import is_diffusers
from videofusion.systems.videofusion import VideoFusionSystem
from videofusion.training.estimate.sizes import recipe_parts
from videofusion.training.trainer import train

SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
AS_THEIRS = {"diffusion.schedule": "scaled_linear", "diffusion.prediction": "eps", "diffusion.weighting": "eps"}


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
    fusion = {"system.residual_from_base": False, "system.base_loss": "fixed"} if "system" not in changes else {}
    keys = {**AS_THEIRS, **fusion, "start.image_model": str(folder), "log.sample_interval": 0, **changes}
    return get_recipe("tiny", keys)


def test_is_the_base_with_the_very_predictions(pictures: Path) -> None:
    system = build_system(recipe(pictures), MovingDigits(4, 16, "train"))
    assert isinstance(system, VideoFusionSystem)
    theirs = UNet2DModel.from_pretrained(pictures / "unet").eval()
    z, n = torch.randn(2, 1, 3, 16, 16), 700
    time = system.denoiser.schedule.network_time(torch.full((2,), (n + 1) / 1000, dtype=torch.float64))
    with torch.no_grad():
        torch.testing.assert_close(system.base.eval()(z, time)[:, 0], theirs(z[:, 0], n).sample, rtol=1e-4, atol=1e-5)
    assert (system.common.schedule, system.common.prediction) == ("scaled_linear", "eps")
    assert not any(parameter.requires_grad for parameter in system.base.parameters())
    counted = {part.name: part.frozen for part in recipe_parts(recipe(pictures))}
    assert counted["base"] == sum(parameter.numel() for parameter in theirs.parameters())


def test_is_trained_beside_and_kept_in_the_pipeline(pictures: Path, tmp_path: Path) -> None:
    found = train(
        recipe(pictures, **{"budget.steps": 2, "batch.workers": 0}), tmp_path / "run", bar=False, device="cpu"
    )
    pipe = vf.load(found.model, device="cpu")
    theirs = UNet2DModel.from_pretrained(pictures / "unet")
    assert torch.equal(pipe.base.conv_in.weight, theirs.conv_in.weight)
    assert pipe("a red three", seed=0, steps=2).shape == (4, 3, 16, 16)
    again = train(
        recipe(pictures, **{"budget.steps": 3, "batch.workers": 0}), tmp_path / "run", bar=False, device="cpu"
    )
    assert again.step == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"diffusion.schedule": "cosine"}, "set diffusion.schedule=scaled_linear diffusion.prediction=eps"),
        ({"diffusion.prediction": "v"}, "set diffusion.schedule=scaled_linear diffusion.prediction=eps"),
    ],
)
def test_what_does_not_suit_it_is_said_with_what_to_set(pictures: Path, changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        build_system(recipe(pictures, **changes), MovingDigits(4, 16, "train"))


def test_a_size_that_the_base_takes_and_the_residual_generator_does_not_is_a_sentence(pictures: Path) -> None:
    """The base halves 20 pixels once; with squares of 8 the other cannot."""
    with pytest.raises(InputError, match="size is 20x20; both must be multiples of 16"):
        build_system(recipe(pictures, **{"network.patch": 8, "clips.size": 20}), MovingDigits(4, 20, "train"))


@pytest.mark.parametrize("scale_shift", [False, True])
def test_the_residual_generator_takes_its_sizes_and_weights(
    tmp_path: Path, saved_text: Path, scale_shift: bool
) -> None:
    how = {"resnet_time_scale_shift": "scale_shift" if scale_shift else "default"}
    folder = conditional(tmp_path / "sd", 3, **how)
    keys = {
        "system.residual_from_base": True,
        "text.encoder": str(saved_text),
        "text.size": 16,
        "network.temporal": "residual_joint",
    }
    wanted = recipe(folder, **keys)
    system = build_system(wanted, MovingDigits(4, 16, "train"))
    assert isinstance(system, VideoFusionSystem)
    base, residual = system.base.state_dict(), system.residual
    assert (residual.config.temporal, residual.config.in_channels) == ("residual_joint", 6)
    assert residual.config.scale_shift is scale_shift
    for name, value in residual.spatial_state().items():
        if name != "conv_in.weight":
            assert torch.equal(value, base[name]), name
    assert torch.equal(residual.conv_in.weight[:, :3], base["conv_in.weight"])
    assert not residual.conv_in.weight[:, 3:].any()
    counted = {part.name: part.trained for part in recipe_parts(wanted)}
    assert counted["residual"] == sum(parameter.numel() for parameter in residual.parameters())


@pytest.mark.parametrize(
    "row", [n for n, row in TEMPORAL_DESIGNS.items() if row.begins_as_image and not row.transformer]
)
def test_inflated_it_is_the_image_model_frame_by_frame(pictures: Path, row: str) -> None:
    image = unet_from_diffusers(pictures)
    video = inflated(image, row, fps=True).eval()
    z, time, share = torch.randn(2, 3, 3, 16, 16), torch.tensor([20.0, 700.0]), torch.full((2, 3), 0.5)
    alone = torch.cat([image(z[:, [i]], time) for i in range(3)], dim=1)
    torch.testing.assert_close(video(z, time, share=share), alone, rtol=1e-4, atol=1e-5)


def test_vdm_is_trained_and_sampled_from_it(pictures: Path, tmp_path: Path) -> None:
    keys = {
        "system": "vdm",
        "network.temporal": "factorised",
        "start.trains": "temporal",
        "budget.steps": 2,
        "batch.workers": 0,
    }
    found = train(recipe(pictures, **keys), tmp_path / "run", bar=False, device="cpu")
    pipe = vf.load(found.model, device="cpu")
    theirs = UNet2DModel.from_pretrained(pictures / "unet")
    assert torch.equal(pipe.unet.conv_in.weight, theirs.conv_in.weight)
    assert pipe("a red three", seed=0, steps=2).shape == (4, 3, 16, 16)


@pytest.mark.parametrize(
    ("row", "instead"),
    [("residual", "factorised"), ("residual_coarse", "factorised_coarse"), ("framewise", "factorised")],
)
def test_vdm_with_a_row_that_is_told_a_share_says_what_to_set(row: str, instead: str) -> None:
    with pytest.raises(InputError, match=f"the system 'vdm' has none; set network.temporal={instead}$"):
        build_system(get_recipe("tiny", {"system": "vdm", "network.temporal": row}), MovingDigits(4, 16, "train"))


@pytest.mark.parametrize("damage", ["cut", "missing"])
def test_weights_that_cannot_be_read_are_named(pictures: Path, damage: str) -> None:
    weights = pictures / "unet" / "diffusion_pytorch_model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    if damage == "cut":
        weights.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="safetensors"):
        build_system(recipe(pictures), MovingDigits(4, 16, "train"))


def test_what_it_has_to_be_told_must_be_there(tmp_path: Path, saved_vae: Path) -> None:
    data = MovingDigits(4, 16, "train")
    reads = conditional(tmp_path / "reads", 3)
    with pytest.raises(InputError, match=r"embeddings of size 16; set text.encoder=.*reads text.size=16"):
        build_system(recipe(reads), data)
    latents = conditional(tmp_path / "latents", 4)
    with pytest.raises(InputError, match=r"the recipe works in pixels; set network.autoencoder=.*latents if it has"):
        build_system(recipe(latents), data)
    classes = conditional(tmp_path / "classes", 3, num_class_embeds=5)
    with pytest.raises(InputError, match="has to be told class numbers"):
        build_system(recipe(classes), data)
    assert is_diffusers(reads)
    assert not is_diffusers(None)
    assert not is_diffusers(tmp_path)


def test_latents_and_texts_of_one_pipeline(tmp_path: Path, saved_vae: Path, saved_text: Path) -> None:
    folder = conditional(tmp_path / "sd", 4)
    keys = {
        "network.autoencoder": str(saved_vae),
        "text.encoder": str(saved_text),
        "text.size": 16,
        "budget.steps": 2,
        "batch.workers": 0,
    }
    found = train(recipe(folder, **keys), tmp_path / "run", bar=False, device="cpu")
    theirs = UNet2DConditionModel.from_pretrained(folder / "unet")
    pipe = vf.load(found.model, device="cpu")
    assert torch.equal(pipe.base.conv_in.weight, theirs.conv_in.weight)
    assert pipe("abc", seed=0, steps=2).shape == (4, 3, 16, 16)
