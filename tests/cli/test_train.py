"""`videofusion train`: what the words become; the training itself is tested with the trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videofusion.cli import main
from videofusion.comparison.runs import option_words
from videofusion.errors import InputError
from videofusion.recipes.catalogue import RECIPES, get_recipe
from videofusion.recipes.recipe import Recipe
from videofusion.training.estimate import trial


class Found:
    """A trial that found all well."""

    def report(self) -> str:
        return "what was found"

    def check(self) -> None:
        pass


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, Path, Path | None]]:
    """What would have been tried, instead of trying it."""
    calls: list[tuple[Recipe, Path, Path | None]] = []

    def dry_run(recipe: Recipe, run: Path, data: Path | None, *, device: str) -> Found:
        calls.append((recipe, run, data))
        return Found()

    monkeypatch.setattr(trial, "dry_run", dry_run)
    return calls


def dry(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["train", *words, "--run", "unused", "--dry-run"]) == 0
    text, _, found = capsys.readouterr().out.partition("\n\n")
    assert found == "what was found\nthe run is ready to start; nothing was written\n"
    recipe: dict[str, object] = json.loads(text)
    return recipe


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize("name", [name for name in RECIPES if not name.startswith("videofusion-sd-")])
def test_dry_run_prints_the_recipe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dry([name], capsys) == get_recipe(name).to_json()
    assert not Path("unused").exists()


def test_a_recipe_for_an_image_model_asks_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "videofusion-sd-256", "--run", "unused", "--dry-run"]) == 2
    assert "--base is not given" in capsys.readouterr().err


def test_dry_run_tries_what_would_be_trained(
    tried: list[tuple[Recipe, Path, Path | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    dry(["tiny", "--data", "clips", "--batch.size", "3"], capsys)
    assert tried == [(get_recipe("tiny", {"clips.kind": "folder", "batch.size": 3}), Path("unused"), Path("clips"))]


def test_dry_run_that_finds_too_little_room_says_so_after_its_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(Found):
        def check(self) -> None:
            raise InputError("the disk is too small")

    monkeypatch.setattr(trial, "dry_run", lambda *_, **__: Full())
    assert main(["train", "tiny", "--run", "unused", "--dry-run"]) == 2
    captured = capsys.readouterr()
    assert captured.out.endswith("what was found\n")
    assert captured.err == "videofusion: the disk is too small\n"


@pytest.mark.usefixtures("tried")
def test_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tiny", "--steps", "7", "--batch.size", "3", "--optimizer.learning-rate", "1e-3"]
    assert (
        dry(words, capsys)
        == get_recipe("tiny").replace({"budget.steps": 7, "batch.size": 3, "optimizer.learning_rate": 1e-3}).to_json()
    )


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize(("data", "kind"), [("clips", "folder"), ("static-digits", "static-digits")])
def test_data_is_a_folder_or_built_in(data: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dry(["tiny", "--data", data], capsys)["clips"]["kind"] == kind


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nope"], 'recipe "nope" is unknown; there are tiny'),
        (["tiny", "--batch.siz", "3"], 'recipe key "batch.siz" is unknown (did you mean "batch.size"?); there are'),
        (["tiny", "--bach.size", "3"], 'recipe key "bach.size" is unknown (did you mean "batch.size"?); there are'),
        (["tiny", "--batch.size", "many"], "Error parsing --batch.size"),
        (["tiny", "--system.share", "a"], "Error parsing --system.share"),
        (["tiny", "--system.share", "1.5"], "videofusion: recipe key system.share is 1.5, but must be in [0, 0.999]"),
        (["tiny", "--system.noise", "mixed"], "system.noise is of the system 'vdm', and this is 'videofusion'"),
        (["vdm-folder64", "--system.share=0.5"], "system.share is of the system 'videofusion', and this is 'vdm'"),
        (["tiny", "--system", "vdm", "--system.share", "0.5"], "system.share is of the system 'videofusion'"),
        (["tiny", "--system", "gan"], 'system "gan" is unknown'),
        (["tiny", "--compute.offload", "base"], "recipe key compute.offload is 'base', but goes with shard only"),
        (["tiny", "--system.variant", "nice"], "--system.variant"),
        (["tiny", "--compute.no-compiles"], 'recipe key "compute.no_compiles" is unknown'),
        (["tiny", "--set", "batch_size=3"], "--set is of an older version; give --batch.size 3"),
        (["tiny", "--learning-rate", "3"], "--learning-rate is of an older version; give --optimizer.learning-rate"),
        (["tiny", "--stepps", "3"], "--stepps"),
        (["--batch.size", "3", "tiny"], "the recipe comes first"),
        (["tiny", "--steps", "0"], "steps is 0"),
        (["tiny", "--system.share", "0.5", "--system", "vdm"], "system.share is of the system 'videofusion'"),
        (["tiny", "--batch.size", "3", "--batch.size=4"], "--batch.size is given twice; leave one out"),
        (["tiny", "--compute.compile", "--compute.no-compile"], "--compute.no-compile is given twice"),
        (["tiny", "--system", "vdm", "--system", "videofusion"], "--system is given twice"),
        (["tiny", "--sampling.sampler", "euler"], "recipe key sampling.sampler is 'euler', but must be one of ddim"),
        (["tiny", "--clips.layout", "heap"], "recipe key clips.layout is 'heap', but must be one of auto, folder"),
        (["tiny", "--clips.fps-range", "nan", "3"], "clips.fps_range is (nan, 3.0), but must be two numbers"),
        (["tiny", "--clips.fps-range", "9", "3"], "the lower one first"),
        (["tiny", "--clips.fps-range", "9"], "must be two numbers"),
        (["tiny", "--clips.strides", "0"], "recipe key clips.strides is (0,), but must be numbers in [1, 1000]"),
        (["tiny", "--name", ""], "recipe key name is '', but must be a printable word"),
    ],
)
def test_bad_values_are_one_sentence(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words, "--run", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("tried")
def test_keys_of_every_kind_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    given = "--compute.compile --compute.no-shard --network.channels 8 16 --batch.reach None --log.boards"
    given += " --diffusion.time-logit -0.5 1.2 --clips.fps 8 --optimizer.rates *temporals*=1e-4 *=0 --seed 3"
    keys = {
        "compute.compile": True,
        "network.channels": (8, 16),
        "batch.reach": None,
        "log.boards": (),
        "diffusion.time_logit": (-0.5, 1.2),
        "clips.fps": 8.0,
        "optimizer.rates": ("*temporals*=1e-4", "*=0"),
        "seed": 3,
    }
    assert dry(["moving-digits", *given.split()], capsys) == get_recipe("moving-digits", keys).to_json()
    vdm = {"system": "vdm", "system.noise": "mixed", "network.temporal": "factorised"}
    words = ["--system", "vdm", "--system.noise", "mixed", "--network.temporal", "factorised"]
    assert dry(["folder64", *words], capsys) == get_recipe("folder64", vdm).to_json()


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize(("recipe", "changes"), [("tiny", {}), ("vdm-bair", {"seed": 5})])
def test_the_words_of_a_recipe_give_it(
    recipe: str, changes: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = get_recipe(recipe, changes)
    values = {key: value for key, value in wanted.dotted().items() if key != "system"}
    words = [word for key, value in values.items() for word in option_words(key, value)]
    assert dry([recipe, *words], capsys) == wanted.to_json()


def test_help_shows_the_groups_of_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "folder64", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for group in get_recipe("folder64").to_json().keys() - {"name", "seed"}:
        assert f" {group} options " in text
    assert "--system.adaptive FLOAT" in text
    assert "(default: 64 128 192 256)" in text  # the recipe's, not those of any recipe
    assert "--system.noise" not in text
    assert main(["train", "vdm-folder64", "--help"]) == 0
    assert "--system.noise" in capsys.readouterr().out
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    assert "vdm-folder64" in text
    assert "--network.channels" not in text


@pytest.mark.parametrize("words", [["--run", ""], ["--run="]])
def test_no_run_folder_is_not_this_folder(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "tiny", *words]) == 2
    assert capsys.readouterr().err == "videofusion: --run is empty; it must be a folder\n"
    assert not list(tmp_path.iterdir())
