"""Laws of Tune-A-Video: one clip, the named parameters and no others, and an edit that begins from the clip's noise."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import diffusers
import pytest
import torch
from torch import Tensor

from videofusion.clip import write_clip
from videofusion.diffusion import Keys
from videofusion.errors import InputError
from videofusion.models import load
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.image_base import on_image_model
from videofusion.recipes.recipe import Recipe
from videofusion.systems.build import build_system
from videofusion.systems.tune_a_video import TuneAVideo, TuneAVideoPipeline
from videofusion.tasks import edit
from videofusion.training.batches import training_data
from videofusion.training.trainer import train
from videofusion.training.world import World

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))
import tiny_folders as tiny

FRAMES, CAPTION = 3, "a man"
QUERIES = ("attn1.to_q.weight", "attn2.to_q.weight")
SMALL = {
    "clips.frames": FRAMES,
    "clips.caption": CAPTION,
    "compute.precision": "float32",
    "compute.gradient_checkpointing": False,
    "optimizer.learning_rate": 1e-2,
    "budget.steps": 4,
    "log.boards": (),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image model of diffusers and a clip."""
    place = tmp_path_factory.mktemp("one")
    scheduler = diffusers.DDIMScheduler(
        **tiny.SCHEDULE, prediction_type="v_prediction", clip_sample=False, steps_offset=1
    )
    pipeline = tiny.sd_pipeline(scheduler)
    pipeline.vae.register_to_config(scaling_factor=3.5)  # latents as large as their noise
    tiny.save(pipeline, place / "sd")
    wave = torch.sin(0.05 * torch.arange(6 * 3 * 16 * 16.0).reshape(6, 3, 16, 16))
    write_clip(wave, place / "clip.webp", 8.0, {}, scale=1)
    return place


def recipe(place: Path, **changes: object) -> Recipe:
    return on_image_model(get_recipe("tune-a-video"), place / "sd").replace({**SMALL, **changes})


def run(place: Path, folder: Path, **changes: object) -> Path:
    return train(recipe(place, **changes), folder, place / "clip.webp", device="cpu", bar=False).model


@pytest.fixture(scope="module")
def model(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(place, tmp_path_factory.mktemp("tuned"))


@pytest.fixture(scope="module")
def tuned(model: Path) -> TuneAVideoPipeline:
    return load(model, device="cpu")


@pytest.fixture(scope="module")
def clip(place: Path) -> Tensor:
    return training_data(recipe(place), place / "clip.webp", World())[0].dataset.sample(0, 0, 0).clip


def weights_of(place: Path) -> dict[str, Tensor]:
    return diffusers.UNet2DConditionModel.from_pretrained(place / "sd" / "unet").state_dict()


def test_queries_and_attention_over_time_are_trained_and_nothing_else(place: Path) -> None:
    asked = recipe(place)
    system = build_system(asked, training_data(asked, place / "clip.webp", World())[0].dataset)
    assert isinstance(system, TuneAVideo)
    image = weights_of(place)
    trained = {name for name, parameter in system.unet.named_parameters() if parameter.requires_grad}
    assert {name for name in image if name.endswith(QUERIES)} == trained & image.keys()
    assert len(trained & image.keys()) == 2 * sum(name.endswith("attn1.to_q.weight") for name in image)
    beyond = system.unet.state_dict().keys() - image.keys()
    assert {name for name in beyond if ".attn_temp." in name} == trained - image.keys()
    assert all(".norm_temp." in name for name in beyond - trained)
    assert not any(each.requires_grad for part in system.frozen.values() for each in part.parameters())


def test_training_moves_them_all_and_leaves_all_else_to_the_bit(place: Path, tuned: TuneAVideoPipeline) -> None:
    now = tuned.unet.state_dict()
    for name, value in weights_of(place).items():
        assert torch.equal(now[name], value) != name.endswith(QUERIES), name
    theirs = diffusers.AutoencoderKL.from_pretrained(place / "sd" / "vae").state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in tuned.vae.state_dict().items())
    outputs = [value for name, value in now.items() if name.endswith("attn_temp.to_out.0.weight")]
    assert outputs
    assert all(value.any() for value in outputs)
    assert (tuned.config.caption, tuned.config.fps, tuned.config.frames) == (CAPTION, 8.0, FRAMES)


def test_the_loss_of_the_clip_falls(place: Path) -> None:
    asked = recipe(place)
    batches = training_data(asked, place / "clip.webp", World())[0]
    torch.manual_seed(0)
    system = build_system(asked, batches.dataset)
    batch = next(batches.starting(0))
    batch, keys = replace(batch, clip=system.space.encode(batch.clip)), Keys.of([1])
    optimizer = torch.optim.AdamW(system.parameter_groups(1e-2))
    losses: list[float] = []
    for _ in range(8):
        loss = system.loss(batch, keys, 7).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_a_run_goes_on_to_the_same_bits(place: Path, tuned: TuneAVideoPipeline, tmp_path: Path) -> None:
    run(place, tmp_path, **{"budget.steps": 2})
    again = load(run(place, tmp_path), device="cpu")
    for name, value in tuned.unet.state_dict().items():
        assert torch.equal(again.unet.state_dict()[name], value), name


