"""Laws of Make-A-Video: it begins as its image model, learns motion alone, hears no caption and sees given frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from videofusion.data.batch import Batch
from videofusion.diffusion import Keys
from videofusion.diffusion.known import Known
from videofusion.digits.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.models import load
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.recipe import Recipe
from videofusion.systems.build import build_system
from videofusion.systems.make_a_video import MakeAVideoPipeline, MakeAVideoSystem, shown_frames
from videofusion.training.trainer import train

FRAMES, SIZE, CLIPS = 5, 8, 3
PROMPT = "a red three moving left"
SMALL: Mapping[str, object] = {
    "network.channels": (8, 16),
    "network.attention": ("none", "transformer"),
    "network.groups": 4,
    "network.patch": 1,
    "text.size": 16,
    "text.dropout": 0.3,
    "clips.size": SIZE,
    "clips.two_digits": 0.0,
    "batch.size": 2,
    "budget.seconds": None,
    "budget.steps": 2,
    "optimizer.warmup": 1,
    "log.sample_interval": 0,
    "log.validation_batches": 1,
}
SD = {"diffusion.schedule": "scaled_linear", "diffusion.prediction": "eps", "diffusion.weighting": "eps"}


def images(**changes: object) -> Recipe:
    return get_recipe("make-a-video-images", {**SMALL, **changes})


def video(start: Path | str | None, **changes: object) -> Recipe:
    start = None if start is None else str(start)
    return get_recipe("make-a-video-digits", {**SMALL, "clips.frames": FRAMES, "start.model": start, **changes})


def system_of(recipe: Recipe, *, rates: bool = False) -> MakeAVideoSystem:
    torch.manual_seed(0)
    if rates:  # as of a folder whose clips are read at several strides
        recipe = recipe.replace({"clips.strides": (1, 2)})
    system = build_system(recipe, MovingDigits(recipe.clips.frames, SIZE, "train", 0.0))
    assert isinstance(system, MakeAVideoSystem)
    for part in system.modules.values():
        part.eval()
    return system


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of an image stage that has learned a little of everything."""
    folder = tmp_path_factory.mktemp("first")
    system = system_of(images())
    optimizer = torch.optim.AdamW(system.parameter_groups(1e-2))
    data = MovingDigits(1, SIZE, "train", 0.0)
    for step in range(3):
        optimizer.zero_grad()
        system.loss(batch_of(data), keys(), step).total.backward()
        optimizer.step()
    system.pipeline().save_pretrained(folder)
    return folder


def batch_of(data: MovingDigits, fps: bool = False) -> Batch:
    samples = [data.sample(i, 0, 0) for i in range(CLIPS)]
    return Batch(
        torch.stack([sample.clip for sample in samples]),
        [sample.caption for sample in samples],
        [sample.name for sample in samples],
        torch.arange(CLIPS),
        fps=torch.tensor([4.0, 8.0, 16.0]) if fps else None,
    )


def clips(fps: bool = False) -> Batch:
    return batch_of(MovingDigits(FRAMES, SIZE, "train", 0.0), fps)


def keys() -> Keys:
    return Keys.of([11 * i + 5 for i in range(CLIPS)])


def weights(system: MakeAVideoSystem) -> dict[str, Tensor]:
    parts = system.modules.items()
    return {f"{part}.{name}": p.detach().clone() for part, module in parts for name, p in module.named_parameters()}


def steps(system: MakeAVideoSystem, batch: Batch, count: int = 3) -> set[str]:
    """Names of the weights that change in a few steps, with decay."""
    before = weights(system)
    optimizer = torch.optim.AdamW(system.parameter_groups(1e-2), weight_decay=0.1)
    for step in range(count):
        optimizer.zero_grad()
        system.loss(batch, keys(), step).total.backward()
        optimizer.step()
    after = weights(system)
    return {name for name in before if not torch.equal(before[name], after[name])}


@torch.no_grad()
def test_it_begins_as_the_image_model_frame_by_frame(first: Path) -> None:
    image, system = load(first, device="cpu").unet, system_of(video(first), rates=True)
    torch.manual_seed(1)
    clip, beside = torch.randn(2, FRAMES, 3, SIZE, SIZE), torch.randn(2, FRAMES, 4, SIZE, SIZE)
    time, embedding = torch.tensor([300.0, 700.0]), torch.randn(2, 16)
    told = {"beside": beside, "fps": torch.tensor([4.0, 16.0])}
    whole = system.unet(clip, time, image_embedding=embedding, **told)
    for i in range(FRAMES):
        alone = image(clip[:, i : i + 1], time, image_embedding=embedding)
        torch.testing.assert_close(whole[:, i : i + 1], alone, rtol=1e-5, atol=1e-5)


