"""`train` with the real systems, at sizes that take a second."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from small import smallest, state_of

from videofusion.errors import InputError
from videofusion.models import load
from videofusion.training import Recipe, get_recipe
from videofusion.training.batches import training_data
from videofusion.training.checkpoints import newest, save
from videofusion.training.export import export_model as export
from videofusion.training.trainer import train
from videofusion.training.world import World

RECIPES = {
    "videofusion": {},
    "adaptive": {"system.adaptive": 0.5},
    "framewise": {"system.variant": "framewise"},
    "fixed base": {"system.base_loss": "fixed"},
    "vdm": {"system": "vdm", "network.temporal": "factorised"},
    "vdm with pictures": {"system": "vdm", "network.temporal": "factorised", "system.image_frames": 2},
    "without captions": {"system": "magicvideo", "network.temporal": "magicvideo", "system.stage": "frames"},
}


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
def test_resumes_to_the_same_bits(tmp_path, changes):
    recipe = smallest(**changes)
    for run, steps in (("whole", 4), ("parts", 3), ("parts", 4)):
        train(recipe, tmp_path / run, steps=steps, device="cpu", bar=False)
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    for name in whole:
        assert torch.equal(whole[name], parts[name]), name


def test_finished_folder_is_a_pipeline_with_the_averaged_weights(tmp_path):
    result = train(smallest(), tmp_path, device="cpu", bar=False)
    found = newest(tmp_path / "checkpoints", pytest.fail)
    pipe = load(result.model, device="cpu")
    for part in ("base", "residual", "text_encoder"):
        for name, value in getattr(pipe, part).state_dict().items():
            assert torch.equal(value, found.ema[f"{part}.{name}"]), f"{part} {name}"
    assert any(not torch.equal(value, found.weights[name]) for name, value in found.ema.items())
    assert pipe("a red three", seed=0, steps=2).shape == (4, 3, 8, 8)
    assert Recipe.from_json(json.loads((result.model / "recipe.json").read_text())) == smallest()


def test_a_fixed_base_is_in_no_checkpoint_but_in_the_model(tmp_path):
    image = train(
        smallest("base-digits", **{"sampling.prompts": ["a three"], "budget.steps": 1}),
        tmp_path / "image",
        device="cpu",
        bar=False,
    )
    recipe = smallest(**{"start.image_model": str(tmp_path / "image"), "system.base_loss": "fixed"})
    result = train(recipe, tmp_path / "run", steps=2, device="cpu", bar=False)
    found = newest(tmp_path / "run" / "checkpoints", pytest.fail)
    assert {name.split(".")[0] for name in (*found.weights, *found.ema)} == {"residual", "text_encoder"}
    assert found.frozen.keys() == {"base"}
    theirs = load_file(image.model / "unet" / "diffusion_pytorch_model.safetensors")
    made = export(tmp_path / "run" / "checkpoints" / "step-00000002", tmp_path / "out", dtype="float32")
    for model in (result.model, made):
        pipe = load(model, device="cpu")
        assert all(torch.equal(value, theirs[name]) for name, value in pipe.base.state_dict().items())
    again = smallest(
        **{"start.model": str(tmp_path / "run"), "system.base_loss": "fixed", "optimizer.learning_rate": 0.0}
    )
    pipe = load(train(again, tmp_path / "again", steps=1, device="cpu", bar=False).model, device="cpu")
    assert all(torch.equal(value, theirs[name]) for name, value in pipe.base.state_dict().items())
    train(
        smallest("base-digits", **{"sampling.prompts": ["a three"], "budget.steps": 2}),
        tmp_path / "image",
        device="cpu",
        bar=False,
    )
    with pytest.raises(InputError, match=r"the base is another than that of step 2 in .*run: what a run never trains"):
        train(recipe, tmp_path / "run", device="cpu", bar=False)


def test_a_checkpoint_of_an_older_version_brings_its_fixed_base(tmp_path):
    """Which had it among its weights and in its average."""
    recipe = smallest(**{"system.base_loss": "fixed"})
    for run, steps in (("whole", 4), ("parts", 2)):
        train(recipe, tmp_path / run, steps=steps, device="cpu", bar=False)
    found = newest(tmp_path / "parts" / "checkpoints", pytest.fail)
    base = load(tmp_path / "parts" / "model", device="cpu").base.state_dict()
    other = {f"base.{name}": value + 1 for name, value in base.items()}
    for kind, beside in (("the same", {f"base.{name}": value for name, value in base.items()}), ("another", other)):
        run = tmp_path / kind
        shutil.copytree(tmp_path / "parts", run)
        old = replace(found, weights={**found.weights, **beside}, ema={**found.ema, **beside}, frozen={})
        save(run / "checkpoints", old)
        train(recipe, run, steps=4, device="cpu", bar=False)
        now = load(run / "model", device="cpu").base.state_dict()
        assert all(torch.equal(value, beside[f"base.{name}"]) for name, value in now.items())
        assert not any(name.startswith("base.") for name in newest(run / "checkpoints", pytest.fail).weights)
    whole, same = state_of(tmp_path / "whole"), state_of(tmp_path / "the same")
    assert all(torch.equal(whole[name], same[name]) for name in whole)


def test_recipe_file_of_a_run_trains_the_same_again(tmp_path):
    train(smallest(), tmp_path / "a", device="cpu", bar=False)
    train(get_recipe(str(tmp_path / "a" / "recipe.json")), tmp_path / "b", device="cpu", bar=False)
    a, b = state_of(tmp_path / "a"), state_of(tmp_path / "b")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_gradient_checkpointing_changes_no_bit(tmp_path):
    """Also where it is switched on in the middle of a run."""
    train(smallest(), tmp_path / "plain", device="cpu", bar=False)
    train(smallest(), tmp_path / "saved", steps=2, device="cpu", bar=False)
    train(smallest(**{"compute.gradient_checkpointing": True}), tmp_path / "saved", device="cpu", bar=False)
    plain, saved = state_of(tmp_path / "plain"), state_of(tmp_path / "saved")
    assert all(torch.equal(plain[name], saved[name]) for name in plain)


def test_bfloat16_computes_so_and_keeps_float32_weights(tmp_path):
    for precision in ("float32", "bfloat16"):
        shown = {"log.sample_interval": 4, "sampling.prompts": ("a red three",)}  # so do sample grids
        train(smallest(**{"compute.precision": precision}, **shown), tmp_path / precision, device="cpu", bar=False)
    full, half = (state_of(tmp_path / precision) for precision in ("float32", "bfloat16"))
    names = [name for name in full if name.startswith("weights/") and name.endswith("weight")]
    assert all(half[name].dtype == torch.float32 for name in names)
    assert any(not torch.equal(full[name], half[name]) for name in names)


@pytest.mark.parametrize("system", ["videofusion", "vdm"])
def test_starts_from_a_pretrained_image_network(tmp_path, system):
    image = smallest("base-digits", **{"sampling.prompts": ["a three"]})
    model = train(image, tmp_path / "image", device="cpu", bar=False).model
    temporal = "residual" if system == "videofusion" else "factorised"
    recipe = smallest(
        system=system,
        **{"network.temporal": temporal, "start.image_model": str(tmp_path / "image"), "optimizer.learning_rate": 0.0},
    )
    train(recipe, tmp_path / "video", steps=1, device="cpu", bar=False)
    part = "base" if system == "videofusion" else "unet"
    mine = newest(tmp_path / "video" / "checkpoints", pytest.fail).weights
    for name, value in load_file(model / "unet" / "diffusion_pytorch_model.safetensors").items():
        assert torch.equal(mine[f"{part}.{name}"], value), name
    other = smallest(
        system=system,
        **{"network.temporal": temporal, "start.image_model": str(tmp_path / "image"), "network.channels": (32, 32)},
    )
    with pytest.raises(InputError, match=r"start\.image_model"):
        train(other, tmp_path / "other", device="cpu", bar=False)


def test_sample_grid_of_the_recipes_prompts(tmp_path):
    train(smallest(**{"log.sample_interval": 4, "sampling.steps": 2}), tmp_path, device="cpu", bar=False)
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["step-00000004.png"]


def test_validation_never_shows_training_clips():
    recipe = smallest()
    batches, validation = training_data(recipe, None, World())
    assert {name.split("/")[1] for name in next(batches.starting(0)).names} == {"train"}
    assert {name.split("/")[1] for batch in validation for name in batch.names} == {"val"}


def test_processes_share_the_batches_without_overlap():
    recipe = smallest(**{"batch.size": 4})  # of all together
    alone, _ = training_data(recipe, None, World())
    shares = [training_data(recipe, None, World(rank, 2))[0] for rank in (0, 1)]
    together = [name for share in shares for name in share.batch(3).names]
    assert together == alone.batch(3).names


def test_folder_must_be_given_where_it_is_needed_and_only_there(tmp_path):
    with pytest.raises(InputError, match="data is not given"):
        train(smallest("folder64"), tmp_path / "run", device="cpu", bar=False)
    with pytest.raises(InputError, match="makes its own data"):
        train(smallest(), tmp_path / "run", tmp_path, device="cpu", bar=False)
    with pytest.raises(InputError, match="not a folder"):
        train(smallest("folder64"), tmp_path / "run", tmp_path / "none", device="cpu", bar=False)


def test_trains_on_a_folder_and_names_the_broken_clip(tmp_path, shared_data):
    clips = tmp_path / "clips"
    clips.mkdir()
    for number, source in enumerate(sorted(shared_data.rglob("*.mp4"))[:4]):
        (clips / f"{number}.mp4").write_bytes(source.read_bytes())
    (clips / "broken.mp4").write_text("not a video")
    recipe = smallest(
        "folder64", **{"batch.workers": 0, "clips.frames": 4, "sampling.steps": 2, "clips.validation_share": 0.25}
    )
    result = train(recipe, tmp_path / "run", clips, steps=6, device="cpu", bar=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    left_out = {line["clip"] for line in lines if line["event"] == "left out"}
    assert result.step == 6
    assert left_out <= {"broken.mp4"}
