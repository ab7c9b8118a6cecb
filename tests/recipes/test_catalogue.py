import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from videofusion.diffusion.samplers import SAMPLERS
from videofusion.errors import InputError
from videofusion.recipes.catalogue import RECIPES, get_recipe
from videofusion.recipes.recipe import Recipe
from videofusion.systems.build import sampling_defaults


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_its_name_and_survives_json(name):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_overrides_as_text_and_as_values_agree():
    text = {
        "steps": "7",
        "learning_rate": "1e-3",
        "compile": "true",
        "channels": "32, 64",
        "seconds": "none",
        "system": "vdm",
        "prompts": '["a two, red", "b"]',
    }
    values = {
        "steps": 7,
        "learning_rate": 1e-3,
        "compile": True,
        "channels": (32, 64),
        "seconds": None,
        "system": "vdm",
        "prompts": ["a two, red", "b"],
    }
    assert get_recipe("tiny", text) == get_recipe("tiny", values)
    assert get_recipe("tiny", text).prompts == ("a two, red", "b")
    assert get_recipe("tiny", {"seconds": "60"}).seconds == 60.0


def test_unknown_recipe_lists_those_there_are():
    with pytest.raises(
        InputError, match=r'"tinny" is unknown \(did you mean "tiny"\?\); there are tiny, moving-digits'
    ):
        get_recipe("tinny")


def test_unknown_key_lists_those_there_are():
    with pytest.raises(
        InputError, match=r'"learning_rat" is unknown \(did you mean "learning_rate"\?\); there are name, system'
    ):
        get_recipe("tiny", {"learning_rat": 1})
    with pytest.raises(InputError, match="unknown"):
        Recipe.from_json({"name": "x", "stepz": 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", "many"),
        ("steps", 1.5),
        ("steps", 0),
        ("steps", True),
        ("compile", "yes"),
        ("share", 1.5),
        ("share", "nan"),
        ("ema_decay", 1.0),
        ("system", "gan"),
        ("precision", "float16"),
        ("channels", "a,b"),
        ("channels", 3),
        ("prompts", [1]),
        ("seconds", -1),
        ("time_logit", "1"),
        ("time_logit", "1,0"),
        ("motion_guidance", -1),
        ("guidance_interval", "0.5"),
        ("guidance_interval", "0.5,0.4"),
        ("guidance_interval", "0,1.1"),
        ("guidance_skip", 1.1),
        ("sampler", "euler"),
        ("offload", "all"),
        ("offload", "base"),
    ],
)
def test_wrong_values_are_refused_by_the_name_of_their_key(key, value):
    with pytest.raises(InputError, match=f"recipe key {key} "):
        get_recipe("tiny", {key: value})


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"sampler_options": "eta=0.5"}, r"eta is 0.5, which the sampler 'dpm\+\+' does not read; ddim would"),
        ({"sampler_options": "spacing"}, "sampler option is 'spacing'; it must be NAME=VALUE"),
        ({"sampler_options": "spacing=sd"}, "spacing is 'sd', which is for schedules with training steps"),
        (
            {"sampler_options": "threshold=0.9", "autoencoder": "somewhere"},
            "threshold is 0.9; it is for models in",
        ),
    ],
)
def test_options_of_sampling_are_looked_at_before_work_starts(keys, words):
    recipe = get_recipe("tiny", keys)
    with pytest.raises(InputError, match=words), torch.device("meta"):
        sampling_defaults(recipe)
    right = get_recipe("tiny", {"sampler_options": "spacing=flow,eta=0.5", "sampler": "ddim"})
    assert sampling_defaults(right).sampler_options == {"spacing": "flow", "eta": 0.5}


def test_what_is_offloaded_is_videofusions_and_in_shards():
    assert get_recipe("tiny", {"offload": "base", "shard": "true"}).offload == "base"
    with pytest.raises(InputError, match="with shard=true; this is 'videofusion' with shard=false"):
        get_recipe("tiny", {"offload": "base"})
    with pytest.raises(InputError, match="this is 'vdm' with shard=true"):
        get_recipe("tiny", {"offload": "base", "shard": "true", "system": "vdm"})


@pytest.mark.parametrize("of", [{"variant": "corrected"}, {"system": "vdm"}])
def test_a_guidance_of_motion_needs_a_middle_frame_that_is_made_first(of):
    first = {"motion_guidance": "2", "variant": "image-first"}
    assert get_recipe("tiny", first).motion_guidance == 2
    with pytest.raises(InputError, match="recipe key motion_guidance is 2"):
        get_recipe("tiny", {**first, **of})


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_recipe_takes_every_sampler(sampler):
    assert get_recipe("tiny", {"sampler": sampler}).sampler == sampler


def test_recipe_file_of_a_run_is_accepted(tmp_path):
    recipe = get_recipe("tiny", {"steps": 3})
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.to_json()))
    assert get_recipe(str(path)) == recipe
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        get_recipe(str(path))
    with pytest.raises(InputError, match="cannot be read"):
        get_recipe(str(tmp_path / "none.json"))
    path.write_text("[]")
    with pytest.raises(InputError, match="no json object"):
        get_recipe(str(path))


def test_recipes_are_listed_without_torch():
    code = "import sys, videofusion.training; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_recipe_of_an_older_run_has_its_course_as_a_share():
    old = {key: value for key, value in get_recipe("moving-digits").to_json().items() if key != "reach_share"}
    assert Recipe.from_json({**old, "reach_steps": 3000}) == get_recipe("moving-digits")
    assert Recipe.from_json({**old, "reach_steps": 3000, "steps": 100}).reach_share == 0.9
    with pytest.raises(InputError, match="reach_steps is 'many', but must be"):
        Recipe.from_json({**old, "reach_steps": "many"})


@pytest.mark.parametrize(("key", "value"), [("noise", "mixed"), ("noise_parameter", 0.5)])
def test_kinds_of_noise_are_of_plain_diffusion(key, value):
    assert getattr(get_recipe("vdm-moving-digits", {key: value}), key) == value
    with pytest.raises(InputError, match=f"recipe key {key} is {value!r}, but only the system 'vdm' takes one"):
        get_recipe("tiny", {key: value})


def test_names_of_older_recipes_are_told() -> None:
    with pytest.raises(InputError, match=r"'anchored', but must be one of .*; that one is called 'image-first' now"):
        Recipe.from_json({"name": "x", "variant": "anchored", "share": 0.5, "reach_steps": 100})
    with pytest.raises(InputError, match="recipe key reach_steps is 'abc'"):
        Recipe.from_json({"name": "x", "reach_steps": "abc"})


def test_a_recipe_file_that_never_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="not a regular file"):
        get_recipe(str(tmp_path / "recipe.json"))
