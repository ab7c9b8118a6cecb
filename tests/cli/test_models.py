"""`videofusion models`."""

from __future__ import annotations

from pathlib import Path

import pytest

from videofusion import models
from videofusion.cli import main
from videofusion.models import SHIPPED, ShippedModel


def test_models_are_listed_with_size_words_and_an_example(
    saved_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ShippedModel(name=saved_model.name, summary="Random pictures", example="red three")
    monkeypatch.setattr(models, "FOLDER", saved_model.parent)
    monkeypatch.setitem(SHIPPED, own.name, own)
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert f"model  (3 frames of 8x8, {own.megabytes:.1f} MB)\n  Random pictures\n" in out
    assert '"red three" --model model' in out
    assert "words: red, three\n" in out


def test_a_missing_model_is_listed_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    assert main(["models"]) == 0
    assert capsys.readouterr().out.count("missing from this installation") == len(SHIPPED)
    assert main(["generate", "a", "--model", next(iter(SHIPPED)), "-o", str(tmp_path / "a.mp4")]) == 2
    assert "is missing from this installation" in capsys.readouterr().err
