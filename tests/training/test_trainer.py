import errno
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import toy
from PIL import Image
from toy import ToySystem, toy_recipe, toy_trainer

from videofusion.clip import contact_sheet
from videofusion.errors import InputError, RunError
from videofusion.training import checkpoints
from videofusion.training.checkpoints import Checkpoint, newest
from videofusion.training.run_folder import open_run
from videofusion.training.trainer import Trainer, training_keys


def assert_same_state(a: Checkpoint, b: Checkpoint) -> None:
    assert (a.step, a.ema_updates) == (b.step, b.ema_updates)
    for kind in ("weights", "ema", "optimizer", "random"):
        mine, other = getattr(a, kind), getattr(b, kind)
        assert mine.keys() == other.keys()
        for name in mine:
            assert torch.equal(mine[name], other[name]), f"{kind} {name}"


def parameters_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: trainer.state.tensors[name] for name in trainer.state.ema.shadow}


def log_of(run: Path, event: str) -> list[dict]:
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize("stop", [1, 5, 9])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_stopped_and_resumed_run_equals_the_unbroken_one_to_the_bit(tmp_path, stop, accumulation):
    options = {"optimizer.schedule": "constant", "batch.accumulation": accumulation}
    whole = toy_trainer(tmp_path / "whole", **options)
    whole.train()
    toy_trainer(tmp_path / "parts", **{"budget.steps": stop}, **options).train()
    parts = toy_trainer(tmp_path / "parts", **options)
    parts.train()
    assert_same_state(parts.state.checkpoint(), whole.state.checkpoint())
    assert parts.state.best == whole.state.best
    model = "model/weight.json"
    assert (tmp_path / "parts" / model).read_text() == (tmp_path / "whole" / model).read_text()


def test_training_really_changes_every_weight_and_the_average_lags(tmp_path):
    trainer = toy_trainer(tmp_path)
    before = {name: value.detach().clone() for name, value in parameters_of(trainer).items()}
    trainer.train()
    for name, value in parameters_of(trainer).items():
        assert not torch.equal(value, before[name]), name
        assert not torch.equal(value, trainer.state.ema.shadow[name]), name


def test_looking_does_not_touch_the_training(tmp_path):
    often = toy_trainer(tmp_path / "often", **{"log.validation_interval": 1, "checkpoints.interval": 1})
    seldom = toy_trainer(tmp_path / "seldom", **{"log.validation_interval": 100, "checkpoints.interval": 100})
    often.train()
    seldom.train()
    assert_same_state(often.state.checkpoint(), seldom.state.checkpoint())


def test_validation_is_of_the_average_with_noise_that_never_changes(tmp_path):
    trainer = toy_trainer(
        tmp_path,
        **{
            "log.validation_interval": 1,
            "optimizer.learning_rate": 0.0,
            "optimizer.weight_decay": 0.0,
            "optimizer.ema_decay": 0.0,
        },
    )
    trainer.system.modules["norm"].momentum = 0.0  # nothing at all may move
    trainer.train()
    losses = [line["loss"] for line in log_of(tmp_path, "validation")]
    assert len(losses) == 10
    assert len(set(losses)) == 1


def test_accumulated_gradient_is_that_of_the_large_batch(tmp_path):
    def gradient(run: Path, size: int, accumulation: int) -> list[torch.Tensor]:
        trainer = toy_trainer(run, **{"batch.accumulation": accumulation, "optimizer.clip_gradient": 1e6})
        for module in trainer.system.modules.values():
            module.eval()  # batch statistics and dropout would differ
        batches = toy.ToyBatches(size).starting(0)
        trainer._step([next(batches) for _ in range(accumulation)])
        return [parameter.grad for parameter in parameters_of(trainer).values()]

    for small, large in zip(gradient(tmp_path / "a", 2, 3), gradient(tmp_path / "b", 6, 1), strict=True):
        torch.testing.assert_close(small, large)


def test_gradient_is_clipped_and_rates_follow_the_groups(tmp_path):
    trainer = toy_trainer(tmp_path, **{"optimizer.clip_gradient": 1e-3, "log.interval": 1})
    trainer.train()
    norm = torch.cat([parameter.grad.flatten() for parameter in parameters_of(trainer).values()]).norm()
    assert norm <= 1.001e-3
    rates = [group["lr"] for group in trainer.state.optimizer.param_groups]
    assert rates[1] == pytest.approx(0.1 * rates[0])
    assert log_of(tmp_path, "train")[0]["gradient_norm"] > 1e-2


