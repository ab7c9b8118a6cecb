"""From what a user names to runs, and what cannot be compared."""

import json

import numpy as np
import pytest
import torch

from videofusion.comparison.compare import Budget, Run
from videofusion.comparison.dry_run import dry_run
from videofusion.comparison.runs import run_recipe, train_command
from videofusion.comparison.systems import (
    Alike,
    Shape,
    budget_of,
    by_flops,
    check_alike,
    choose_measure,
    seconds_of,
    system_runs,
)
from videofusion.digits.moving_digits import evaluation_prompts, render
from videofusion.errors import InputError
from videofusion.evaluation.model_domain import domain_of
from videofusion.recipes.catalogue import get_recipe

ONE = Budget(seconds=5, seeds=1, clips=128)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172800), ("0.5", 0.5)],
)
def test_durations(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "30 m", "m", "-3", "0", "1h-3m", "nan", "inf", "30M"])
def test_what_is_no_duration(text):
    with pytest.raises(InputError, match="budget is"):
        seconds_of(text)


@pytest.mark.parametrize(("text", "flops"), [("20PFLOP", 2e16), ("3e15flops", 3e15), ("1.5TFLOP", 1.5e12)])
def test_arithmetic(text, flops):
    assert budget_of(text) == {"flops": flops}
    assert budget_of("30m") == {"seconds": 1800}


def test_a_budget_of_arithmetic_gives_the_lighter_system_more_steps(tmp_path):
    light, heavy = (tmp_path / f"{name}.json" for name in ("light", "heavy"))
    light.write_text(json.dumps(get_recipe("tiny").to_json()))
    heavy.write_text(json.dumps(get_recipe("tiny", {"system.residual_channels": (64, 64)}).to_json()))
    given = Budget(flops=2e13, seeds=1)
    base = Run(name="base", recipe="digit-images", seconds=3.0, measured="")
    runs = by_flops(tmp_path, [base, *system_runs([str(light), str(heavy)], given)], given, None)
    assert runs[0] is base
    assert runs[1].seconds is None
    assert runs[1].overrides["budget.steps"] > 2 * runs[2].overrides["budget.steps"] > 0
    few = Budget(flops=1e3, seeds=1)
    with pytest.raises(InputError, match=r"the run light-0 cannot be made: a budget of 1e\+03 FLOP is not enough"):
        by_flops(tmp_path, system_runs([str(light)], few), few, None)
    with pytest.raises(InputError, match="allows one look"):
        Budget(flops=2e13, looks=2)


def test_recipes_have_seeds_and_models_have_none(saved_model, tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(get_recipe("tiny").to_json()))
    of_run = tmp_path / "run-a" / "recipe.json"
    of_run.parent.mkdir()
    of_run.write_text(file.read_text())
    runs = system_runs(["moving-digits", str(file), str(of_run), str(saved_model)], Budget(seeds=2))
    model = f"model-{saved_model.parent.name}"
    first = ["moving-digits-0", "mine-0", "run-a-0", model]
    assert [run.name for run in runs] == [*first, "moving-digits-1", "mine-1", "run-a-1"]
    assert [run.overrides.get("seed") for run in runs] == [0, 0, 0, None, 1, 1, 1]
    assert [run.group for run in runs][:4] == ["moving-digits", "mine", "run-a", model]
    with pytest.raises(InputError, match=r'"movin" is neither a recipe .* nor a model'):
        system_runs(["movin"], ONE)


def test_unlike_clips_and_unlike_data_do_not_stand_in_one_table(tmp_path, saved_model):
    both = system_runs(["moving-digits", "vdm-moving-digits"], ONE)
    alike = check_alike(tmp_path, both, None)
    assert alike.shape == (16, 32, 32)
    assert alike.recipe.name == "moving-digits"
    with pytest.raises(InputError, match="16 frames of 32x32 and 4 frames of 16x16"):
        check_alike(tmp_path, system_runs(["moving-digits", "tiny"], ONE), None)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(get_recipe("moving-digits", {"clips.two_digits": 0.3}).to_json()))
    with pytest.raises(InputError, match=r"moving-digits, 0\.2 of two digits and moving-digits, 0\.3"):
        check_alike(tmp_path, system_runs(["moving-digits", str(other)], ONE), None)
    # nor with those that stand in it already
    file = tmp_path / "results.jsonl"
    file.write_text(json.dumps({"name": "old-0", "recipe": get_recipe("moving-digits").to_json()}) + "\n")
    with pytest.raises(InputError, match=r"other-0 and old-0 .* 0\.3 of two digits and moving-digits, 0\.2"):
        check_alike(tmp_path, system_runs([str(other)], ONE), None)
    file.write_text(json.dumps({"name": "old-0", "shape": [8, 32, 32]}) + "\n")
    with pytest.raises(InputError, match=r"moving-digits-0 and old-0 .* 8 frames of 32x32"):
        check_alike(tmp_path, both, None)
    file.unlink()
    with pytest.raises(InputError, match="square clips of 2 frames or more, of 32 pixels or more"):
        check_alike(tmp_path, system_runs([str(saved_model)], ONE), None)