def test_the_clip_comes_back_by_inversion_and_another_prompt_makes_another(
    tuned: TuneAVideoPipeline, clip: Tensor
) -> None:
    back: list[Tensor] = []
    options = {"method": "tune-a-video", "steps": 6, "refinements": 0, "output": "latent", "guidance": 1.0}
    edit(tuned, clip, "a dog", back=back.append, **options)
    options["refinements"] = 4
    made = edit(tuned, clip, "a dog", back=back.append, **options)
    kept = tuned.space.decode(tuned.space.encode(clip[None]))[0]  # what the autoencoder makes of it
    errors = [float((each - kept).norm() / kept.norm()) for each in back]
    assert errors[1] < 0.05 < errors[0]
    other = edit(tuned, clip, "a cat", seed=5, **options)
    assert float((made - other).norm() / made.norm()) > 1e-3
    again = edit(tuned, clip, "a dog", seed=9, **options)
    torch.testing.assert_close(again, made)  # nothing is drawn


def test_what_is_outside_of_the_mask_is_kept(tuned: TuneAVideoPipeline, clip: Tensor) -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., :8, :] = 1
    made = edit(tuned, clip, "a dog", method="tune-a-video", mask=mask, steps=2, output="latent")
    changed = (made != tuned.space.encode(clip[None])[0]).any(dim=1)
    assert not changed[:, 4:].any()
    assert changed[:, :4].all()


def test_adapters_stand_beside_the_queries_alone_and_the_model_has_them_in_it(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from safetensors.torch import load_file

    from videofusion.networks.lora import FILE

    found = run(place, tmp_path, **{"start.trains": "lora", "start.lora_rank": 2})
    adapted = {name.removeprefix("unet.").rpartition(".lora_")[0] for name in load_file(found / FILE)}
    image = weights_of(place)
    assert adapted == {name.removesuffix(".weight") for name in image if name.endswith(QUERIES)}
    pipe = load(found, device="cpu")
    for name, value in image.items():
        assert torch.equal(pipe.unet.state_dict()[name], value) != name.endswith(QUERIES), name
    options = {"steps": 2, "seed": 1, "output": "latent"}
    assert torch.equal(pipe("a dog", **options), load(found, device="cpu")("a dog", **options))


@pytest.mark.parametrize(
    ("changes", "data", "says"),
    [
        ({"clips.caption": None}, "clip.webp", "clips.caption is not given, and nothing says what clip.webp shows"),
        ({"start.image_model": None}, "clip.webp", "start.image_model is not given; tune-a-video tunes an image model"),
        ({}, "several", "data has 2 clips; tune-a-video is tuned on one"),
        ({}, None, 'data is not given, but the recipe "tune-a-video" trains on a folder of clips'),
        ({}, "none.mp4", 'none.mp4" is not there; it must be a folder or a file'),
        ({"clips.frames": 7}, "clip.webp", "the clip cannot be read: clip.webp: too short"),
    ],
)
def test_refusals(place: Path, changes: dict, data: str | None, says: str, tmp_path: Path) -> None:
    folder = place / "several"
    folder.mkdir(exist_ok=True)
    for number in range(3):
        (folder / f"{number}.webp").write_bytes((place / "clip.webp").read_bytes())
    with pytest.raises(InputError, match=says):
        train(recipe(place, **changes), tmp_path / "run", data and place / data, device="cpu", bar=False)
    assert not (tmp_path / "run").exists()


def test_an_image_model_that_has_to_be_told_sizes_is_no_base(tmp_path: Path) -> None:
    tiny.save(tiny.xl_pipeline(), tmp_path / "xl")
    with pytest.raises(InputError, match="is of Stable Diffusion XL"):
        on_image_model(get_recipe("tune-a-video"), tmp_path / "xl")
    with pytest.raises(InputError, match="there is no folder"):
        on_image_model(get_recipe("tune-a-video"), tmp_path / "nothing")


def test_the_method_takes_a_tuned_model_and_no_source(tuned: TuneAVideoPipeline, clip: Tensor) -> None:
    with pytest.raises(InputError, match="the method 'tune-a-video' inverts without text, leave it out"):
        edit(tuned, clip, "a dog", method="tune-a-video", source=CAPTION)
    digits = load("moving-digits", device="cpu")
    with pytest.raises(InputError, match="takes a model that was tuned on the clip"):
        edit(digits, torch.zeros(4, 3, 32, 32), "a red three", method="tune-a-video")


def test_a_base_of_this_library_says_all_keys_and_reads_known_words_only(place: Path) -> None:
    asked = on_image_model(get_recipe("tune-a-video"), "moving-digits").replace(
        {"clips.frames": FRAMES, "clips.caption": "a red three"}
    )
    like = get_recipe("digit-images")
    for key in ("channels", "attention", "blocks", "groups", "patch", "heads"):
        assert getattr(asked.network, key) == getattr(like.network, key), key
    assert (asked.diffusion.prediction, asked.clips.size, asked.text.size) == ("x0", 32, 128)
    data = training_data(asked, place / "clip.webp", World())[0].dataset
    system, base = build_system(asked, data), load("moving-digits", device="cpu").base.state_dict()
    for name, value in system.unet.spatial_state().items():
        assert torch.equal(value, base[name]), name
    said = asked.replace({"clips.caption": "a red skier"})
    data = training_data(said, place / "clip.webp", World())[0].dataset
    with pytest.raises(InputError, match="has 'skier', a word that the image model never learned; it knows 0, "):
        build_system(said, data)


def test_a_video_model_is_no_base(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"_class_name": "UNet", "temporal": "factorised"}))
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match=r"a video model \(temporal is 'factorised'\); name an image"):
        on_image_model(get_recipe("tune-a-video"), tmp_path)
