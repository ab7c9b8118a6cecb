"""`videofusion runs`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videofusion.cli import main


def test_runs_are_listed_with_why_they_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "digits"
    run.mkdir()
    (run / "recipe.json").write_text(json.dumps({"budget": {"steps": 50}}))
    (run / "log.jsonl").write_text(json.dumps({"event": "train", "step": 20, "loss": 0.5}) + "\n{torn")
    (run / "session.json").write_text(json.dumps({"state": "crashed", "reason": "the disk is full"}))
    assert main(["runs", str(tmp_path)]) == 0
    head, line, reason = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["run", "state", "step", "loss"]
    assert line.split()[:4] == ["digits", "crashed", "20/50", "0.5000"]
    assert reason == "    the disk is full"


def test_a_folder_without_runs_says_so_and_a_missing_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"no run folders in {tmp_path}\n"
    assert main(["runs", str(tmp_path / "none")]) == 2
    assert "none is not a folder" in capsys.readouterr().err