def test_what_measures_what():
    def measure(name, data=None, **more):
        return choose_measure(Alike(get_recipe(name), Shape(16, 32, 32)), ONE, data, **more)

    assert measure("moving-digits").grounds == "plain"
    with pytest.raises(InputError, match="data is static-digits"):
        measure("base-digits")
    with pytest.raises(InputError, match="data is not given"):
        measure("folder64")
    with pytest.raises(InputError, match='protocol is "tats", but clips of moving-digits'):
        measure("moving-digits", protocol="tats")


def kept(folder, **index):
    """A model's folder, as far as a comparison looks into it."""
    folder.mkdir(parents=True)
    shape = {"frames": 16, "height": 32, "width": 32}
    (folder / "model_index.json").write_text(json.dumps({**shape, **index}))
    return str(folder)


def test_models_are_measured_on_what_they_make_or_on_what_is_named(tmp_path):
    """A model of people was once judged as if it made digits."""
    shipped, over = "moving-digits", kept(tmp_path / "over", data="digits-over-photos")
    people, unknown = kept(tmp_path / "people", data="folder"), kept(tmp_path / "unknown")

    def measure(*models, data=None, recipe=None):
        names = {f"model-{number}": model for number, model in enumerate(models)}
        recipe = None if recipe is None else get_recipe(recipe)
        return choose_measure(Alike(recipe, Shape(16, 32, 32), names), ONE, data)

    assert [domain_of(model) for model in (shipped, over, people, unknown)] == [
        "moving-digits",
        "digits-over-photos",
        None,
        None,
    ]
    assert measure(shipped, shipped).grounds == "plain"
    assert measure(over, over).grounds == "photos"
    assert measure(over, shipped, data="moving-digits").grounds == "plain"
    assert measure(shipped, recipe="moving-digits").grounds == "plain"
    for models, recipe in (
        ((people, people), None),
        ((unknown, shipped), None),
        ((over, shipped), None),
        ((over,), "moving-digits"),
        ((people,), "moving-digits"),
    ):
        with pytest.raises(InputError, match=r"data is not given, and model-\d makes .*--data"):
            measure(*models, recipe=recipe)


def test_models_alone_are_measured_on_any_folder(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    clips = render(evaluation_prompts(30, held_out=False, seed=3, frames=8), 8, 32)
    np.save(folder / "clips.npy", ((clips + 1) * 127.5).round().to(torch.uint8).permute(0, 1, 3, 4, 2).numpy())
    shape = {"frames": 8, "height": 32, "width": 32}
    models = {name: kept(tmp_path / name / "model", **shape) for name in ("one", "other")}

    def measure():
        alike = Alike(None, Shape(8, 32, 32), models)
        return choose_measure(alike, Budget(clips=32, seconds=1), str(folder), allow_few=True)

    assert "whether other models did is not known" in measure().note
    assert (measure().preset.frames, measure().preset.size) == (8, 32)
    few = len(measure().against.describe()) and measure().against.describe()["videos"]
    # where a model's run is there, what it held out is what is measured on
    recipe = get_recipe("folder64-small", {"clips.size": 32, "clips.frames": 8, "clips.validation_share": 0.5})
    (tmp_path / "other" / "recipe.json").write_text(json.dumps(recipe.to_json()))
    assert measure().against.describe()["videos"] > few


def test_a_plan_keeps_its_stills_over_photographs(tmp_path):
    base = Run(name="base", recipe="base-digits", measured="")
    clips = Run(name="clips", recipe="moving-digits")
    for data, kinds in (("digits-over-photos", ("static-over-photos", "digits-over-photos")), (None, None)):
        found = tuple(run_recipe(tmp_path, run, data).clips.kind for run in (base, clips))
        assert found == (kinds or ("static-digits", "moving-digits"))
    command = train_command(tmp_path, base, "digits-over-photos")
    assert command[command.index("--data") + 1] == "static-over-photos"
    assert (
        run_recipe(tmp_path, Run(name="own", recipe="folder64"), "digits-over-photos").clips.kind
        == "digits-over-photos"
    )


def test_a_dry_run_counts_every_run_and_writes_nothing(tmp_path):
    text = dry_run(tmp_path / "new", system_runs(["tiny"], ONE))
    assert "| tiny-0 | tiny" in text
    assert "5 s" in text
    assert "videofusion train tiny --run" in text
    assert not (tmp_path / "new").exists()
