"""Laws of MagicVideo: what frames see of each other, what stands for the text in its two stages, and the rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from tiny import CAPTIONS, FRAMES, MIDDLE, SIZE, batch, evaluated, keys, shake
from torch import Tensor

from videofusion.conditioning.prompt import text_conditions
from videofusion.diffusion.known import Known
from videofusion.digits.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.models import load
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.recipe import Recipe
from videofusion.registry import get_system
from videofusion.systems.build import build_system
from videofusion.systems.magicvideo import ROWS, MagicVideoPipeline, MagicVideoSystem
from videofusion.training.trainer import train

CLIPS = 3
PROMPT = "a red three moving left"
SMALL: dict[str, Any] = {
    "network.patch": 1,
    "network.channels": (8, 16),
    "network.attention": ("none", "transformer"),
    "network.groups": 4,
    "text.size": 16,
    "clips.frames": FRAMES,
    "clips.size": SIZE,
    "clips.two_digits": 0.0,
    "batch.size": 2,
    "batch.frames": None,
    "budget.seconds": None,
    "budget.steps": 2,
    "log.sample_interval": 0,
    "log.validation_batches": 1,
}
SD = {"diffusion.schedule": "scaled_linear", "diffusion.prediction": "eps", "diffusion.weighting": "eps"}


def recipe(**changes: object) -> Recipe:
    return get_recipe("magicvideo-moving-digits", {**SMALL, **changes})


def system_of(**changes: object) -> MagicVideoSystem:
    torch.manual_seed(0)
    system = build_system(recipe(**changes), MovingDigits(FRAMES, SIZE, "train", 0.0))
    assert isinstance(system, MagicVideoSystem)
    return evaluated(system)


def learn(system: MagicVideoSystem, clips: Any, steps: int = 3) -> None:
    optimizer = torch.optim.AdamW(system.parameter_groups(1e-2))
    for step in range(steps):
        optimizer.zero_grad()
        system.loss(clips, keys(CLIPS), step).total.backward()
        optimizer.step()


def seen_by(system: MagicVideoSystem) -> list[list[bool]]:
    """For each frame that the denoiser makes, which noisy frames its values depend on."""
    shake(system.unet)
    told = text_conditions(system.text_encoder, [PROMPT])
    z = torch.randn(1, FRAMES, 3, SIZE, SIZE, requires_grad=True)
    made = system.denoiser(z, torch.tensor([0.5]), replace(told, fps=torch.tensor([8.0]))).x0
    rows = []
    for frame in range(FRAMES):
        (slope,) = torch.autograd.grad(made[:, frame].sum(), z, retain_graph=True)
        rows.append([bool(slope[:, other].any()) for other in range(FRAMES)])
    return rows


@pytest.mark.parametrize("row", ["magicvideo", "magicvideo_no_adaptor"])
def test_earlier_frames_see_nothing_of_later_ones(row: str) -> None:
    seen = seen_by(system_of(**{"network.temporal": row}))
    assert seen == [[other <= frame for other in range(FRAMES)] for frame in range(FRAMES)]


def test_the_bidirectional_ablation_sees_all() -> None:
    assert all(map(all, seen_by(system_of(**{"network.temporal": "magicvideo_bidirectional"}))))


@torch.no_grad()
@pytest.mark.parametrize("row", ROWS)
def test_it_begins_as_its_image_model_frame_by_frame(row: str, tmp_path: Path) -> None:
    image = get_recipe("digit-images", {**SMALL, "clips.frames": 1})
    image = image.replace({"network.attention": SMALL["network.attention"]})
    before = evaluated(build_system(image, MovingDigits(1, SIZE, "train", 0.0)))
    before.pipeline().save_pretrained(tmp_path)
    system = system_of(**{"network.temporal": row, "start.image_model": str(tmp_path)})
    z, t = torch.randn(2, FRAMES, 3, SIZE, SIZE), torch.tensor([0.3, 0.8])
    told = text_conditions(system.text_encoder, [PROMPT, PROMPT])
    whole = system.denoiser(z, t, replace(told, fps=torch.tensor([4.0, 16.0]))).x0
    for i in range(FRAMES):
        alone = before.denoiser(z[:, i : i + 1], t, told).x0
        torch.testing.assert_close(whole[:, i : i + 1], alone, rtol=1e-5, atol=1e-5)


def test_frames_stand_for_the_text_in_the_first_stage_and_captions_in_the_second() -> None:
    clips = batch(CLIPS)
    said = replace(clips, captions=[*reversed(CAPTIONS[:CLIPS])])
    shown = replace(clips, clip=clips.clip.clone())
    for stage in ("frames", "captions"):
        system = system_of(**{"system.stage": stage, "text.dropout": 0.0})
        shake(system.unet)
        first, second = (system.loss(each, keys(CLIPS), 1).per_clip for each in (clips, said))
        assert torch.equal(first, second) == (stage == "frames")
    system = system_of(**{"system.stage": "frames", "text.dropout": 0.0})
    told: list[Tensor] = []
    system.unet.register_forward_pre_hook(lambda _, __, named: told.append(named["text"]), with_kwargs=True)
    for frame in (0, MIDDLE):
        shown.clip[:, frame] *= -1
        system.loss(shown, keys(CLIPS), 1)
    system.loss(clips, keys(CLIPS), 1)
    assert torch.equal(told[0], told[2])  # of the first frame nothing is told
    assert not torch.equal(told[1], told[2])


def test_the_second_stage_goes_on_from_the_first(tmp_path: Path) -> None:
    first = system_of(**{"system.stage": "frames"})
    learn(first, batch(CLIPS))
    first.pipeline().save_pretrained(tmp_path)
    then = system_of(**{"start.model": str(tmp_path)})
    assert set(then.modules) == {"unet", "text_encoder"}
    assert all(torch.equal(a, b) for a, b in zip(first.unet.parameters(), then.unet.parameters(), strict=True))
    on = system_of(**{"system.stage": "frames", "start.model": str(tmp_path)})
    for name, value in on.modules["image_encoder"].state_dict().items():
        assert torch.equal(value, first.modules["image_encoder"].state_dict()[name]), name


@torch.no_grad()
def test_the_rate_is_heard_once_it_was_trained() -> None:
    system = system_of(**{"text.dropout": 0.0})
    clips = replace(batch(CLIPS), fps=torch.tensor([2.0, 8.0, 24.0]))
    pipe = system.pipeline()

    def make(fps: float) -> Tensor:
        return pipe(PROMPT, seed=1, steps=2, fps=fps)

    assert torch.equal(make(2.0), make(24.0))
    with torch.enable_grad():
        learn(system, clips)
    assert not torch.allclose(make(2.0), make(24.0))


@torch.no_grad()
def test_a_saved_model_makes_the_same_clips(tmp_path: Path) -> None:
    for stage in ("frames", "captions"):
        system = system_of(**{"system.stage": stage})
        shake(system.unet)
        pipe = system.pipeline()
        pipe.save_pretrained(tmp_path / stage)
        again = load(tmp_path / stage, device="cpu")
        assert type(again) is MagicVideoPipeline
        known = None if stage == "captions" else Known(batch(1).clip[0, MIDDLE : MIDDLE + 1], (MIDDLE,))
        if known is not None:
            with pytest.warns(UserWarning, match="ignores the prompt"):
                one, other = (each(PROMPT, seed=1, steps=2, guidance=2.0, known=known) for each in (pipe, again))
        else:
            one, other = (each(PROMPT, seed=1, steps=2, guidance=2.0) for each in (pipe, again))
        assert torch.equal(one, other)


def test_clips_without_captions_then_captions_then_clips(tmp_path: Path) -> None:
    train(recipe(**{"system.stage": "frames"}), tmp_path / "frames", device="cpu", bar=False)
    start = {"start.model": str(tmp_path / "frames")}
    result = train(recipe(**start), tmp_path / "captions", device="cpu", bar=False)
    assert load(result.model, device="cpu")(PROMPT, steps=1).shape == (FRAMES, 3, SIZE, SIZE)


@pytest.fixture
def theirs(saved_base: Path, saved_text: Path) -> dict[str, object]:
    """Keys of a recipe that starts from a little Stable Diffusion."""
    return {**SD, "start.image_model": str(saved_base), "text.encoder": str(saved_text)}


@torch.no_grad()
def test_stable_diffusion_is_inflated_as_it_is(theirs: dict[str, object]) -> None:
    system = system_of(**theirs)
    model = UNet2DConditionModel.from_pretrained(Path(str(theirs["start.image_model"])) / "unet").eval()
    clip, text = torch.randn(2, FRAMES, 3, SIZE, SIZE), torch.randn(2, 5, 16)
    whole = system.unet(clip, torch.full((2,), 700.0), text=text, fps=torch.tensor([4.0, 16.0]))
    for i in range(FRAMES):
        torch.testing.assert_close(whole[:, i], model(clip[:, i], 700, text).sample, rtol=1e-4, atol=1e-5)


def saved_vision(folder: Path, size: int) -> str:
    transformers = pytest.importorskip("transformers", reason="transformers is not here (the extra clip brings it)")
    torch.manual_seed(0)
    layers = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPVisionConfig(**layers, image_size=8, patch_size=4, projection_dim=size)
    transformers.CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return str(folder)


def test_clip_embeds_the_frames_and_is_not_trained(tmp_path: Path) -> None:
    clip = saved_vision(tmp_path / "clip", 16)
    system = system_of(**{"system.stage": "frames", "system.image_encoder": clip})
    assert set(system.frozen) == {"image_encoder"}
    before = {name: value.clone() for name, value in system.frozen["image_encoder"].state_dict().items()}
    learn(system, batch(CLIPS))
    assert all(torch.equal(value, before[name]) for name, value in system.frozen["image_encoder"].state_dict().items())
    system.pipeline().save_pretrained(tmp_path / "model")
    with pytest.warns(UserWarning, match="ignores the prompt"):
        assert load(tmp_path / "model", device="cpu")(PROMPT, steps=1).shape == (FRAMES, 3, SIZE, SIZE)
    other = saved_vision(tmp_path / "other", 12)
    with pytest.raises(InputError, match="have the size 12, but they stand in for text of the size 16"):
        system_of(**{"system.stage": "frames", "system.image_encoder": other})


def test_what_does_not_go_together_is_told() -> None:
    with pytest.raises(InputError, match=r"network.temporal is 'factorised', and the system 'magicvideo' has its own"):
        system_of(**{"network.temporal": "factorised"})
    with pytest.raises(InputError, match="goes with stage=frames only"):
        recipe(**{"system.image_encoder": "clip"})


@pytest.mark.parametrize("name", ["magicvideo-moving-digits", "magicvideo-folder64"])
def test_its_recipes_name_it(name: str) -> None:
    found = get_recipe(name)
    assert get_system(found.system.name) is MagicVideoSystem
    assert found.network.temporal == "magicvideo"
