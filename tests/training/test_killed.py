"""Runs that are killed with SIGKILL at random moments: they go on, and come to the same bits.

A few kills in the fast suite, fifty by `pytest -m slow tests/training/test_killed.py`.
"""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
import toy
from ranks import PRELOADED, command, killed, order_of, small_folder_recipe, together, train_in_order
from test_trainer import assert_same_state
from test_world import folder_of_clips
from toy import toy_trainer

from videofusion.data.batch import Sample
from videofusion.data.loader import Loader
from videofusion.errors import RunError
from videofusion.training import checkpoints
from videofusion.training.batches import training_data
from videofusion.training.checkpoints import newest
from videofusion.training.run_folder import open_run
from videofusion.training.run_list import read_run
from videofusion.training.trainer import Trainer
from videofusion.training.world import World

FORKS = multiprocessing.get_context("forkserver")  # pays for the imports once
FORKS.set_forkserver_preload(PRELOADED)


def kill_until_done(run: Path, kills: int, steps: int) -> int:
    """Train in processes of their own that are killed at random moments; returns how many kills struck."""
    generator, struck, log = random.Random(0), 0, run / "log.jsonl"
    while True:
        process = FORKS.Process(target=toy.train_in_a_process, args=(run, steps))
        size = log.stat().st_size if log.exists() else 0
        process.start()
        if struck == kills:
            process.join()
            assert process.exitcode == 0
            return struck
        while process.is_alive() and (not log.exists() or log.stat().st_size == size):
            time.sleep(0.01)  # until it trains
        process.join(generator.uniform(0, 0.4))
        if process.exitcode is not None:
            assert process.exitcode == 0
            return struck
        process.kill()
        process.join()
        struck += 1


@pytest.mark.parametrize(("kills", "steps"), [(2, 150), pytest.param(50, 2000, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_comes_to_the_same_bits(tmp_path, kills, steps):
    struck = kill_until_done(tmp_path / "killed", kills, steps)
    assert struck >= max(1, kills // 2)  # else the run was over too soon to show anything
    whole = toy_trainer(tmp_path / "whole", **{"budget.steps": steps}, **toy.LONG)
    whole.train()
    assert_same_state(newest(tmp_path / "killed" / "checkpoints", pytest.fail), whole.state.checkpoint())


def session(data: Path, run: Path, steps: int) -> multiprocessing.Process:
    """A process of the command; it is forked from one that has paid for the imports."""
    recipe = data.parent / "recipe.json"
    if not recipe.exists():
        recipe.write_text(json.dumps(small_folder_recipe(**{"text.dropout": 0.3}).to_json()))
    words = ["train", str(recipe), "--data", str(data), "--run", str(run), "--device", "cpu", "--steps", str(steps)]
    process = FORKS.Process(target=command, args=(words,))
    process.start()
    return process


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, 50])
def test_the_command_killed_at_random_moments_comes_to_the_same_bits(tmp_path, kills):
    generator, run, data = random.Random(0), tmp_path / "killed", folder_of_clips(tmp_path / "data")
    log, folder, seen, torn = run / "log.jsonl", run / "checkpoints", [], 0
    for _ in range(kills):
        lines = lines_of(log) + generator.randint(1, 12)  # of which each step writes one
        process = session(data, run, 10**6)
        while process.is_alive() and lines_of(log) < lines:
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.2))
        assert process.exitcode is None
        process.kill()
        process.join()
        torn += bool(list(run.rglob("*.new")))
        for path in folder.glob("step-*"):
            checkpoints.load(path)  # whole, whenever the kill came
        seen.append(max((int(path.name[5:]) for path in folder.glob("step-*")), default=0))
    assert seen == sorted(seen)
    assert len(set(seen)) >= kills / 3  # they came at different stages of a run that went on
    last = seen[-1] + 7
    whole = tmp_path / "whole"
    for each in (run, whole):
        process = session(data, each, last)
        process.join()
        assert process.exitcode == 0
    assert_same_state(*(newest(each / "checkpoints", pytest.fail) for each in (run, whole)))
    print(f"killed {kills} times, {torn} of them while something was written; newest checkpoints: {seen}, {last} steps")


@pytest.mark.parametrize("pairs", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_pairs_of_commands_that_start_at_the_same_moment_are_one_run(tmp_path, pairs):
    run, data, refused = tmp_path / "run", folder_of_clips(tmp_path / "data"), 0
    for number in range(1, pairs + 1):
        pair = [session(data, run, 4 * number) for _ in range(2)]
        for process in pair:
            process.join()
        codes = sorted(process.exitcode for process in pair)
        assert codes in ([0, 0], [0, 2])  # the second came when the first had ended, or was refused
        refused += codes == [0, 2]
        assert max(checkpoints.load(path).step for path in (run / "checkpoints").glob("step-*")) == 4 * number
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["event"] == "train"] == list(range(1, 4 * pairs + 1))
    process = session(data, tmp_path / "whole", 4 * pairs)
    process.join()
    assert_same_state(*(newest(each / "checkpoints", pytest.fail) for each in (run, tmp_path / "whole")))
    print(f"{pairs} pairs, of which {refused} met")


class Dying:
    """Its worker is killed in the second epoch, as by a kernel that is out of memory."""

    def __len__(self) -> int:
        return 8

    def sample(self, index: int, epoch: int, seed: int) -> Sample:
        if epoch:
            os.kill(os.getpid(), signal.SIGKILL)
        return Sample(torch.zeros(4, 3, 8, 8), "", str(index))


class Slow(toy.ToySystem):
    """So that the worker ends while a step computes."""

    def loss(self, *arguments, **options):
        time.sleep(0.3)
        return super().loss(*arguments, **options)


@pytest.mark.filterwarnings(
    "ignore:.*multi-threaded.*:DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_a_killed_worker_ends_the_run_in_a_sentence(tmp_path):
    recipe = toy.toy_recipe(**{"log.validation_interval": 100, "log.boards": ()})
    open_run(recipe, tmp_path)
    loader = Loader(Dying(), 4, workers=1)
    with pytest.raises(RunError, match=r"^a process that reads clips was killed \(out of memory\?\): "):
        Trainer(recipe, Slow(), loader, toy.toy_validation(), tmp_path, torch.device("cpu")).train()
    assert read_run(tmp_path).reason.startswith("a process that reads clips was killed")


def lines_of(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "shard"), [(1, False), (10, False), (6, True)])
def test_two_processes_that_are_killed_read_in_the_same_order_and_leave_no_half_checkpoint(tmp_path, kills, shard):
    data, run, generator = folder_of_clips(tmp_path / "data"), tmp_path / "run", random.Random(1)
    log, folder = run / "log.jsonl", run / "checkpoints"
    for number in range(kills):
        size = log.stat().st_size if log.exists() else 0
        victims = [[0], [1], [0, 1]][number % 3]

        def trains(size: int = size) -> bool:
            return log.exists() and log.stat().st_size > size

        killed(train_in_order, run, data, 10**6, shard, victims=victims, when=trains, after=generator.uniform(0, 2))
        for path in folder.glob("step-*"):
            checkpoints.load(path)
    steps = max((int(path.name[5:]) for path in folder.glob("step-*")), default=0) + 3
    assert together(train_in_order, run, data, steps, shard) == ([0, 0], [])
    assert newest(folder, pytest.fail).step == steps
    for rank in (0, 1):
        loader, _ = training_data(small_folder_recipe(), data, World(rank, 2))
        drawn = order_of(run, rank)
        assert {number for number, _ in drawn} >= set(range(steps))
        for number, names in drawn:
            assert names == loader.batch(number).names, (rank, number)
