from __future__ import annotations

import pytest

from videofusion.cli import main
from videofusion.models import SHIPPED


def test_models_lists_each_with_size_words_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    for model in SHIPPED.values():
        assert f"{model.name}  ({model.megabytes:.1f} MB)" in out
        assert f'"{model.example}"' in out
