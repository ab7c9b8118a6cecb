"""Recipes of older versions, whose keys were in no groups."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from videofusion.errors import InputError
from videofusion.recipes.catalogue import RECIPES, get_recipe
from videofusion.recipes.flat import FLAT_KEYS
from videofusion.recipes.recipe import Recipe
from videofusion.recipes.system_config import config_names, find_config
from videofusion.settings import kinds
from videofusion.training.run_folder import open_run


def flat(recipe: Recipe) -> dict[str, Any]:
    """What an older version wrote of a recipe: every key, those of other systems too."""
    values = {"name": recipe.name, "system": recipe.system.name, "seed": recipe.seed}
    of_all = {
        f"system.{key}": getattr(config(), key) for config in map(find_config, config_names()) for key in kinds(config)
    }
    values |= {old: {**of_all, **recipe.dotted()}[new] for old, new in FLAT_KEYS.items()}
    return dict(json.loads(json.dumps(values)))


def test_every_old_key_has_a_place_of_its_own() -> None:
    places = {key for name in ("tiny", "vdm-moving-digits") for key in get_recipe(name).dotted()}
    assert len(set(FLAT_KEYS.values())) == len(FLAT_KEYS)
    new = {"clips.start", "clips.caption"}  # since recipes have groups
    assert set(FLAT_KEYS.values()) | {"name", "system", "seed"} | new == places


@pytest.mark.parametrize("name", [name for name in RECIPES if get_recipe(name).system.name in ("videofusion", "vdm")])
def test_a_recipe_of_an_older_run_is_read(name: str) -> None:
    assert Recipe.from_json(flat(get_recipe(name))) == get_recipe(name)


def test_an_older_run_goes_on(tmp_path: Path) -> None:
    recipe = get_recipe("vdm-moving-digits")
    (tmp_path / "recipe.json").write_text(json.dumps(flat(recipe)))
    open_run(recipe, tmp_path)
    assert json.loads((tmp_path / "recipe.json").read_text()) == recipe.to_json()


def test_what_the_system_did_not_read_is_left_out_and_what_it_never_took_is_refused() -> None:
    old = flat(get_recipe("vdm-moving-digits"))
    assert Recipe.from_json({**old, "adaptive": 0.3}) == get_recipe("vdm-moving-digits")
    assert Recipe.from_json({**old, "text_from": "captions"}) == get_recipe("vdm-moving-digits")
    with pytest.raises(InputError, match=r"system\.prior is of the system 'videofusion'"):
        Recipe.from_json({**old, "prior": "transformer"})


def test_some_keys_are_enough() -> None:
    found = Recipe.from_json({"name": "x", "steps": "7", "share": 0.5, "channels": [8, 8]})
    assert found.dotted()["system.share"] == 0.5
    assert (found.budget.steps, found.network.channels) == (7, (8, 8))


def test_a_course_in_steps_is_a_share_of_the_run() -> None:
    old = {key: value for key, value in flat(get_recipe("moving-digits")).items() if key != "reach_share"}
    assert Recipe.from_json({**old, "reach_steps": 3000}) == get_recipe("moving-digits")
    assert Recipe.from_json({**old, "reach_steps": 3000, "steps": 100}).batch.reach_share == 0.9
    with pytest.raises(InputError, match="reach_steps is 'many', but must be"):
        Recipe.from_json({**old, "reach_steps": "many"})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"stepz": 1}, r'"stepz" is unknown \(did you mean "steps"\?\)'),
        ({"steps": 0}, "recipe key budget.steps is 0"),
        ({"variant": "anchored", "share": 0.5}, "'anchored', which is called 'image-first' now"),
        ({"system": "vdm", "text_from": "frames"}, "'frames', which is a stage of the system 'magicvideo' now"),
        ({"system": "gan"}, '"gan" is unknown'),
        ({"system": 3}, "recipe key system cannot be 3"),
    ],
)
def test_what_is_wrong_is_told(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Recipe.from_json({"name": "x", **values})
