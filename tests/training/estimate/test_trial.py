"""The dry run: what it finds, what it refuses, and that it leaves nothing."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections import namedtuple

import pytest
import torch
from small import smallest

from videofusion.errors import InputError
from videofusion.training import get_recipe
from videofusion.training.estimate import trial
from videofusion.training.estimate.trial import dry_run
from videofusion.training.run_folder import open_run


def test_tries_all_of_a_run_and_leaves_nothing(tmp_path):
    recipe = smallest(**{"log.sample_interval": 4, "sampling.steps": 2})
    found = dry_run(recipe, tmp_path / "a" / "run", device="cpu")
    assert list(tmp_path.iterdir()) == []
    found.check()
    assert {part.name for part in found.parts} == {"base", "residual", "text_encoder"}
    numbers = sum(part.trained for part in found.parts)
    held = found.memory.held
    assert held.gradients == 4 * numbers
    assert 8 * numbers < held.moments < 8.1 * numbers
    assert set(found.memory.phases) == {"step", "update", "validation", "samples", "checkpoint"}
    assert found.memory.activations < found.memory.phases["step"]
    assert found.memory.activations > found.memory.phases["validation"]
    assert found.disk == 4 * (held.weights + held.average + held.moments) + 2 * held.weights
    report = found.report()
    assert all(word in report for word in ("base", "frozen", "activations", "expected peak", "disk"))


def test_activations_grow_with_the_batch_and_the_frozen_are_told_apart(tmp_path):
    small = dry_run(smallest(**{"system.base_loss": "fixed"}), tmp_path / "run", device="cpu")
    assert [part.trained for part in small.parts if part.name == "base"] == [0]
    large = dry_run(smallest(**{"system.base_loss": "fixed", "batch.size": 4}), tmp_path / "run", device="cpu")
    assert 1.8 < large.memory.activations / small.memory.activations < 2.1
    assert large.memory.held == small.memory.held


def test_what_saves_memory_is_counted(tmp_path):
    plain, saved = (
        dry_run(
            smallest(**{"compute.gradient_checkpointing": on, "clips.size": 32}), tmp_path / "run", device="cpu"
        ).memory
        for on in (False, True)
    )
    assert saved.activations < 0.6 * plain.activations
    assert saved.phases["step"] < plain.phases["step"]


def test_micro_batches_share_the_activations_of_one(tmp_path):
    one, three = (dry_run(smallest(**{"batch.accumulation": n}), tmp_path / "run", device="cpu").memory for n in (1, 3))
    assert three.activations == pytest.approx(one.activations, rel=0.02)
    assert one.phases["step"] < three.phases["step"] < one.phases["step"] + 1.5 * one.held.gradients


def test_folder_of_a_run_stays_as_it_is(tmp_path):
    open_run(smallest(), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    dry_run(smallest(), tmp_path, device="cpu")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    with pytest.raises(InputError, match=r"another recipe; what differs: system\.share"):
        dry_run(smallest(**{"system.share": 0.25}), tmp_path, device="cpu")


def test_what_cannot_begin_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        dry_run(smallest("folder64"), tmp_path / "run", tmp_path / "none", device="cpu")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file, not a folder"):
        dry_run(smallest(), tmp_path / "file" / "run", device="cpu")
    with pytest.raises(InputError, match=r"start\.model is"):
        dry_run(smallest(**{"start.model": str(tmp_path)}), tmp_path / "run", device="cpu")


def test_too_little_memory_is_told_before_the_step(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "available", lambda device: 1000)
    monkeypatch.setattr(trial, "_watched", pytest.fail)
    with pytest.raises(InputError, match=r"take .*, but 1 kB are free on cpu"):
        dry_run(smallest(), tmp_path / "run", device="cpu")


def test_weights_that_have_no_room_are_not_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(trial, "available", lambda device: 10**9)
    monkeypatch.setattr(torch, "manual_seed", pytest.fail)
    with pytest.raises(InputError, match=r"take 4\.\d+ GB, but 1 GB are free on cpu"):
        dry_run(
            smallest(**{"network.channels": (256, 1024), "system.residual_channels": (16, 16)}),
            tmp_path / "run",
            device="cpu",
        )


def test_too_little_memory_or_disk_for_the_run_is_told(tmp_path, monkeypatch):
    disk = namedtuple("disk", "total used free")(10**6, 10**6 - 2000, 2000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: disk)
    found = dry_run(smallest(), tmp_path / "run", device="cpu")
    with pytest.raises(InputError, match=r"checkpoints and model need .*, but its disk has 2 kB"):
        found.check()
    with pytest.raises(InputError, match="expected to need"):
        dataclasses.replace(found, free=found.memory.peak - 1).check()


MEASURED = """
import json, sys
from pathlib import Path
import videofusion.systems.build
from videofusion.training import get_recipe
from videofusion.training.batches import training_data
from videofusion.training.trainer import train
from videofusion.training.world import World

def status(key):
    return 1024 * int(Path("/proc/self/status").read_text().split(key + ":")[1].split()[0])

recipe = get_recipe("tiny", json.loads(sys.argv[1]))
training_data(recipe, None, World())
idle = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
train(recipe, Path(sys.argv[2]), device="cpu", bar=False)
print(status("VmHWM") - idle)
"""
TRIED = """
import json, sys
from pathlib import Path
from videofusion.training import get_recipe
from videofusion.training.estimate.trial import dry_run
print(dry_run(get_recipe("tiny", json.loads(sys.argv[1])), Path(sys.argv[2]), device="cpu").memory.peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system's count of pages is Linux's")
def test_expected_peak_is_that_of_a_process(tmp_path):
    changes = {
        "batch.size": 16,
        "budget.steps": 4,
        "log.boards": [],
        "log.validation_interval": 2,
        "checkpoints.interval": 2,
    }

    def bytes_of(program: str) -> int:
        words = [sys.executable, "-c", program, json.dumps(changes), str(tmp_path / "run")]
        return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])

    expected, measured = bytes_of(TRIED), bytes_of(MEASURED)
    assert abs(expected / measured - 1) < 0.15, f"{expected:,} expected, {measured:,} measured"


@pytest.mark.gpu
def test_expected_peak_is_that_of_a_gpu(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    found = dry_run(get_recipe("tiny", {"batch.size": 64}), tmp_path / "run", device="cuda")
    expected = found.memory.held.resident + found.memory.phases["step"]
    assert abs(expected / found.measured - 1) < 0.15
