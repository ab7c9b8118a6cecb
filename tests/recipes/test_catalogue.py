import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from videofusion.diffusion.samplers import SAMPLERS
from videofusion.domains import domain_with, domains
from videofusion.errors import InputError
from videofusion.recipes.catalogue import RECIPES, get_recipe
from videofusion.recipes.recipe import Recipe
from videofusion.systems.build import sampling_defaults


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_its_name_and_survives_json(name):
    recipe = get_recipe(name)
    assert recipe.name == name
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_unknown_recipe_lists_those_there_are():
    with pytest.raises(
        InputError, match=r'"tinny" is unknown \(did you mean "tiny"\?\); there are tiny, moving-digits'
    ):
        get_recipe("tinny")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"sampling.options": "eta=0.5"}, r"eta is 0.5, which the sampler 'dpm\+\+' does not read; ddim would"),
        ({"sampling.options": "spacing"}, "sampler option is 'spacing'; it must be NAME=VALUE"),
        ({"sampling.options": "spacing=sd"}, "spacing is 'sd', which is for schedules with training steps"),
        (
            {"sampling.options": "threshold=0.9", "network.autoencoder": "somewhere"},
            "threshold is 0.9; it is for models in",
        ),
    ],
)
def test_options_of_sampling_are_looked_at_before_work_starts(keys, words):
    recipe = get_recipe("tiny", keys)
    with pytest.raises(InputError, match=words), torch.device("meta"):
        sampling_defaults(recipe)
    right = get_recipe("tiny", {"sampling.options": "spacing=flow,eta=0.5", "sampling.sampler": "ddim"})
    assert sampling_defaults(right).sampler_options == {"spacing": "flow", "eta": 0.5}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_recipe_takes_every_sampler(sampler):
    assert get_recipe("tiny", {"sampling.sampler": sampler}).sampling.sampler == sampler


def test_recipe_file_of_a_run_is_accepted(tmp_path):
    recipe = get_recipe("tiny", {"budget.steps": 3})
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe.to_json()))
    assert get_recipe(str(path)) == recipe
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        get_recipe(str(path))
    with pytest.raises(InputError, match="cannot be read"):
        get_recipe(str(tmp_path / "none.json"))
    (tmp_path / "odd.json").write_text('{"name": "x", "system": {"name": "vdm"}, "batch": {"siez": 3}}')
    with pytest.raises(InputError, match=r'odd\.json: recipe key "batch\.siez" is unknown \(did you mean "batch'):
        get_recipe(str(tmp_path / "odd.json"))
    path.write_text("[]")
    with pytest.raises(InputError, match="no json object"):
        get_recipe(str(path))


def test_a_recipe_file_that_never_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="not a regular file"):
        get_recipe(str(tmp_path / "recipe.json"))


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_for_clips_of_a_domain_are_the_domains_own(name: str) -> None:
    domain = domain_with(get_recipe(name).clips.kind)
    assert any(name in each.recipes() for each in domains().values()) == (domain is not None)


def test_recipes_are_listed_without_torch():
    code = "import sys, videofusion.recipes.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