@pytest.mark.parametrize(("clock", "counts"), [("wall", "perf_counter"), ("processor", "process_time")])
def test_budget_of_seconds_ends_the_run_and_is_counted_over_sessions(tmp_path, monkeypatch, clock, counts):
    seconds = iter(range(10**6))
    monkeypatch.setattr(f"videofusion.training.trainer.time.{counts}", lambda: float(next(seconds)))
    options = {"budget.steps": 1000, "optimizer.learning_rate": 1e-3, "budget.clock": clock}
    first = toy_trainer(tmp_path, **{"budget.seconds": 4.0}, **options).train()
    assert (first.step, first.seconds, first.stopped_by, first.exit_code) == (4, 4.0, "seconds", 0)
    second = toy_trainer(tmp_path, **{"budget.seconds": 7.0}, **options).train()
    assert (second.step, second.seconds) == (7, 7.0)
    third = toy_trainer(tmp_path, **{"budget.seconds": 7.0}, **options).train()
    assert (third.step, third.stopped_by) == (7, "seconds")


def test_not_a_number_names_step_and_clip_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(RunError, match=r"step 8: the loss is nan; clips of the batch: clip-28; .*step-00000006"):
        toy_trainer(tmp_path, ToySystem(nan_at=7)).train()
    found = newest(tmp_path / "checkpoints", pytest.fail)
    assert found.step == 6
    assert all(value.isfinite().all() for value in found.weights.values())
    resumed = toy_trainer(tmp_path)
    resumed.train()
    whole = toy_trainer(tmp_path / "whole")
    whole.train()
    assert_same_state(resumed.state.checkpoint(), whole.state.checkpoint())


def test_infinite_gradient_is_caught_before_it_reaches_the_weights(tmp_path):
    trainer = toy_trainer(tmp_path)
    next(iter(parameters_of(trainer).values())).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(
        RunError, match=r"step 1: the gradient norm is (inf|nan); clips of the batch: clip-0, .* no checkpoint yet"
    ):
        trainer.train()
    assert all(value.isfinite().all() for value in parameters_of(trainer).values())


class Stops(ToySystem):
    """Sends this process a signal in the middle of a step."""

    def __init__(self, number: int, at: int) -> None:
        super().__init__()
        self.number, self.at = number, at

    def loss(self, batch, keys, step, progress=1.0):
        if step == self.at and self.modules["net"].training:
            os.kill(os.getpid(), self.number)
        return super().loss(batch, keys, step)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_signal_finishes_the_step_and_leaves_a_checkpoint(tmp_path, number, code):
    handler = signal.getsignal(number)
    result = toy_trainer(tmp_path / "a", Stops(number, 4)).train()
    assert (result.step, result.stopped_by, result.exit_code) == (5, signal.Signals(number).name, code)
    assert signal.getsignal(number) is handler
    assert newest(tmp_path / "a" / "checkpoints", pytest.fail).step == 5
    assert (result.model / "weight.json").exists()
    resumed, whole = toy_trainer(tmp_path / "a"), toy_trainer(tmp_path / "b")
    assert resumed.train().exit_code == 0
    whole.train()
    assert_same_state(resumed.state.checkpoint(), whole.state.checkpoint())


def test_a_terminal_that_was_closed_costs_nothing(tmp_path, monkeypatch):
    """As SIGHUP comes: nothing can be written to it any more."""

    class Closed:
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

        def isatty(self):
            return True

        flush = fileno = write

    monkeypatch.setattr("sys.stderr", Closed())
    result = toy_trainer(tmp_path, Stops(signal.SIGHUP, 4)).train()
    assert (result.step, result.exit_code) == (5, 129)
    assert json.loads((tmp_path / "session.json").read_text())["reason"] == "SIGHUP"
    assert log_of(tmp_path, "note")


