"""`videofusion compare`: what it refuses before any work, and what it lists."""

import pytest

from studies.plans import PLANS
from videofusion.cli import main


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "DIR is not given"),
        (["new", "tiny", "--seconds", "-1"], "seconds is -1"),
        (["new", "--report-only"], "no finished run"),
        (["new", "tiny", "--budget", "soon"], 'budget is "soon", which is neither a time nor an amount of arithmetic'),
        (["new", "--plan", "table-9"], 'plan is "table-9"; it must be one of decomposed, systems, videofusion-table-1'),
        (["new", "no-such-recipe"], '"no-such-recipe" is neither a recipe'),
        (["new", "moving-digits", "--plan", "systems"], 'no system "moving-digits"; it has vdm, joint'),
        (["new"], "SYSTEM is not given"),
        (["new", "moving-digits", "--full"], "full is given without --plan"),
        (["new", "moving-digits", "--clips", "5"], "clips is 5, but the measure of moving digits needs at least 128"),
        (["new", "moving-digits", "--steps", "0"], "steps is (0,)"),
        (["new", "--plan", "decomposed", "--full"], "which has no full size"),
        (["new", "--plan", "videofusion-table-1", "--full"], "trains on UCF101"),
        (["new", "folder64"], "data is not given"),
        (["new", "--plan", "systems", "--data", "clips"], "plans make their own"),
        (["new", "moving-digits", "--jobs", "1000"], "jobs is 1000"),
    ],
)
def test_bad_input_is_a_sentence(words, named, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *words]) == 2
    said = capsys.readouterr().err
    assert named in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_a_file_is_no_folder(capsys, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert main(["compare", str(tmp_path / "file")]) == 2
    assert "must be a folder" in capsys.readouterr().err


def test_the_plans_are_listed_without_a_folder(capsys):
    assert main(["compare", "--plan", "list"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("decomposed ")
    assert "videofusion-table-7" in out


@pytest.mark.slow
def test_every_plan_can_be_built_at_its_full_size(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, plan in PLANS.items():
        if plan.full is not None:
            assert main(["compare", "new", "--plan", name, "--full", "--dry-run"]) == 0
            out = capsys.readouterr().out
            for run in plan.full():
                assert not run.recipe or f"videofusion train {run.recipe} --run new/{run.name}" in out
            assert plan.source in out
    assert not list(tmp_path.iterdir())


def test_the_package_knows_no_plan(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("videofusion.comparison.plan.PLANS", {})
    assert main(["compare", str(tmp_path / "new"), "--plan", "decomposed"]) == 2
    assert "`python -m studies.compare` runs" in capsys.readouterr().err


def test_stopped_before_a_run_is_finished_it_reports_nothing(capsys, tmp_path, monkeypatch):
    from videofusion.comparison import compare

    monkeypatch.setattr(compare, "train_run", lambda *args: False)  # the time was up
    monkeypatch.setattr("videofusion.digits.comparison.DigitsMeasure.real", lambda self: None)
    words = ["compare", str(tmp_path / "new"), "moving-digits", "--seeds", "1"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "run the same command to resume" in said.out
    assert not said.err
