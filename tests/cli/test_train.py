"""`videofusion train`: what the words become; the training itself is tested with the trainer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videofusion.cli import main
from videofusion.training.recipes import RECIPES, get_recipe


def dry(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["train", *words, "--run", "unused", "--dry-run"]) == 0
    recipe: dict[str, object] = json.loads(capsys.readouterr().out)
    return recipe


@pytest.mark.parametrize("name", RECIPES)
def test_dry_run_prints_the_recipe(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dry([name], capsys) == get_recipe(name).to_json()
    assert not Path("unused").exists()


def test_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tiny", "--steps", "7", "--set", "batch-size=3", "--set", "learning_rate=1e-3"]
    assert (
        dry(words, capsys) == get_recipe("tiny").replace({"steps": 7, "batch_size": 3, "learning_rate": 1e-3}).to_json()
    )


@pytest.mark.parametrize(("data", "kind"), [("clips", "folder"), ("static-digits", "static-digits")])
def test_data_is_a_folder_or_built_in(data: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert dry(["tiny", "--data", data], capsys)["data"] == kind


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nope"], 'recipe "nope" is unknown; there are tiny'),
        (["tiny", "--set", "batch=3"], 'recipe key "batch" is unknown; there are name, system'),
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