def test_checkpoints_come_by_the_clock_too(tmp_path, monkeypatch):
    clock = iter(range(0, 10**6, 15))  # seconds, at each look
    clocks = SimpleNamespace(
        monotonic=lambda: next(clock), perf_counter=time.perf_counter, process_time=time.process_time
    )
    monkeypatch.setattr("videofusion.training.trainer.time", clocks)
    options = {"checkpoints.keep": 100, "checkpoints.interval": 100, "log.validation_interval": 100}
    toy_trainer(tmp_path / "a", **options, **{"checkpoints.minutes": 1}).train()
    steps = [int(path.name[5:]) for path in (tmp_path / "a" / "checkpoints").iterdir()]
    assert sorted(steps) == [3, 7, 10]
    toy_trainer(tmp_path / "b", **options).train()
    assert [path.name for path in (tmp_path / "b" / "checkpoints").iterdir()] == ["step-00000010"]


def test_a_line_of_the_log_that_a_kill_cut_off_goes(tmp_path):
    toy_trainer(tmp_path, **{"budget.steps": 4}).train()
    log = tmp_path / "log.jsonl"
    whole = log.read_bytes()
    for rest in (b'{"event": "train", "st', b'{"text": "' + 200_000 * b"x", b"\0\0\0"):
        log.write_bytes(whole + rest)
        toy_trainer(tmp_path, **{"budget.steps": 4}).train()
        assert log.read_bytes().startswith(whole)
        assert log_of(tmp_path, "train")
        whole = log.read_bytes()
    log.write_bytes(b'{"event')
    toy_trainer(tmp_path, **{"budget.steps": 4}).train()
    assert log_of(tmp_path, "note")


class Sees(ToySystem):
    """Keeps how far the run had come at each step."""

    def __init__(self):
        super().__init__()
        self.progress: list[float] = []

    def loss(self, batch, keys, step, progress=1.0):
        if self.net.training:
            self.progress.append(progress)
        else:
            assert progress == 1
        return super().loss(batch, keys, step, progress)


def test_a_system_is_told_how_far_the_run_has_come(tmp_path, monkeypatch):
    """By steps or by seconds, whichever end it; a run that goes on goes on from there."""
    system = Sees()
    toy_trainer(tmp_path / "steps", system).train()
    assert system.progress == [step / 10 for step in range(10)]
    seconds = iter(range(10**6))
    monkeypatch.setattr("videofusion.training.trainer.time.perf_counter", lambda: float(next(seconds)))
    system = Sees()
    toy_trainer(tmp_path / "seconds", system, **{"budget.steps": 10**6, "budget.seconds": 4.0}).train()
    assert system.progress == [0, 1 / 4, 2 / 4, 3 / 4]
    system = Sees()
    toy_trainer(tmp_path / "seconds", system, **{"budget.steps": 10**6, "budget.seconds": 8.0}).train()
    assert system.progress == [4 / 8, 5 / 8, 6 / 8, 7 / 8]


