"""VideoFusion with Stable Diffusion XL as its base generator: two text encoders, a pooled text, and sizes."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import videofusion as vf
from videofusion.conditioning.condition import Step, told_in_training
from videofusion.conditioning.prompt_encoder import PromptEncoder
from videofusion.digits.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.interop.image_model import load_image_model
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.image_base import on_image_model
from videofusion.systems.build import build_system
from videofusion.systems.videofusion import VideoFusionSystem
from videofusion.training.trainer import training_keys

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))
import tiny_folders as tiny

FRAMES, SIDE, KEYS = 3, 16, training_keys(0, [0])
SMALL = {"clips.size": SIDE, "clips.frames": FRAMES, "system.share": 0.5, "compute.gradient_checkpointing": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.xl_pipeline(), tmp_path_factory.mktemp("xl") / "model")


@pytest.fixture(scope="module")
def digits() -> MovingDigits:
    return MovingDigits(FRAMES, SIDE, "train", 0.0)


@pytest.fixture
def system(folder: Path, digits: MovingDigits) -> VideoFusionSystem:
    torch.manual_seed(0)
    made = build_system(on_image_model(get_recipe("tiny"), folder).replace(SMALL), digits)
    assert isinstance(made, VideoFusionSystem)
    return made


@torch.no_grad()
def test_the_base_is_told_in_training_what_the_image_model_is_told(
    system: VideoFusionSystem, folder: Path, digits: MovingDigits
) -> None:
    batch = replace(digits.batch([0], 0, 0), captions=["a cat"])
    latents = system.space.encode(batch.clip)
    step = Step(number=1, frames=range(FRAMES))
    told = told_in_training(system.conditions, replace(batch, clip=latents), KEYS, step)
    model = load_image_model(folder)
    expected = model.prompts.embed(batch.captions)
    assert told.text is not None
    assert expected.pooled is not None
    torch.testing.assert_close(told.text, expected.text)
    torch.testing.assert_close(told.pooled_text, expected.pooled)
    assert told.time_ids is not None
    assert told.time_ids.tolist() == [[SIDE, SIDE, 0, 0, SIDE, SIDE]]
    time = torch.tensor([500.0])
    own = {"text": told.text, "pooled_text": told.pooled_text, "time_ids": told.time_ids}
    torch.testing.assert_close(system.base(latents[:, :1], time, **own), model.unet(latents[:, :1], time, **own))
    for name in own:  # each matters
        other = own | {name: 2 * own[name]}  # type: ignore[operator]
        assert not torch.allclose(system.base(latents[:, :1], time, **other), system.base(latents[:, :1], time, **own))


def test_learns_and_is_saved_and_makes_the_same_again(
    system: VideoFusionSystem, digits: MovingDigits, tmp_path: Path
) -> None:
    batch = digits.batch([0], 0, 0)
    batch = replace(batch, clip=system.space.encode(batch.clip))
    system.loss(batch, KEYS, 8).total.backward()
    assert all(parameter.grad is not None for parameter in system.base.parameters())
    assert all(parameter.grad is None for part in system.frozen.values() for parameter in part.parameters())
    pipe = system.pipeline()
    for network in pipe.networks:
        network.eval()
    assert pipe.config.zero_null
    asked = {"steps": 2, "seed": 1, "guidance": 2.0}
    made = pipe("a red three", **asked)
    pipe.save_pretrained(tmp_path / "model")
    assert torch.equal(vf.load(tmp_path / "model", device="cpu")("a red three", **asked), made)


def test_captions_are_read_as_they_are(folder: Path) -> None:
    plain, captions = (
        PromptEncoder(load_image_model(folder).prompts.encoders, penultimate=True, zero_null=True, captions=captions)
        for captions in (False, True)
    )
    assert torch.equal(captions.embed(["a cat"]).text, plain.embed(["a cat"]).text)
    assert not torch.equal(captions.embed(["(a cat:1.5)"]).text, plain.embed(["(a cat:1.5)"]).text)
    long = " ".join(["cat"] * 2000)
    assert captions.embed([long]).text.shape[1] == captions.length
    with pytest.raises(InputError, match="chunks"):
        plain.embed([long])
    told = captions.conditions(["a cat", ""])
    assert told.text is not None
    assert told.pooled_text is not None
    assert told.text[1].abs().max() == told.pooled_text[1].abs().max() == 0  # dropped captions: XL's own null
    assert told.text[0].abs().max() > 0


def test_other_systems_say_what_they_lack(folder: Path) -> None:
    with pytest.raises(InputError, match="the system 'vdm' has neither"):
        on_image_model(get_recipe("vdm-folder64"), folder)
