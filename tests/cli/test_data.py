"""`videofusion data make`, `check` and `report` on one small folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from videofusion.cli import main


def test_make_check_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "clips"
    assert main(["data", "make", "moving-digits", str(folder), "--count", "2", "--frames", "3", "--size", "16"]) == 0
    assert str(folder / "metadata.jsonl") in capsys.readouterr().out

    assert main(["data", "check", str(folder)]) == 0
    assert capsys.readouterr().out == ""

    (folder / "text.mp4").write_text("no video at all")
    assert main(["data", "check", str(folder)]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("text.mp4: ")

    assert main(["data", "report", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "3 videos" in out
    assert "16x16" in out
    assert "text.mp4" in out


@pytest.mark.parametrize("command", [["check"], ["report"]])
def test_no_folder_is_one_sentence(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", *command, str(tmp_path / "none")]) == 2
    err = capsys.readouterr().err
    assert "none" in err
    assert err.count("\n") == 1


def test_make_refuses_other_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "make", "moving-cats", str(tmp_path / "a"), "--count", "2"]) == 2
    assert "moving-digits" in capsys.readouterr().err
    assert main(["data", "make", "moving-digits", str(tmp_path / "a"), "--count", "0"]) == 2
    assert "count is 0" in capsys.readouterr().err


def test_make_draws_over_photographs_too(tmp_path: Path) -> None:
    words = ["--count", "2", "--frames", "2", "--size", "16"]
    folder = tmp_path / "clips"
    assert main(["data", "make", "digits-over-photos", str(folder), *words]) == 0
    assert '"ground": {"photo": ' in (folder / "metadata.jsonl").read_text()
    assert main(["data", "make", "moving-digits", str(folder), *words]) == 2  # one domain a folder