def test_folder_of_another_recipe_is_refused_by_the_keys_that_differ(tmp_path):
    open_run(toy_recipe(), tmp_path)
    open_run(
        toy_recipe(**{"budget.steps": 99, "checkpoints.keep": 7, "log.interval": 1}), tmp_path
    )  # how long and how talkative may change
    with pytest.raises(InputError, match=r"another recipe; what differs: system.share \(.* there, 0\.25 here\), seed"):
        open_run(toy_recipe(**{"system.share": 0.25}, seed=3), tmp_path)
    (tmp_path / "recipe.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        open_run(toy_recipe(), tmp_path)


def test_run_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used: Not a directory"):
        open_run(toy_recipe(), tmp_path / "file" / "run")
    with pytest.raises(InputError, match="cannot be used: File exists"):
        open_run(toy_recipe(), tmp_path / "file")


def test_checkpoint_of_another_shape_is_refused(tmp_path):
    toy_trainer(tmp_path, **{"budget.steps": 2}).train()
    with pytest.raises(
        InputError, match=r"net\.0\.weight has shape \(4, 3, 3, 3\), but the system needs \(5, 3, 3, 3\)"
    ):
        toy_trainer(tmp_path, ToySystem(width=5)).train()


def test_full_disk_ends_the_run_with_a_sentence_and_the_last_checkpoint(tmp_path, monkeypatch):
    save, saves = checkpoints.save, []

    def full(folder, checkpoint, world):
        saves.append(checkpoint.step)
        if len(saves) == 3:
            monkeypatch.setattr("videofusion.files.sync", refuse)
        return save(folder, checkpoint, world)

    def refuse(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save", full)
    with pytest.raises(RunError, match="No space left"):
        toy_trainer(tmp_path).train()
    assert newest(tmp_path / "checkpoints", pytest.fail).step == saves[1]
    assert not list(tmp_path.rglob("*.new"))
    assert (tmp_path / "model" / "weight.json").exists()


def test_keeps_the_last_and_the_best_of_a_run(tmp_path):
    trainer = toy_trainer(tmp_path, **{"checkpoints.keep": 1, "log.validation_interval": 1, "checkpoints.interval": 1})
    values = iter([5.0, 1.0, *[9.0] * 100])
    judge = trainer._losses
    trainer._losses = lambda batch, seed, step, progress=1.0: (
        judge(batch, seed, step) if seed == 0 else toy.ToyLosses(torch.tensor(next(values)), {}, torch.zeros(4))
    )
    trainer.train()
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000002", "step-00000010"]
    assert (trainer.state.best, trainer.state.best_step) == (1.0, 2)


def test_sample_grids_show_the_average_and_do_not_depend_on_where_a_run_was_stopped(tmp_path):
    options = {"log.sample_interval": 4, "sampling.prompts": ("a two", "a red three"), "optimizer.schedule": "constant"}
    whole = toy_trainer(tmp_path / "whole", **options)
    whole.train()
    toy_trainer(tmp_path / "parts", **options, **{"budget.steps": 6}).train()
    toy_trainer(tmp_path / "parts", **options).train()
    sheets = {
        run: {p.name: p.read_bytes() for p in (tmp_path / run / "samples").iterdir()} for run in ("whole", "parts")
    }
    assert sorted(sheets["whole"]) == [f"step-{step:08d}.png" for step in (4, 8, 10)]
    assert sheets["whole"].items() <= sheets["parts"].items()
    assert len(set(sheets["whole"].values())) == 3
    with whole.state.averaged():
        shown = read_picture(tmp_path / "whole" / "samples" / "step-00000010.png")
        made = whole.system.pipeline()(list(options["sampling.prompts"]), seed=[0, 1], steps=1)
    assert np.array_equal(shown, contact_sheet(made, options["sampling.prompts"]))


def read_picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_clips_that_cannot_be_used_are_recorded_once_each(tmp_path):
    trainer = toy_trainer(tmp_path, **{"log.interval": 1})
    trainer.batches.report["a.mp4"] = "cut short"
    trainer.train()
    assert [(line["clip"], line["reason"]) for line in log_of(tmp_path, "left out")] == [("a.mp4", "cut short")]
    assert any("1 clips could not be used" in line["text"] for line in log_of(tmp_path, "note"))


def test_without_tensorboard_a_line_says_so_and_the_log_is_complete(tmp_path, monkeypatch):
    def missing(module, extra):
        raise InputError(f'"{module}" is not installed')

    monkeypatch.setattr("videofusion.training.boards.require", missing)
    toy_trainer(tmp_path).train()
    assert any("no TensorBoard" in line["text"] for line in log_of(tmp_path, "note"))
    assert [line["step"] for line in log_of(tmp_path, "train")] == [2, 4, 6, 8, 10]
    assert not (tmp_path / "tensorboard").exists()


def test_keys_differ_by_seed_and_by_sample_and_do_not_depend_on_the_batch():
    keys = training_keys(0, [3, 4]).content
    assert training_keys(0, [4]).content == keys[1:]
    assert len({*keys, *training_keys(1, [3, 4]).content}) == 4
    assert all(0 <= key < 2**63 for key in keys)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, on importing its compiler
def test_compiles_the_networks_under_the_same_names(tmp_path):
    plain, compiled = toy_trainer(tmp_path / "a"), toy_trainer(tmp_path / "b", **{"compute.compile": True})
    assert compiled.system.modules["net"]._compiled_call_impl is not None
    assert plain.system.modules["net"]._compiled_call_impl is None
    assert compiled.state.tensors.keys() == plain.state.tensors.keys()
