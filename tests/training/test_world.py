"""Runs that several processes share: two on the CPU, which talk through gloo."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from ranks import talk, together, train_recipe, train_toy
from safetensors.torch import load_file
from small import smallest, state_of
from test_trainer import log_of
from toy import toy_trainer

from videofusion.errors import InputError
from videofusion.models import load
from videofusion.parts import WEIGHTS
from videofusion.training.batches import training_data
from videofusion.training.checkpoints import newest, place
from videofusion.training.estimate.trial import dry_run
from videofusion.training.export import export_model as export
from videofusion.training.sharding import check_sharding
from videofusion.training.signals import stop_signal
from videofusion.training.trainer import train
from videofusion.training.world import World


def folder_of_clips(folder: Path) -> Path:
    """Twelve clips of two people, one of them broken in the middle."""
    rows = []
    for number in range(12):
        place = folder / f"clip-{number:02d}"
        place.mkdir(parents=True)
        for frame in range(3):
            grey = np.random.default_rng(100 * number + frame).integers(0, 255, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(grey).save(place / f"{frame}.png")
        rows.append({"file_name": place.name, "text": f"person {number % 2}", "identity": str(number % 2)})
    (folder / "clip-05" / "1.png").write_bytes(b"no picture")
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("shard", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_it_does_not_matter_how_many_processes_train(tmp_path, shard):
    data = folder_of_clips(tmp_path / "data")
    recipe = smallest(
        "folder64",
        **{
            "clips.layout": "frames",
            "clips.frames": 3,
            "batch.workers": 0,
            "clips.validation_share": 0.3,
            "system.grouped": True,
            "system.adaptive": 0.5,
            "batch.size": 4,
            "optimizer.learning_rate": 1e-2,
            "log.interval": 1,
            "text.dropout": 0.4,
            "log.sample_interval": 2,
            "sampling.steps": 1,
            "checkpoints.interval": 100,
        },
    )
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    train(recipe, alone, data, steps=4, device="cpu", bar=False)
    cut = recipe.replace({"compute.shard": shard})
    if shard:
        train(recipe, shared, data, steps=1, device="cpu", bar=False)
        offloaded = cut.replace({"compute.offload": "base"})
        assert together(train_recipe, offloaded, shared, data, 2, size=4) == ([0] * 4, [])
    assert together(train_recipe, cut, shared, data, 3) == ([0, 0], [])
    model = export(place(shared / "checkpoints", 3), tmp_path / "exported", dtype="float32")
    for part in ("base", "residual", "text_encoder"):
        mine, other = (load_file(each / part / WEIGHTS) for each in (shared / "model", model))
        assert all(torch.equal(value, other[name]) for name, value in mine.items())
    load(shared / "model", device="cpu")("person 1", seed=0, steps=1)
    train(recipe, shared, data, steps=4, device="cpu", bar=False)

    for event in ("train", "validation"):
        one = log_of(alone, event)
        # a session ends with a validation, in the middle of the run if that is where it ends
        several = [line for line in log_of(shared, event) if line["step"] in [mine["step"] for mine in one]]
        assert [line["step"] for line in one] == [line["step"] for line in several]
        for mine, other in zip(one, several, strict=True):
            for name in ("loss", "base", "residual", *(["gradient_norm"] if event == "train" else [])):
                assert mine[name] == pytest.approx(other[name], rel=1e-4), (event, mine["step"], name)
    assert {line["clip"] for line in log_of(shared, "left out")} == {"clip-05"}
    assert state_of(alone).keys() == state_of(shared).keys()
    sheets = [np.asarray(Image.open(run / "samples" / "step-00000002.png"), dtype=int) for run in (alone, shared)]
    assert np.abs(sheets[0] - sheets[1]).mean() < 2  # of 255


def test_processes_hear_each_other(tmp_path):
    assert together(talk, tmp_path) == ([0, 0], [])
    heard = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert heard[0] == heard[1]
    assert heard[0] == {
        "gradients": [[[1.5] * 3] * 2, [0.5] * 3, 4.0, None],  # the last one had a part in nothing
        "mean": {"a": 0.5, "b": 3.0},
        "most": [1.0, 0.0],
        "together": [0, 1, 1],
        "first": "of 0",
    }


def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path):
    assert together(train_toy, tmp_path, "terminated") == ([143, 143], [])
    assert newest(tmp_path / "checkpoints", pytest.fail).step == 6
    assert json.loads((tmp_path / "session.json").read_text())["reason"] == "SIGTERM"
    assert sorted(line["clip"] for line in log_of(tmp_path, "left out")) == ["broken-0", "broken-1"]


def test_a_killed_process_ends_the_run_with_a_sentence_and_the_run_goes_on_from_the_checkpoint(tmp_path):
    codes, said = together(train_toy, tmp_path, "killed")
    assert codes == [1, -signal.SIGKILL]
    session = json.loads((tmp_path / "session.json").read_text())
    assert (session["state"], [session["reason"]]) == ("crashed", said)
    assert "another process of this run ended" in said[0]
    assert "step-00000004, from which the same command resumes" in said[0]
    changes = {"checkpoints.interval": 4, "log.validation_interval": 100}
    trainer = toy_trainer(tmp_path, **changes)
    assert trainer.train().step == 10
    assert any("going on from step 4" in line["text"] for line in log_of(tmp_path, "note"))


def test_not_a_number_in_one_process_ends_all_and_names_its_clip(tmp_path):
    codes, said = together(train_toy, tmp_path, "nan")
    assert codes == [1, 1]
    assert said[0] == said[1]
    assert "step 6: the loss is nan; clips of the batch: clip-23; the last good checkpoint is" in said[0]


def test_a_batch_is_shared_evenly_or_not_at_all():
    assert [World(rank, 3).share(6) for rank in range(3)] == [2, 2, 2]
    with pytest.raises(InputError, match=r"recipe key batch\.size is 6, but must be a multiple of 4"):
        training_data(smallest(**{"batch.size": 6}), None, World(1, 4))


def test_validation_is_shared_too():
    _, alone = training_data(smallest(**{"batch.size": 4, "log.validation_batches": 3}), None, World())
    shares = [
        training_data(smallest(**{"batch.size": 4, "log.validation_batches": 3}), None, World(r, 2))[1] for r in (0, 1)
    ]
    for whole, *parts in zip(alone, *shares, strict=True):
        assert whole.names == [name for part in parts for name in part.names]
        assert torch.equal(whole.clip, torch.cat([part.clip for part in parts]))


def test_only_the_words_of_torchrun_make_a_world(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert World.of_environment() == World()
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")  # a scheduler's, of a whole machine
    assert World.of_environment() == World()
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert World.of_environment() == World(3, 4, 1)
    with pytest.raises(InputError, match="--dry-run is of one process, but torchrun started 4"):
        dry_run(smallest(), Path("none"))
    monkeypatch.setenv("LOCAL_RANK", "one")
    with pytest.raises(InputError, match="LOCAL_RANK=one, where numbers are needed"):
        World.of_environment()


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert World(5, 8, 1).device(torch.device("cuda")) == torch.device("cuda", 1)
    assert World(5, 8, 1).device(torch.device("cpu")) == torch.device("cpu")
    assert World().device(torch.device("cuda:1")) == torch.device("cuda:1")
    with pytest.raises(InputError, match="process 3 of this machine, which has 2 GPUs"):
        World(2, 3, 2).device(torch.device("cuda"))
    with pytest.raises(InputError, match="device is cuda:1, but 2 processes need a GPU each"):
        World(0, 2, 0).device(torch.device("cuda:1"))


@pytest.mark.parametrize(
    ("changes", "world", "message"),
    [
        ({}, World(), "there is one process; `torchrun --nproc-per-node N"),
        ({"compute.compile": True}, World(0, 2), "compile is True; allowed is one of them"),
        ({"start.trains": "lora"}, World(0, 2), "trains is 'lora'; allowed there are"),
    ],
)
def test_sharding_that_cannot_be_is_refused(changes, world, message):
    with pytest.raises(InputError, match=message):
        check_sharding(smallest(**{"compute.shard": True}, **changes), world)
    check_sharding(smallest(**changes), world)


def test_sharding_is_refused_before_anything_is_made(tmp_path):
    with pytest.raises(InputError, match=r"recipe key compute\.shard is True, but there is one process"):
        train(smallest(**{"compute.shard": True}), tmp_path / "run", device="cpu", bar=False)
    with pytest.raises(InputError, match=r"--dry-run is of one process, but recipe key compute\.shard is True"):
        dry_run(smallest(**{"compute.shard": True}), tmp_path / "run", device="cpu")
    assert not list(tmp_path.iterdir())


def test_a_second_sigterm_of_torchrun_is_only_noted():
    acted = []
    former = signal.signal(signal.SIGTERM, lambda *_: acted.append("as usual"))
    try:
        for patient, expected in ((True, []), (False, ["as usual"])):
            with stop_signal(patient=patient) as seen:
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGTERM)
                assert (seen.name, seen.number) == ("SIGTERM", signal.SIGTERM)
            assert acted == expected
    finally:
        signal.signal(signal.SIGTERM, former)


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["false", "true"])
def test_torchrun_with_a_killed_process(tmp_path, shard):
    """The real command: a process is killed, all ends with a sentence, and the same command goes on."""
    keys = f"--compute.{'' if shard == 'true' else 'no-'}shard --batch.size 4 --network.channels 16 16"
    keys += " --system.residual-channels 16 16 --network.attention none transformer --network.patch 1 --network.heads 2"
    keys += " --network.blocks 1 --text.size 16 --clips.size 8 --checkpoints.interval 2 --log.sample-interval 0"
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--", "videofusion"]
    words = ["train", "tiny", "--run", str(tmp_path), "--device", "cpu", *keys.split()]
    first = subprocess.Popen([*start, *words, "--steps", "100000"], stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("checkpoints/step-*")):
        assert first.poll() is None
        time.sleep(0.1)
    second = next(pid for pid in children(first.pid) if "\0RANK=1\0" in Path(f"/proc/{pid}/environ").read_text())
    os.kill(second, signal.SIGKILL)
    _, said = first.communicate(timeout=120)
    assert first.returncode == 1
    assert "videofusion, process 0: another process of this run ended" in said
    step = newest(tmp_path / "checkpoints", pytest.fail).step
    subprocess.run([*start, *words, "--steps", str(step + 2)], check=True, timeout=300)
    assert newest(tmp_path / "checkpoints", pytest.fail).step == step + 2


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
