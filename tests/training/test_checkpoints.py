import errno
import json
import os
import random
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from videofusion import files
from videofusion.errors import InputError, RunError
from videofusion.files import write_folder
from videofusion.recipes.catalogue import get_recipe
from videofusion.training import checkpoints
from videofusion.training.checkpoints import Checkpoint, check_shapes, load, newest, place, prune, save


def example(step: int = 1, validation: float | None = None) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    weights = {
        "net.weight": torch.randn(4, 3, 3, 3, generator=generator).to(memory_format=torch.channels_last),
        "net.count": torch.tensor(7),
    }
    return Checkpoint(
        step=step,
        seconds=0.1 + step,
        weights=weights,
        ema={"net.weight": torch.randn(4, 3, 3, 3, generator=generator)},
        optimizer={
            "exp_avg/net.weight": torch.randn(4, 3, 3, 3, generator=generator),
            "step/net.weight": torch.tensor(1.0),
        },
        random={"cpu": torch.get_rng_state()},
        recipe={"name": "x", "channels": [1, 2]},
        ema_updates=step,
        validation=validation,
    )


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    for name, value in vars(a).items():
        other = getattr(b, name)
        if name in ("weights", "ema", "optimizer", "random"):
            assert value.keys() == other.keys()
            for key in value:
                assert value[key].dtype == other[key].dtype
                assert torch.equal(value[key], other[key]), key
        else:
            assert value == other, name


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_comes_back_to_the_bit(tmp_path):
    written = example()
    assert_same(load(save(tmp_path, written)), written)
    assert names(tmp_path) == ["step-00000001"]


def test_holds_no_pickle(tmp_path):
    suffixes = {path.suffix for path in save(tmp_path, example()).iterdir()}
    assert suffixes == {".safetensors", ".json"}


def test_pickles_are_refused_with_how_to_convert(tmp_path):
    path = save(tmp_path, example())
    torch.save({"a": torch.zeros(1)}, path / "extra.pt")
    for target in (path, path / "extra.pt"):
        with pytest.raises(InputError, match=r"extra\.pt is a pickle.*save_file"):
            checkpoints.refuse_pickles(target)
    with pytest.raises(InputError, match="pickle"):
        load(path)


class Killed(BaseException):
    """As a kill: no handler of exceptions sees it."""


def fail_at(monkeypatch: pytest.MonkeyPatch, call: int, error: BaseException) -> list[int]:
    """Make the `call`-th file operation of a save raise; returns a list that grows by one a call."""
    calls: list[int] = []

    def wrap(function):
        def wrapped(*args, **kwargs):
            calls.append(1)
            if len(calls) == call:
                raise error
            return function(*args, **kwargs)

        return wrapped

    import safetensors.torch

    for owner, name in [
        (safetensors.torch, "save_file"),
        (files, "sync"),
        (files.shutil, "rmtree"),
        (Path, "mkdir"),
        (Path, "rename"),
        (Path, "write_text"),
    ]:
        monkeypatch.setattr(owner, name, wrap(getattr(owner, name)))
    return calls


def operations_of_a_save(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        calls = fail_at(patch, -1, Killed())
        save(folder, example(2))
    return len(calls)


def test_killed_anywhere_in_a_save_leaves_a_whole_checkpoint(tmp_path):
    total = operations_of_a_save(tmp_path / "count")
    assert total > 10
    for call in range(1, total + 1):
        folder = tmp_path / str(call)
        save(folder, example(1))
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, call, Killed())
            with pytest.raises(Killed):
                save(folder, example(2))
        found = newest(folder, lambda text: None)
        assert found is not None
        assert_same(found, example(found.step))
        save(folder, example(3))  # and what is left behind is in nobody's way
        assert newest(folder, pytest.fail).step == 3


def test_full_disk_anywhere_in_a_save_is_one_sentence_and_leaves_nothing(tmp_path):
    total = operations_of_a_save(tmp_path / "count")
    for call in range(1, total + 1):
        folder = tmp_path / str(call)
        save(folder, example(1))
        with pytest.MonkeyPatch.context() as patch:
            fail_at(patch, call, OSError(errno.ENOSPC, "No space left on device"))
            with pytest.raises(RunError, match=r"could not be written: .*No space left"):
                save(folder, example(2))
        assert_same(newest(folder, pytest.fail), example(newest(folder, pytest.fail).step))
        assert set(names(folder)) <= {"step-00000001", "step-00000002"}


def test_unfinished_and_damaged_ones_are_passed_over_with_a_line(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, example(step))
    (tmp_path / "step-00000002" / "ema.safetensors").unlink()
    damaged = tmp_path / "step-00000003" / "weights.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    (tmp_path / "step-00000004" / "state.json").write_text('{"format": 1, "st')
    shutil.copytree(tmp_path / "step-00000001", tmp_path / ".step-00000005.new")
    notes: list[str] = []
    assert newest(tmp_path, notes.append).step == 1
    assert names(tmp_path) == ["step-00000001", *(f"unreadable-step-0000000{number}" for number in (2, 3, 4))]
    assert newest(tmp_path, pytest.fail).step == 1
    assert len(notes) == 4
    for text, part in zip(notes, ["step-00000005", "step-00000004", "step-00000003", "step-00000002"], strict=True):
        assert part in text


def test_other_format_is_refused(tmp_path):
    path = save(tmp_path, example())
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**state, "format": 99}))
    with pytest.raises(InputError, match="of another format"):
        load(path)
    with pytest.raises(InputError, match=r"no state\.json"):
        load(tmp_path / "nothing")