def test_the_image_stage_trains_all_but_temporal_layers(first: Path) -> None:
    system = system_of(images(**{"text.train": True}))
    spatial = {f"unet.{name}" for name in system.unet.spatial_state()}
    changed = steps(system, batch_of(MovingDigits(1, SIZE, "train", 0.0)))
    assert {name.split(".")[0] for name in changed} == {"unet", "image_encoder", "prior", "text_encoder"}
    assert {name for name in changed if name.startswith("unet.")} <= spatial


def test_the_video_stage_trains_temporal_layers_and_leaves_the_rest_to_the_bit(first: Path) -> None:
    system = system_of(video(first, **{"text.train": True}), rates=True)
    spatial = {f"unet.{name}" for name in system.unet.spatial_state()}
    held = system.unet.conv_in.weight.detach().clone()[:, :3]
    changed = steps(system, clips(fps=True))
    assert changed & spatial == {"unet.conv_in.weight"}  # which hears what stands beside
    assert torch.equal(system.unet.conv_in.weight[:, :3], held)
    temporal = {name for name in weights(system) if name.startswith("unet.")} - spatial
    assert changed - spatial == temporal


def test_the_video_stage_reads_no_caption(first: Path) -> None:
    batch = clips()
    other = replace(batch, captions=["nothing of it"] * CLIPS)
    losses, slopes = [], []
    for each in (batch, other):
        system = system_of(video(first))
        found = system.loss(each, keys(), 1)
        found.total.backward()
        losses.append(found.per_clip.detach())
        slopes.append([p.grad for p in system.unet.parameters() if p.grad is not None])
    assert torch.equal(*losses)
    assert all(torch.equal(a, b) for a, b in zip(*slopes, strict=True))
    system, data = system_of(images(**{"start.model": str(first)})), batch_of(MovingDigits(1, SIZE, "train", 0.0))
    told = [system.loss(each, keys(), 1).per_clip for each in (data, replace(data, captions=["a"] * CLIPS))]
    assert not torch.equal(*told)  # which the prior of the image stage learns from


@torch.no_grad()
def test_frames_are_shown_in_training_and_the_rate_is_told(first: Path) -> None:
    system, seen = system_of(video(first), rates=True), []
    system.unet.register_forward_pre_hook(lambda _, args, told: seen.append(told), with_kwargs=True)
    batch = clips(fps=True)
    for step in range(40):
        system.loss(batch, keys(), step)
    masks = {tuple(mask.nonzero().flatten().tolist()) for told in seen for mask in told["beside"][:, :, 0, 0, 0]}
    assert masks == {(), *shown_frames(FRAMES)}
    for told in seen:
        shown, frames = told["beside"][:, :, :1], told["beside"][:, :, 1:]
        assert torch.equal(frames, shown * batch.clip)
    rates = torch.stack([told["fps"] for told in seen])
    assert all(set(row.tolist()) == {0.0, fps} for row, fps in zip(rates.T, (4.0, 8.0, 16.0), strict=True))


@torch.no_grad()
def test_the_embedding_is_dropped_as_captions_are_and_guided(first: Path) -> None:
    system = system_of(video(first, **{"text.dropout": 1.0}))
    seen = []
    system.unet.register_forward_pre_hook(lambda _, args, told: seen.append(told), with_kwargs=True)
    system.loss(clips(), keys(), 1)
    assert not seen[0]["image_embedding"].any()
    told = system.pipeline().prepare(PROMPT, steps=1).conditions
    assert torch.equal(told.without("image_embedding").image_embedding, torch.zeros(1, 16))
    assert "image_embedding" in {each.name for each in system.conditions if each.guided}


