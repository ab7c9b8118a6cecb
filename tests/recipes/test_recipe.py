"""A recipe's groups: what may be said in them, and how they are changed."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pytest

from videofusion import registry
from videofusion.errors import InputError
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.recipe import Recipe
from videofusion.recipes.system_config import SystemConfig, find_config, make_config
from videofusion.settings import Range, Settings
from videofusion.systems.vdm import VDMConfig
from videofusion.systems.videofusion import VideoFusionConfig


def test_overrides_as_text_and_as_values_agree() -> None:
    text = {
        "budget.steps": "7",
        "optimizer.learning_rate": "1e-3",
        "compute.compile": "true",
        "network.channels": "32, 64",
        "budget.seconds": "none",
        "system": "vdm",
        "sampling.prompts": '["a two, red", "b"]',
    }
    values = {
        "budget.steps": 7,
        "optimizer.learning_rate": 1e-3,
        "compute.compile": True,
        "network.channels": (32, 64),
        "budget.seconds": None,
        "system": VDMConfig(),
        "sampling.prompts": ["a two, red", "b"],
    }
    assert get_recipe("tiny", text) == get_recipe("tiny", values)
    assert get_recipe("tiny", text).sampling.prompts == ("a two, red", "b")
    assert get_recipe("tiny", {"budget.seconds": "60"}).budget.seconds == 60.0


def test_what_is_not_changed_stays() -> None:
    tiny = get_recipe("tiny")
    changed = tiny.replace({"clips.frames": 8, "seed": 3})
    differing = {key for key, value in changed.dotted().items() if tiny.dotted()[key] != value}
    assert differing == {"clips.frames", "seed"}


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("optimizer.learning_rat", r'"optimizer.learning_rat" is unknown \(did you mean "optimizer.learning_rate"\?\)'),
        ("optimiser.learning_rate", r'did you mean "optimizer.learning_rate"'),
        ("system.shar", r'did you mean "system.share"'),
        ("clip", r'"clip" is unknown \(did you mean "clips'),
        ("seed.x", r'"seed.x" is unknown'),
        ("learning_rate", "recipe key learning_rate is of an older version; it is optimizer.learning_rate now"),
        ("system.noise", "system.noise is of the system 'vdm', and this is 'videofusion', which has variant, share"),
    ],
)
def test_a_key_that_is_none_is_refused_with_the_nearest(key: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        get_recipe("tiny", {key: 1})


@pytest.mark.parametrize("key", ["noise", "noise_parameter", "image_frames"])
def test_keys_of_plain_diffusion_are_of_no_other_system(key: str) -> None:
    assert hasattr(get_recipe("vdm-moving-digits").system, key)
    with pytest.raises(InputError, match=f"recipe key system.{key} is of the system 'vdm'"):
        get_recipe("tiny", {f"system.{key}": 1})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("budget.steps", "many"),
        ("budget.steps", 1.5),
        ("budget.steps", 0),
        ("budget.steps", True),
        ("compute.compile", "yes"),
        ("system.share", 1.5),
        ("system.share", "nan"),
        ("optimizer.ema_decay", 1.0),
        ("compute.precision", "float16"),
        ("network.channels", "a,b"),
        ("network.channels", 3),
        ("sampling.prompts", [1]),
        ("budget.seconds", -1),
        ("diffusion.time_logit", "1"),
        ("diffusion.time_logit", "1,0"),
        ("system.motion_guidance", -1),
        ("system.motion_guidance", 2),
        ("system.prior", "transformer"),
        ("sampling.guidance_interval", "0.5"),
        ("sampling.guidance_interval", "0.5,0.4"),
        ("sampling.guidance_interval", "0,1.1"),
        ("sampling.guidance_skip", 1.1),
        ("sampling.sampler", "euler"),
        ("compute.offload", "all"),
        ("compute.offload", "base"),
        ("seed", 2**64),
        ("clips", 3),
    ],
)
def test_wrong_values_are_refused_by_the_name_of_their_key(key: str, value: object) -> None:
    with pytest.raises(InputError, match=f"recipe key {key} "):
        get_recipe("tiny", {key: value})


def test_a_range_is_told() -> None:
    with pytest.raises(InputError, match=r"recipe key system.share is 1.5, but must be in \[0, 0.999\]"):
        VideoFusionConfig(share=1.5)


def test_what_goes_with_what() -> None:
    assert get_recipe("tiny", {"compute.offload": "base", "compute.shard": "true"}).compute.offload == "base"
    first = {"system.motion_guidance": "2", "system.variant": "image-first"}
    assert get_recipe("tiny", first).dotted()["system.motion_guidance"] == 2
    with pytest.raises(InputError, match=r"recipe key system.motion_guidance is 2\.0, but only"):
        get_recipe("tiny", {**first, "system.variant": "corrected"})


def test_json_without_a_name_or_a_system_is_refused() -> None:
    values = get_recipe("tiny").to_json()
    for key, sentence in (("name", "needs the key name"), ("system", "needs the key system")):
        with pytest.raises(InputError, match=sentence):
            Recipe.from_json({name: value for name, value in values.items() if name != key})
    with pytest.raises(InputError, match="group system needs the key name"):
        Recipe.from_json({**values, "system": {"share": 0.5}})
    with pytest.raises(InputError, match='"videofuson" is unknown'):
        Recipe.from_json({**values, "system": {"name": "videofuson"}})
    with pytest.raises(InputError, match=r"recipe key system\.name cannot be"):
        Recipe.from_json({**values, "system": {"name": ["vdm"]}})


def test_no_group_is_large_and_all_have_names_and_words() -> None:
    recipe = get_recipe("tiny")
    groups = {key: value for key, value in vars(recipe).items() if isinstance(value, Settings)}
    assert len(groups) > 10
    for name, group in groups.items():
        keys = [each.name for each in dataclasses.fields(group)]
        assert group.group == name
        assert len(keys) <= 25
        described = str(type(group).__doc__)
        assert [key for key in keys if f"\n        {key}: " not in described] == []


@dataclass(frozen=True, kw_only=True)
class Ours(SystemConfig):
    """A system that is none of the package's."""

    name: ClassVar[str] = "ours"
    strength: Annotated[float, Range(0, 2)] = 1.0
    layers: tuple[int, ...] = (1, 2)


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> type[SystemConfig]:
    monkeypatch.setattr(registry, "_registered", {})
    system = {"Config": Ours, "Pipeline": object, "build": None, "loss": None, "pipeline": None}
    registry.register_system("ours", type("OurSystem", (), system))
    return Ours


@pytest.mark.usefixtures("ours")
def test_a_system_of_others_stands_in_a_recipe() -> None:
    recipe = get_recipe("tiny", {"system": "ours", "system.strength": "0.5"})
    assert recipe.system == Ours(strength=0.5) == make_config("ours", strength=0.5)
    assert find_config("ours") is Ours
    again: dict[str, Any] = json.loads(json.dumps(recipe.to_json()))
    assert again["system"] == {"name": "ours", "strength": 0.5, "layers": [1, 2]}
    assert Recipe.from_json(again) == recipe
    with pytest.raises(InputError, match=r"recipe key system.strength is 3\.0, but must be in \[0, 2\]"):
        recipe.replace({"system.strength": 3})
    with pytest.raises(InputError, match=r"system\.strength is of the system 'ours', and this is 'vdm'"):
        get_recipe("vdm-moving-digits", {"system.strength": 1})


def test_a_system_that_nobody_registered_is_refused() -> None:
    with pytest.raises(InputError, match='system "ours" is unknown; there are videofusion, vdm'):
        get_recipe("tiny", {"system": "ours"})
