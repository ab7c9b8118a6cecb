"""The commands of the reports: what they refuse, before any work."""

import pytest

from tools import digits_motion, digits_report, embedded_report, judge_report
from videofusion.cli import run_command

COMMANDS = {
    "digits-report": digits_report.digits_report,
    "digits-motion": digits_motion.digits_motion,
    "judge-report": judge_report.main,
    "embedded-report": embedded_report.main,
}


def main(words):
    """What `python -m tools.NAME` does."""
    return run_command(COMMANDS[words[0]], words[0], words[1:])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["digits-report", "--count", "3"], "count is 3"),
        (["digits-motion", "--pairs", "1"], "pairs is 1"),
        (["digits-report", "--model", "no-such-model"], "no-such-model"),
        (["embedded-report", "--clips", "255"], "over 255 samples, but under 256"),
        (["embedded-report", "--distortions", "blurr"], 'distortions has "blurr"; it must be one of blur'),
        (["embedded-report", "--data", "absent"], 'data "absent" is not a folder'),
    ],
)
def test_bad_input_is_a_sentence(words, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert named in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_is_no_folder_for_results(command, capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert main([command, "--out", str(tmp_path / "file")]) == 2
    assert "must be a folder" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_report_is_not_replaced_unless_it_is_said(command, capsys, tmp_path):
    (tmp_path / f"{command}.json").write_text("mine")
    assert main([command, "--out", str(tmp_path)]) == 2
    assert "add --force to replace it" in capsys.readouterr().err
    assert (tmp_path / f"{command}.json").read_text() == "mine"
