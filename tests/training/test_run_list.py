"""What run folders say of themselves while a run lives, ends, crashes and is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import toy
from toy import ToySystem, toy_trainer

from videofusion.errors import InputError, RunError
from videofusion.locking import locked
from videofusion.recipes.catalogue import get_recipe
from videofusion.training import session as sessions
from videofusion.training.run_list import Run, find_runs, read_run, table
from videofusion.training.trainer import train


class Calls(ToySystem):
    """Calls back in a step."""

    def __init__(self, back, at: int = 4) -> None:
        super().__init__()
        self._back, self._at = back, at

    def loss(self, batch, keys, step, progress=1.0):
        if step == self._at and self.modules["net"].training:
            self._back()
        return super().loss(batch, keys, step)


def test_running_and_then_finished(tmp_path):
    seen = []
    toy_trainer(
        tmp_path,
        Calls(lambda: seen.append(read_run(tmp_path))),
        **{"log.sample_interval": 5, "sampling.prompts": ("a",)},
    ).train()
    assert (seen[0].state, seen[0].step, seen[0].steps, seen[0].sample) == ("running", 4, 10, None)
    done = read_run(tmp_path)
    last = json.loads([line for line in (tmp_path / "log.jsonl").read_text().splitlines() if '"train"' in line][-1])
    assert (done.state, done.reason, done.step) == ("finished", "steps", 10)
    assert (done.loss, done.rate) == (last["loss"], last["clips_per_second"])
    assert done.sample == "step-00000010.png"
    assert done.seen == pytest.approx(time.time(), abs=60)


def test_stopped_by_a_signal_and_running_again(tmp_path):
    toy_trainer(tmp_path, Calls(lambda: os.kill(os.getpid(), signal.SIGTERM))).train()
    stopped = read_run(tmp_path)
    assert (stopped.state, stopped.reason, stopped.step) == ("stopped", "SIGTERM", 5)
    seen = []
    toy_trainer(tmp_path, Calls(lambda: seen.append(read_run(tmp_path)), at=7)).train()
    assert seen[0].state == "running"


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (RunError("the loss\nis none"), "crashed", "the loss"),
        (KeyError("a bug"), "crashed", "KeyError: 'a bug'"),
        (SystemExit(3), "crashed", "SystemExit: 3"),
        (KeyboardInterrupt(), "stopped", "KeyboardInterrupt"),
    ],
)
def test_any_exception_leaves_its_reason(tmp_path, error, state, reason):
    def fail():
        raise error

    for _ in range(2):
        with pytest.raises(type(error)):
            toy_trainer(tmp_path, Calls(fail)).train()
    found = read_run(tmp_path)
    assert (found.state, found.reason, found.step) == (state, reason, 4)
    crashes = (tmp_path / "crash.txt").read_text().count("Traceback") if state == "crashed" else 2
    assert crashes == 2  # none is written over
    assert toy_trainer(tmp_path).train().exit_code == 0
    assert read_run(tmp_path).state == "finished"


def test_a_checkpoint_that_does_not_fit_is_a_crash_with_its_sentence(tmp_path):
    toy_trainer(tmp_path, **{"budget.steps": 2}).train()
    with pytest.raises(InputError):
        toy_trainer(tmp_path, ToySystem(width=5)).train()
    assert "has shape (4, 3, 3, 3)" in str(read_run(tmp_path).reason)


def test_a_full_disk_does_not_hide_the_error(tmp_path, monkeypatch):
    def full(run, values):
        raise OSError(28, "No space left on device")

    def fail():
        monkeypatch.setattr(sessions, "_write", full)
        raise KeyError("the error")

    with pytest.raises(KeyError, match="the error"):
        toy_trainer(tmp_path, Calls(fail)).train()


def test_a_killed_process_is_told_by_its_absence(tmp_path):
    context = multiprocessing.get_context("forkserver")  # pays for the imports once
    context.set_forkserver_preload(["toy", "torch.utils.tensorboard", "torch._dynamo"])
    process = context.Process(target=toy.train_in_a_process, args=(tmp_path, 10**6))
    process.start()
    while read_run(tmp_path).loss is None:
        assert process.is_alive()
        time.sleep(0.02)
    assert read_run(tmp_path).state == "running"
    process.kill()
    while (tmp_path / "session.json").exists() and read_run(tmp_path).state == "running":
        time.sleep(0.02)
    found = read_run(tmp_path)
    assert (found.state, found.steps) == ("crashed", 10**6)
    assert found.reason == f"process {process.pid} is gone without a word: killed, or the machine went down"
    process.join()


def test_a_later_process_of_the_same_number_is_not_the_run(tmp_path):
    toy_trainer(tmp_path, **{"budget.steps": 2}).train()
    path = tmp_path / "session.json"
    mine = {"state": "running", "host": sessions.socket.gethostname(), "pid": os.getpid()}
    for began, state in ((sessions.process_start(os.getpid()), "running"), ("1", "crashed"), (None, "running")):
        path.write_text(json.dumps({**mine, "process": began}))
        assert read_run(tmp_path).state == state


def test_a_folder_in_which_another_process_trains_is_refused(tmp_path):
    toy_trainer(tmp_path, **{"budget.steps": 2}).train()
    with locked(tmp_path, "run folder"):
        with pytest.raises(InputError, match=f"run folder .* is in use by process {os.getpid()}; wait until"):
            train(get_recipe("tiny"), tmp_path)
        with pytest.raises(InputError, match="is in use"):
            train(get_recipe("tiny"), tmp_path / ".." / tmp_path.name)


def test_on_another_machine_silence_tells(tmp_path):
    toy_trainer(tmp_path, **{"budget.steps": 2}).train()
    (tmp_path / "session.json").write_text(json.dumps({"state": "running", "host": "elsewhere", "pid": 1}))
    assert read_run(tmp_path).state == "running"
    for name in ("session.json", "log.jsonl"):
        os.utime(tmp_path / name, (0, time.time() - 3600))
    found = read_run(tmp_path)
    assert (found.state, found.reason) == ("crashed", "no sign of life from process 1 on elsewhere")


def test_a_long_step_is_no_silence(tmp_path, monkeypatch):
    monkeypatch.setattr("videofusion.training.logs._BEAT", 0.0)
    log, seen = tmp_path / "log.jsonl", []

    def age():
        os.utime(log, (0, 0))

    toy_trainer(tmp_path, Calls(age, at=4), **{"log.interval": 100, "log.validation_interval": 100}).train()
    toy_trainer(tmp_path / "b", Calls(age, at=4)).train()
    seen.append(read_run(tmp_path).seen)
    assert seen[0] == pytest.approx(time.time(), abs=60)


def test_run_folders_are_found_wherever_they_are_and_damage_is_no_error(tmp_path):
    for name in ("a", "b/c"):
        toy_trainer(tmp_path / name, **{"budget.steps": 2}).train()
    (tmp_path / "a" / "model" / "log.jsonl").write_text("")  # parts of a run are no runs
    (tmp_path / "a" / "model" / "recipe.json").write_text("{}")
    (tmp_path / "b" / "recipe.json").write_text("{}")  # a copied recipe
    found = find_runs(tmp_path)
    assert [run.folder.relative_to(tmp_path).as_posix() for run in found] == ["a", "b/c"]
    assert find_runs(tmp_path / "a") == [found[0]]
    for name in ("recipe.json", "session.json", "log.jsonl"):
        (tmp_path / "a" / name).write_bytes(b'{"torn\xff')
    assert find_runs(tmp_path)[0].state == "unknown"
    with pytest.raises(InputError, match="is not a folder"):
        find_runs(tmp_path / "none")


def test_the_table_has_a_line_for_each_run_and_the_reason_below():
    runs = [
        Run(folder=Path("x/a"), state="running", step=1200, steps=20000, loss=0.12345, rate=7.25, seen=995.0),
        Run(
            folder=Path("x/b/c"), state="crashed", reason="the disk is full", sample="step-00000100.png", seen=-99000.0
        ),
    ]
    assert table(runs, Path("x"), now=1000.0).splitlines() == [
        "run  state    step        loss    clips/s  last sample        seen",
        "a    running  1200/20000  0.1235  7.2      -                  5 s ago",
        "b/c  crashed  -           -       -        step-00000100.png  27 h ago",
        "    the disk is full",
    ]