def test_nothing_is_found_where_nothing_is(tmp_path):
    assert newest(tmp_path / "nothing", pytest.fail) is None


def test_where_all_are_damaged_it_says_so_and_touches_none(tmp_path):
    for step in (1, 2):
        (save(tmp_path, example(step)) / "random.safetensors").unlink()
    for _ in range(2):
        with pytest.raises(InputError, match=r"none of the 2 checkpoints .*step-00000002 is damaged.*step-00000001 is"):
            newest(tmp_path, pytest.fail)
    assert names(tmp_path) == ["step-00000001", "step-00000002"]
    (tmp_path / "step-00000001").rename(tmp_path / "unreadable-step-00000001")
    shutil.rmtree(tmp_path / "step-00000002")
    with pytest.raises(InputError, match=r"damaged checkpoints only \(unreadable-step-00000001\)"):
        newest(tmp_path, pytest.fail)


def test_a_damaged_one_takes_no_whole_ones_place(tmp_path):
    for step in (1, 3):
        save(tmp_path, example(step))
    (tmp_path / "step-00000003" / "weights.safetensors").unlink()
    assert newest(tmp_path, lambda text: None).step == 1
    save(tmp_path, example(2))
    prune(tmp_path, keep=1)
    assert newest(tmp_path, pytest.fail).step == 2


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_any_flipped_bit_of_a_state_is_seen(tmp_path):
    path = save(tmp_path, example(1, 0.25)) / "state.json"
    data = path.read_bytes()
    bits = random.Random(0).sample(range(8 * len(data)), min(2000, 8 * len(data)))
    for bit in bits:
        path.write_bytes(flipped(data, bit))
        with pytest.raises(InputError, match=r"is damaged: state\.json|of another format"):
            checkpoints.read_state(path.parent)
    path.write_bytes(data[:-1])
    with pytest.raises(InputError, match="is not the file that was written"):
        checkpoints.read_state(path.parent)
    path.write_bytes(data)
    assert_same(load(path.parent), example(1, 0.25))


@pytest.mark.parametrize("bits", [20, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_flipped_bit_costs_one_checkpoint(tmp_path, bits):
    """Of the file of a real recipe, and of the folder as a run finds it."""
    recipe = get_recipe("moving-digits").to_json()
    whole = [replace(example(step, 1 / step), recipe=recipe) for step in (1, 2)]
    folder = tmp_path / "checkpoints"
    data = (save(folder, whole[1]) / "state.json").read_bytes()
    save(folder, whole[0])
    assert len(data) > 2000
    for bit in random.Random(1).sample(range(8 * len(data)), bits):
        place(folder, 2).joinpath("state.json").write_bytes(flipped(data, bit))
        notes: list[str] = []
        assert_same(newest(folder, notes.append), whole[0])
        assert len(notes) == 1
        assert "step-00000002" in notes[0]
        (folder / "unreadable-step-00000002").rename(place(folder, 2))


def of_an_older_version(path: Path) -> dict:
    """Make a checkpoint one of the first format."""
    state = checkpoints.read_state(path)
    old = {key: value for key, value in state.items() if key != "frozen"} | {"format": 1}
    (path / "state.json").write_text(json.dumps(old, indent=1) + "\n")
    return old


def test_those_of_older_versions_are_read_and_checked_as_far_as_they_can_be(tmp_path):
    path = save(tmp_path, example())
    old = of_an_older_version(path)
    assert_same(load(path), example())
    for wrong in (
        {key: value for key, value in old.items() if key != "files"},
        {**old, "step": 2},
        {**old, "step": "1"},
        {**old, "stop": 1},
        {**old, "files": {"weights.safetensors": 1}},
        {**old, "crc32": 1},
        {**old, "format": True},
    ):
        (path / "state.json").write_text(json.dumps(wrong))
        with pytest.raises(InputError, match=r"is damaged|another format"):
            load(path)


def test_a_second_interruption_leaves_what_was_there(tmp_path):
    def fill(new):
        (new / "a.txt").write_text("half")
        raise KeyboardInterrupt

    for target in (tmp_path / "model", tmp_path / "other"):
        if target.name == "model":
            write_folder(target, lambda new: (new / "a.txt").write_text("whole"))
        with pytest.raises(KeyboardInterrupt):
            write_folder(target, fill)
    assert names(tmp_path) == ["model"]
    assert (tmp_path / "model" / "a.txt").read_text() == "whole"


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_have_the_users_mode(tmp_path, mask, mode):
    former = os.umask(mask)
    try:
        path = save(tmp_path, example())
    finally:
        os.umask(former)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.iterdir()} == {mode}
    assert len(names(path)) == 5


def test_keeps_the_last_and_the_best(tmp_path):
    for step, validation in enumerate([0.5, 0.3, 0.1, 0.2, None, 0.4, 0.6], start=1):
        save(tmp_path, example(step, validation))
        prune(tmp_path, keep=2)
    assert names(tmp_path) == ["step-00000003", "step-00000006", "step-00000007"]


def test_shapes_and_names_must_agree():
    mine = {"a": torch.zeros(2), "b": torch.zeros(3)}
    check_shapes("x", mine, {"b": torch.ones(3), "a": torch.ones(2)})
    with pytest.raises(InputError, match=r"x: a has shape \(5,\), but the system needs \(2,\)"):
        check_shapes("x", mine, {**mine, "a": torch.zeros(5)})
    with pytest.raises(InputError, match="x lacks b"):
        check_shapes("x", mine, {"a": torch.zeros(2)})
    with pytest.raises(InputError, match="x has the unknown tensor c"):
        check_shapes("x", mine, {**mine, "c": torch.zeros(2)})
