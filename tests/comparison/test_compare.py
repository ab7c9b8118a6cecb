"""A comparison goes on after a stop, shares the cores, and measures what it trained."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from studies import budget
from studies.budget import find_budget
from studies.decomposed import DECOMPOSED
from videofusion import models
from videofusion.comparison import compare
from videofusion.comparison.compare import REAL, Budget, Run
from videofusion.comparison.runs import append, results, train_command, train_run
from videofusion.comparison.systems import system_runs
from videofusion.digits.comparison import Finding
from videofusion.errors import InputError, RunError
from videofusion.locking import locked


class Numbers:
    """A measure that says how it was called."""

    note = "measured by nobody"

    def __init__(self):
        self.calls = []

    def prompt(self):
        return "a red three"

    def real(self):
        return {"measures": ["quality"], "quality": {"value": 0.0, "deviation": 0.0}}

    def __call__(self, pipe, sampling):
        self.calls.append((str(pipe), sampling.steps, sampling.guidance))
        row = {"measures": ["quality"], "quality": {"value": float(sampling.steps), "deviation": 0.1}}
        return Finding(row=row, clips=torch.zeros(2, 3, 3, 8, 8), captions=["one", "two"])


@pytest.fixture
def world(monkeypatch):
    """Nothing is trained or loaded; the runs that were asked for are kept."""
    trained = []

    def train(folder, run, threads, data=None, is_over=None):
        trained.append((run.name, run.seconds))
        return True

    monkeypatch.setattr(compare, "train_run", train)
    monkeypatch.setattr(compare, "run_facts", lambda run, threads: {"steps": 1})
    monkeypatch.setattr(compare, "cost_apart", lambda *_: {"parameters": 7, "gflops": 1.0})
    monkeypatch.setattr(models, "load", lambda path, device=None: Path(path).parent.name)
    return trained


def silent(text):
    pass


ONE = Budget(seconds=1)


def go(folder, runs, given=ONE, measure=None, **more):
    return compare.compare(folder, "p", runs, given, measure or Numbers(), say=silent, **more)


def base(name, **more):
    return Run(name=name, recipe="base-digits", seconds=1.0, measured="", **more)


def names(folder):
    return [row["name"] for row in results(folder) if row["name"] != REAL]


def test_goes_on_after_a_stop(tmp_path, monkeypatch, world):
    trained = []

    def train(folder, run, threads, data=None, is_over=None):
        trained.append(run.name)
        return not (run.name == "b" and trained.count("b") == 1)  # the time is up in the middle of b

    monkeypatch.setattr(compare, "train_run", train)
    runs = [base(name) for name in ("a", "b", "c")]
    go(tmp_path, runs)
    assert names(tmp_path) == ["a"]
    # A line that a kill cut off does not count.
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"name": "b"')
    go(tmp_path, runs)
    assert trained == ["a", "b", "b", "c"]
    assert names(tmp_path) == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"another plan or budget: seconds 1, not 2;"):
        go(tmp_path, runs, Budget(seconds=2))
    with pytest.raises(InputError, match="plan p, not q"):
        compare.compare(tmp_path, "q", runs, Budget(seconds=1), Numbers())


def test_a_signal_ends_the_runs_that_are_in_training(tmp_path, monkeypatch, world, capsys):
    begun = []

    def train(folder, run, threads, data=None, is_over=None):
        begun.append(run.name)
        if len(begun) == 1:
            assert not is_over()
            os.kill(os.getpid(), signal.SIGTERM)
            while not is_over():
                time.sleep(0.01)
            return False
        return True

    monkeypatch.setattr(compare, "train_run", train)
    runs = [base(name) for name in ("a", "b")]
    before = signal.getsignal(signal.SIGTERM)
    assert compare.compare(tmp_path, "p", runs, ONE, Numbers()) == 143
    assert "stopped by SIGTERM; run the same command to resume" in capsys.readouterr().out
    assert (begun, names(tmp_path), signal.getsignal(signal.SIGTERM)) == (["a"], [], before)
    assert go(tmp_path, runs) == 0
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.slow
def test_a_run_that_is_to_stop_leaves_a_checkpoint(tmp_path):
    run = Run(name="a", recipe="tiny", overrides={"batch.workers": 0, "log.sample_interval": 0})
    log = tmp_path / "a" / "log.jsonl"
    assert not train_run(tmp_path, run, 1, is_over=lambda: log.exists() and '"train"' in log.read_text())
    assert [*(tmp_path / "a" / "checkpoints").iterdir()]
    assert json.loads((tmp_path / "a" / "session.json").read_text())["reason"] == "SIGTERM"


@pytest.mark.parametrize("ends", [True, False])
def test_the_process_of_a_run_ends_with_the_one_that_began_it(ends):
    """Which holds the other end of its input."""
    code = (
        "import threading, time; from videofusion.cli import supervised as module; "
        "threading.Thread(target=module._end_with_parent, daemon=True).start(); print('there', flush=True); "
        f"time.sleep({60 if ends else 0.3})"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "there\n"
        if ends:
            process.stdin.close()
        assert process.wait(30) == (-signal.SIGTERM if ends else 0)


COMPARES = """
import sys
from pathlib import Path
from videofusion.comparison.runs import Run, train_run
run = Run(name="a", recipe="tiny", overrides={"batch.workers": 0, "log.sample_interval": 0, "log.interval": 1})
train_run(Path(sys.argv[1]), run, 1)
"""


@pytest.mark.slow
def test_a_comparison_that_is_killed_ends_its_trainings_and_the_next_goes_on(tmp_path):
    log, session = tmp_path / "a" / "log.jsonl", tmp_path / "a" / "session.json"
    for kills in range(3):
        size = log.stat().st_size if log.exists() else 0
        with subprocess.Popen([sys.executable, "-c", COMPARES, str(tmp_path)]) as process:
            while not (log.exists() and log.stat().st_size > size + 1000):
                assert process.poll() is None
                time.sleep(0.1)
            training = json.loads(session.read_text())["pid"]
            process.kill()  # the next one begins at once, while the training still writes its checkpoint
        if kills == 2:
            until = time.monotonic() + 60
            while Path(f"/proc/{training}").exists():
                assert time.monotonic() < until
                time.sleep(0.1)
            assert json.loads(session.read_text())["reason"] == "SIGTERM"


def test_a_comparison_in_a_folder_that_is_in_use_is_refused(tmp_path, world):
    with locked(tmp_path, "folder"), pytest.raises(InputError, match=f"in use by process {os.getpid()}"):
        compare.compare(tmp_path, "p", [base("a")], ONE, Numbers(), say=silent)
    assert names(tmp_path) == []


def test_pairs_of_comparisons_lose_no_line(tmp_path):
    """Each has the folder for itself, so that no line is written over."""
    forks = multiprocessing.get_context("fork")
    pair = [forks.Process(target=add_lines, args=(tmp_path, name)) for name in ("a", "b")]
    for process in pair:
        process.start()
    for process in pair:
        process.join()
        assert process.exitcode == 0
    assert sorted(names(tmp_path)) == sorted(f"{name}-{number}" for name in ("a", "b") for number in range(20))


def add_lines(folder: Path, name: str) -> None:
    """Compare again and again, a run more each time."""
    compare.train_run = lambda *_: True  # this process is there for nothing else
    compare.run_facts = lambda run, threads: {"steps": 1}
    compare.cost_apart = lambda *_: {"parameters": 7, "gflops": 1.0}
    models.load = lambda path, device=None: Path(path).parent.name
    for number in range(20):
        while True:
            try:
                compare.compare(folder, "p", [base(f"{name}-{number}")], ONE, Numbers(), say=silent)
                break
            except InputError as error:
                if "in use" not in str(error):
                    raise
                time.sleep(0.002)


def test_a_folder_of_the_first_version_goes_on(tmp_path, world, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    old = '{"seconds": 1, "base_seconds": 600.0, "seeds": 3, "clips": 128, "threads": 1}\n'
    (tmp_path / "budget.json").write_text(old)
    append(tmp_path / "results.jsonl", {"name": "a"})
    given = Budget(seconds=1, base_seconds=600.0, clips=128)
    compare.compare(tmp_path, "decomposed", [base("a"), base("b")], given, Numbers(), say=silent)
    assert [name for name, _ in world] == ["b"]
    assert (tmp_path / "budget.json").read_text() == old
    with pytest.raises(InputError, match=r"steps \[10\], not \[20\]"):
        compare.compare(
            tmp_path, "decomposed", [], Budget(seconds=1, base_seconds=600.0, clips=128, steps=(20,)), Numbers()
        )


def test_runs_side_by_side_wait_for_their_base_and_share_the_cores(tmp_path, monkeypatch, world):
    both = threading.Barrier(2, timeout=30)  # broken if a and b are not trained at one time
    shares = []

    def train(folder, run, threads, data=None, is_over=None):
        shares.append(threads)
        if run.name != "base":
            assert (tmp_path / "base-is-there").exists()
            both.wait()
        else:
            time.sleep(0.1)
            (tmp_path / "base-is-there").touch()
        return True

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr(compare, "train_run", train)
    runs = [base("base"), base("a", base="base"), base("b", base="base")]
    go(tmp_path, runs, jobs=2)
    assert sorted(names(tmp_path)) == ["a", "b", "base"]
    assert shares == [2, 2, 2]
    with pytest.raises(InputError, match="jobs is 5; this machine allows 1 to 4"):
        go(tmp_path, runs, jobs=5)
    with pytest.raises(InputError, match="threads"):  # seconds on more cores are other seconds
        go(tmp_path, runs, jobs=1)


def test_each_number_of_steps_is_measured_and_the_most_stands_in_the_table(tmp_path, world):
    measure = Numbers()
    go(tmp_path, [Run(name="a", recipe="tiny", seconds=4.0)], Budget(seconds=4, steps=(8, 2)), measure)
    assert measure.calls == [("a", 2, None), ("a", 8, None)]
    floor, row = results(tmp_path)
    assert floor["name"] == REAL
    assert row["quality"]["value"] == 8
    assert [(each["steps"], each["quality"]["value"]) for each in row["by_steps"]] == [(2, 2.0), (8, 8.0)]
    assert row["cost"]["gflops"] == 1.0
    assert row["note"] == "measured by nobody"


def test_looks_on_the_way_are_kept_and_not_repeated(tmp_path, world, monkeypatch):
    measure, given = Numbers(), Budget(seconds=6, looks=3)
    run = Run(name="a", recipe="tiny", seconds=6.0)

    def fails(*_):
        raise RunError("no room")

    monkeypatch.setattr(compare, "cost_apart", fails)
    with pytest.raises(RunError):
        go(tmp_path, [run], given, measure)
    assert world == [("a", 2.0), ("a", 4.0), ("a", 6.0)]
    assert len(measure.calls) == 3
    monkeypatch.setattr(compare, "cost_apart", lambda *_: {"parameters": 7})
    go(tmp_path, [run], given, measure)
    assert len(measure.calls) == 4  # only the end is looked at again
    assert world[3:] == [("a", 6.0)]
    assert [look["at"] for look in results(tmp_path)[-1]["looks"]] == [2.0, 4.0, 6.0]


def test_a_line_without_training_takes_another_runs_model_and_its_own_guidance(tmp_path, world):
    measure = Numbers()
    runs = [Run(name="a", recipe="tiny", seconds=1.0), Run(name="weight", of="a", sampling={"guidance": 3.0})]
    go(tmp_path, runs, measure=measure)
    assert measure.calls == [("a", 10, None), ("a", 10, 3.0)]
    assert world == [("a", 1.0)]
    assert results(tmp_path)[-1]["parameters"] == 7


def test_a_new_system_joins_by_its_name_and_another_one_of_a_name_does_not(tmp_path, world):
    given = Budget(seconds=1, seeds=1)
    go(tmp_path, system_runs(["moving-digits"], given), given)
    go(tmp_path, system_runs(["vdm-moving-digits"], given), given)
    assert names(tmp_path) == ["moving-digits-0", "vdm-moving-digits-0"]
    with pytest.raises(InputError, match='two lines of the comparison would be named "tiny-0"'):
        go(tmp_path, system_runs(["tiny", "tiny"], given), given)


def test_a_run_that_fails_names_its_command(tmp_path):
    with pytest.raises(RunError, match="no-such-recipe"):
        train_run(tmp_path, Run(name="x", recipe="no-such-recipe", seconds=1), 1)


def test_the_command_of_a_run_has_its_base_and_its_keys(tmp_path):
    run = Run(
        name="x",
        recipe="tiny",
        overrides={"network.channels": (8, 16), "system.adaptive": 0.5, "batch.reach": None},
        base="b",
    )
    words = train_command(tmp_path, run, "clips")
    assert words[:3] == ["videofusion", "train", "tiny"]
    assert words[words.index("--data") + 1] == "clips"
    keys = "--network.channels 8 16 --system.adaptive 0.5 --batch.reach None --start.image-model"
    assert words[-9:] == [*keys.split(), str(tmp_path / "b")]


def test_the_budget_is_the_first_at_which_places_are_kept(tmp_path, monkeypatch):
    asked = []

    def train(folder, run, threads):
        asked.append((run.name, run.base, run.seconds, threads))
        return True

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(budget, "train_run", train)
    monkeypatch.setattr(models, "load", lambda path, device: path)
    kept = iter((0.1, 0.5, 0.85, 0.1))
    monkeypatch.setattr(budget, "places_kept", lambda pipe, clips: next(kept))
    given = Budget(seconds=10, base_seconds=5)
    assert find_budget(tmp_path, given, 1000, jobs=2, say=silent) == 40
    looks = [("budget-vdm", "base-wide", seconds, 1) for seconds in (10, 20, 40)]
    assert asked == [("base-wide", None, 5, 1), *looks]
    with pytest.raises(RunError, match="after 15 s"):
        find_budget(tmp_path, given, 15, say=silent)
    assert DECOMPOSED.runs(given)[2].name == "vdm-0"  # which is what is tried
