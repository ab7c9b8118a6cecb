"""VideoFusion with an image transformer of diffusers as its base generator."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import videofusion as vf
from videofusion.data.batch import Batch
from videofusion.digits.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.networks.image_transformer import ImageTransformer
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.image_base import on_image_model
from videofusion.systems.build import build_system
from videofusion.systems.decomposed import VARIANTS
from videofusion.systems.videofusion import VideoFusionSystem
from videofusion.training.estimate.sizes import recipe_parts
from videofusion.training.trainer import training_keys

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))
import tiny_folders as tiny
import tiny_transformers as transformers

KINDS = tuple(transformers.PIPELINES)
FRAMES, SIDE, KEYS = 3, 16, training_keys(0, [0])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("bases")
    return {name: tiny.save(make(), place / name) for name, make in transformers.PIPELINES.items()}


@pytest.fixture(scope="module")
def digits() -> MovingDigits:
    return MovingDigits(FRAMES, SIDE, "train", 0.0)


def built(folder: Path, digits: MovingDigits, **keys: Any) -> tuple[VideoFusionSystem, Batch]:
    """The system of a recipe on a folder, and a clip where it lives."""
    small = {
        "clips.size": SIDE,
        "clips.frames": FRAMES,
        "network.blocks": 1,
        "system.share": 0.5,
        "compute.gradient_checkpointing": False,
    }
    torch.manual_seed(0)
    # as the catalogue's "videofusion" where the folder has no say
    system = build_system(on_image_model(get_recipe("tiny"), folder).replace({**small, **keys}), digits)
    assert isinstance(system, VideoFusionSystem)
    assert isinstance(system.base, ImageTransformer)
    clips = digits.batch([0], 0, 0)
    return system, replace(clips, clip=system.space.encode(clips.clip))


CASES = [*zip(VARIANTS, ("flux", "sd3", "pixart", "pixart", "sana"), strict=True)]
MORE = [case for kind in KINDS for variant in VARIANTS if (case := (variant, kind)) not in CASES]


@pytest.mark.parametrize(("variant", "kind"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in MORE)])
def test_every_variant_learns(variant: str, kind: str, folders: dict[str, Path], digits: MovingDigits) -> None:
    system, batch = built(folders[kind], digits, **{"system.variant": variant})
    optimiser = torch.optim.Adam(system.parameter_groups(2e-3))
    losses = []
    for _ in range(8):
        loss = system.loss(batch, KEYS, 8).total  # the same times and noise every time
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert all(torch.tensor(losses).isfinite())
    assert losses[-1] < 0.95 * losses[0]
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in system.base.parameters())
    assert all(parameter.grad is None for part in system.frozen.values() for parameter in part.parameters())


@pytest.mark.parametrize("how", ["fixed", "lora"])
def test_gradients_reach_only_what_is_trained(how: str, folders: dict[str, Path], digits: MovingDigits) -> None:
    keys = {"system.base_loss": "fixed"} if how == "fixed" else {"start.trains": "lora", "start.lora_rank": 2}
    system, batch = built(folders["sd3"], digits, **keys)
    system.loss(batch, KEYS, 8).total.backward()
    reached = {name for name, each in system.base.named_parameters() if each.grad is not None}
    assert reached == {name for name, _ in system.base.named_parameters() if "lora_" in name}
    assert bool(reached) == (how == "lora")
    assert all(each.grad is not None for name, each in system.residual.named_parameters() if "conv_in" in name)
    assert ("base" in system.frozen) == (how == "fixed")


@torch.no_grad()
def test_frames_that_share_all_noise_are_the_base_generators_picture(
    folders: dict[str, Path], digits: MovingDigits
) -> None:
    system, batch = built(folders["flux"], digits, **{"system.variant": "framewise"})
    told = system.conditions[0].train(batch, KEYS, _step())
    t, share = torch.tensor([0.7]), torch.ones(1, FRAMES)
    z = torch.randn(1, 1, *batch.clip.shape[2:]).expand_as(batch.clip)
    found = system.denoiser(z, t, replace(told, share=share)).x0
    picture = system.denoiser.base(z[:, :1], t, told).x0
    torch.testing.assert_close(found, picture.expand_as(found), rtol=1e-5, atol=1e-5)


def _step() -> Any:
    from videofusion.conditioning.condition import Step

    return Step(number=1, frames=range(FRAMES))


@pytest.mark.parametrize(("kind", "variant"), [("sd3", "joint"), ("sana", "published")])
def test_a_model_is_saved_without_pickles_and_makes_the_same_again(
    kind: str, variant: str, folders: dict[str, Path], digits: MovingDigits, tmp_path: Path
) -> None:
    system, _ = built(folders[kind], digits, **{"system.variant": variant})
    pipe = system.pipeline()
    for network in pipe.networks:
        network.eval()
    asked = {"steps": 2, "seed": 1, "guidance": 2.0}
    made = pipe("a red three", **asked)
    assert made.shape == (FRAMES, 3, SIDE, SIDE)
    pipe.save_pretrained(tmp_path / "model")
    assert not [file for file in (tmp_path / "model").rglob("*") if file.suffix in (".bin", ".pt", ".ckpt", ".pkl")]
    assert torch.equal(vf.load(tmp_path / "model", device="cpu")("a red three", **asked), made)


def test_is_counted_without_its_weights(folders: dict[str, Path], digits: MovingDigits) -> None:
    recipe = on_image_model(get_recipe("tiny"), folders["sana"]).replace({"clips.size": SIDE, "network.blocks": 1})
    parts = {part.name: part for part in recipe_parts(recipe)}
    system, _ = built(folders["sana"], digits)
    assert parts["base"].trained == sum(each.numel() for each in system.base.parameters())


def test_what_a_recipe_on_a_transformer_cannot_have_is_said(folders: dict[str, Path], digits: MovingDigits) -> None:
    for keys, sentence in (
        ({"system.residual_from_base": True}, "residual_from_base is True, but the base is a PixArt"),
        ({"diffusion.prediction": "v"}, "predicts eps by the schedule linear"),
        ({"text.size": 16}, "size"),
        ({"clips.size": 18}, "both must be multiples of|takes height and width"),
    ):
        with pytest.raises(InputError, match=sentence):
            built(folders["pixart"], digits, **keys)
    recipe = on_image_model(get_recipe("vdm-folder64"), folders["pixart"])
    with pytest.raises(InputError, match="takes no temporal layers; it can be the base generator"):
        build_system(recipe.replace({"clips.size": SIDE, "clips.frames": FRAMES}), digits)