@torch.no_grad()
def test_a_prompt_is_heard_through_the_prior_and_given_frames_beside(first: Path, tmp_path: Path) -> None:
    system = system_of(video(first))
    for name, parameter in system.unet.named_parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
        elif name == "conv_in.weight":
            torch.nn.init.normal_(parameter[:, 3:], std=0.05)
    pipe = system.pipeline()
    one, other = (pipe(prompt, seed=1, steps=2, guidance=2.0) for prompt in (PROMPT, "a blue seven moving up"))
    assert one.shape == (FRAMES, 3, SIZE, SIZE)
    assert not torch.allclose(one, other)
    known = Known(clips().clip[0, [0, FRAMES - 1]], (0, FRAMES - 1))
    told = pipe.prepare(PROMPT, known=known, steps=2).conditions.beside
    assert told[0, :, 0, 0, 0].tolist() == [1, 0, 0, 0, 1]
    torch.testing.assert_close(told[0, [0, FRAMES - 1], 1:], known.frames)
    filled = pipe(PROMPT, seed=1, steps=2, guidance=2.0, known=known)
    torch.testing.assert_close(filled[[0, FRAMES - 1]], known.frames, rtol=0, atol=1e-5)
    pipe.save_pretrained(tmp_path)
    again = load(tmp_path, device="cpu")
    assert type(again) is MakeAVideoPipeline
    assert torch.equal(again(PROMPT, seed=1, steps=2, guidance=2.0), one)


def test_images_then_video_then_clips(tmp_path: Path) -> None:
    image = train(images(), tmp_path / "images", device="cpu", bar=False)
    assert load(image.model, device="cpu")(PROMPT, steps=1).shape == (1, 3, SIZE, SIZE)
    result = train(video(tmp_path / "images"), tmp_path / "video", device="cpu", bar=False)
    pipe = load(result.model, device="cpu")
    before = load(image.model, device="cpu")
    for part in ("prior", "image_encoder", "text_encoder"):
        for name, value in getattr(pipe, part).state_dict().items():
            assert torch.equal(value, getattr(before, part).state_dict()[name]), f"{part} {name}"
    assert pipe(PROMPT, steps=1).shape == (FRAMES, 3, SIZE, SIZE)


@pytest.fixture
def theirs(saved_base: Path, saved_text: Path) -> dict[str, object]:
    """Keys of a recipe that starts from a little Stable Diffusion."""
    return {**SD, "start.image_model": str(saved_base), "text.encoder": str(saved_text)}


@torch.no_grad()
@pytest.mark.parametrize("stage", ["images", "video"])
def test_stable_diffusion_is_inflated_as_it_is(stage: str, theirs: dict[str, object]) -> None:
    system = system_of(images(**theirs) if stage == "images" else video(None, **theirs))
    model = UNet2DConditionModel.from_pretrained(Path(str(theirs["start.image_model"])) / "unet").eval()
    frames = 1 if stage == "images" else FRAMES
    torch.manual_seed(1)
    clip, text = torch.randn(2, frames, 3, SIZE, SIZE), torch.randn(2, 5, 16)
    told = {} if stage == "images" else {"beside": torch.randn(2, frames, 4, SIZE, SIZE)}
    time = torch.full((2,), 700.0)
    whole = system.unet(clip, time, text=text, image_embedding=torch.randn(2, 16), **told)
    for i in range(frames):
        torch.testing.assert_close(whole[:, i], model(clip[:, i], 700, text).sample, rtol=1e-4, atol=1e-5)


def test_stable_diffusion_learns_to_hear_the_embedding(theirs: dict[str, object]) -> None:
    changed = steps(system_of(images(**theirs)), batch_of(MovingDigits(1, SIZE, "train", 0.0)))
    assert "unet.image_embedding.linear_2.weight" in changed


def test_what_a_stage_cannot_do_is_said_before_it_begins(first: Path) -> None:
    with pytest.raises(InputError, match=r"clips.frames is 5, but the stage 'images' trains on single frames"):
        system_of(images(**{"clips.frames": FRAMES}))
    with pytest.raises(InputError, match=r"system.stage is 'video', which trains temporal layers in an image network"):
        system_of(video(None))
    with pytest.raises(InputError, match=r"needs that run's image encoder and prior too; name it by start.model"):
        system_of(video(None, **{"start.image_model": str(first)}))


def test_what_may_be_shown_is_in_the_clip_and_leaves_a_frame_to_make() -> None:
    for frames in range(2, 20):
        for shown in shown_frames(frames):
            assert set(shown) < set(range(frames)) or frames == 2
    assert (0, 4, 8, 12) in shown_frames(16)


def test_what_a_clip_goes_on_from_is_shown_in_training(first: Path) -> None:
    system = system_of(video(first))
    assert tuple(range(system.pipeline().overlap)) in shown_frames(FRAMES)


def test_a_network_that_is_made_for_it_hears_no_text_beside(first: Path) -> None:
    system = system_of(video(first))
    assert system.embedding.network(3) == {"image_size": 16, "text_size": None, "pool_text": False}
    assert not [name for name in system.unet.state_dict() if "text" in name or "attn2" in name]
