"""Weights & Biases, offline: what it is told, in one run over all sessions of a run folder."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from toy import ToySystem, toy_recipe, toy_trainer

from videofusion.errors import InputError, RunError
from videofusion.training.trainer import train


def records(data: bytes) -> Iterator[bytes]:
    """The records of a run's file: LevelDB's log format, after seven bytes of its own."""
    position, record = 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768  # of the block; a header is never divided
        if left < 7:
            position += left
            continue
        length, kind = struct.unpack_from("<HB", data, position + 4)
        record += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def recorded(run: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The recipe, and all rows of numbers, that are in the files of an offline run, session after session."""
    from wandb.proto import wandb_internal_pb2

    config: dict[str, Any] = {}
    rows = []
    for file in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        for data in records(file.read_bytes()):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            if record.history.item:
                items = record.history.item
                rows.append({item.key or item.nested_key[0]: json.loads(item.value_json) for item in items})
    return config, rows


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")


@pytest.mark.usefixtures("offline")
def test_weights_and_biases_is_told_the_recipe_the_numbers_and_the_grids(tmp_path: Path) -> None:
    options = {"log.boards": ("wandb",), "log.sample_interval": 4, "sampling.prompts": ("a two",)}
    toy_trainer(tmp_path, **options, **{"budget.steps": 4}).train()
    with pytest.raises(RunError):
        toy_trainer(tmp_path, ToySystem(nan_at=7), **options).train()
    config, rows = recorded(tmp_path)
    assert config["learning_rate"] == 1e-2
    mine = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    for event in ("train", "validation"):
        logged = [(line["step"], line["loss"]) for line in mine if line["event"] == event]
        assert [(row["step"], row[f"{event}/loss"]) for row in rows if f"{event}/loss" in row] == logged
    assert [row["step"] for row in rows if "samples" in row] == [4]
    assert len({file.name for file in tmp_path.glob("wandb/offline-run-*/*.wandb")}) == 1  # one run, two sessions
    assert not (tmp_path / "tensorboard").exists()


def test_it_is_refused_where_it_is_not_installed_before_the_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r'pip install "videofusion\[wandb\]"'):
        train(toy_recipe(**{"log.boards": ("tensorboard", "wandb")}), tmp_path / "run", device="cpu", bar=False)
    assert not (tmp_path / "run").exists()


def test_an_unknown_board_is_refused() -> None:
    with pytest.raises(InputError, match=r"recipe key log\.boards is 'wanda', but must be one of tensorboard, wandb"):
        toy_recipe().replace({"log.boards": "tensorboard,wanda"})
    assert toy_recipe().replace({"log.boards": "wandb,tensorboard"}).log.boards == ("wandb", "tensorboard")
    assert toy_recipe().replace({"log.boards": ""}).log.boards == ()
