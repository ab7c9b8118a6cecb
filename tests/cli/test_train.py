"""`videofusion train`: what the words become; the training itself is tested with the trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videofusion.cli import main
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
    assert found == "what was found\nthe run can begin; nothing was written\n"
    recipe: dict[str, object] = json.loads(text)
    return recipe


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize("name", RECIPES)
def test_dry_run_prints_the_recipe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dry([name], capsys) == get_recipe(name).to_json()
    assert not Path("unused").exists()


def test_dry_run_tries_what_would_be_trained(
    tried: list[tuple[Recipe, Path, Path | None]], capsys: pytest.CaptureFixture[str]
) -> None:
    dry(["tiny", "--data", "clips", "--set", "batch_size=3"], capsys)
    assert tried == [(get_recipe("tiny", {"data": "folder", "batch_size": 3}), Path("unused"), Path("clips"))]


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
    words = ["tiny", "--steps", "7", "--set", "batch-size=3", "--set", "learning_rate=1e-3"]
    assert (
        dry(words, capsys) == get_recipe("tiny").replace({"steps": 7, "batch_size": 3, "learning_rate": 1e-3}).to_json()
    )


@pytest.mark.usefixtures("tried")
@pytest.mark.parametrize(("data", "kind"), [("clips", "folder"), ("static-digits", "static-digits")])
def test_data_is_a_folder_or_built_in(data: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dry(["tiny", "--data", data], capsys)["data"] == kind


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nope"], 'recipe "nope" is unknown; there are tiny'),
        (["tiny", "--set", "batch=3"], 'recipe key "batch" is unknown (did you mean "batch_size"?); there are'),
        (["tiny", "--set", "batch_size"], "must be KEY=VALUE"),
        (["tiny", "--set", "batch_size=many"], "batch_size cannot be 'many'"),
        (["tiny", "--steps", "0"], "steps is 0"),
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
