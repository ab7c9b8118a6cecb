"""Checkpoints that several processes write together, each its shards: whole or absent, read by any number of them."""

import json
import re
import shutil
import signal
from pathlib import Path

import pytest
import torch
from in_shards import complete, flat, toy_state, train_offloaded, write_again, write_steps
from ranks import together
from safetensors import safe_open
from safetensors.torch import load_file
from test_trainer import assert_same_state

from videofusion.errors import InputError, RunError
from videofusion.training import checkpoint_shards as shards
from videofusion.training import checkpoints
from videofusion.training.checkpoints import load, newest, place
from videofusion.training.gradients import clip_gradients
from videofusion.training.world import World


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints that two processes wrote, and the whole tensors of each."""
    folder = tmp_path_factory.mktemp("written")
    assert together(write_steps, folder, "") == ([0, 0], [])
    return folder


def test_each_process_writes_its_part_and_nothing_is_pickled(written):
    path = place(written, 2)
    files = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    own = [f"shards/shard-0000{number}-model-00001-of-00001.safetensors" for number in (1, 2)]
    assert files == ["random.safetensors", *own, "state.json"]
    state = json.loads((path / "state.json").read_text())
    assert sorted(state["files"]) == ["random.safetensors", *own]
    shapes = []
    for file in own:
        with safe_open(path / file, "pt") as opened:
            shapes.append({name: opened.get_slice(name).get_shape() for name in opened.keys()})  # noqa: SIM118
    for part in ("weights/", "ema/", "optimizer/exp_avg/", "optimizer/exp_avg_sq/"):
        assert [each[f"{part}base.0.weight"] for each in shapes] == [[3, 3, 3, 3], [2, 3, 3, 3]]
    assert "weights/norm.running_mean" in shapes[0].keys() - shapes[1].keys()  # not cut: the first one's


def test_read_by_one_process_they_are_the_tensors_that_all_held(written):
    for step in (1, 2):
        found, expected = flat(complete(load(place(written, step)))), load_file(written / f"{step}.safetensors")
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].dtype == value.dtype
            assert torch.equal(found[name], value), name
    state = toy_state(World())
    state.restore(load(place(written, 2)), "here")
    assert_same_state(state.checkpoint(), complete(load(place(written, 2))))


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow), 3])
def test_any_number_of_processes_goes_on_to_the_same_bits(written, tmp_path, size):
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    shutil.copytree(written, cut)
    expected = complete(load(place(written, 2)))
    checkpoints.save(whole, expected)
    assert (place(whole, 2) / "weights.safetensors").is_file()
    assert together(write_again, cut, [cut, whole], size=size) == ([0] * size, [])
    for folder in (cut, whole):
        again = newest(folder / "again", pytest.fail)
        assert len(list((again.shards / shards.FOLDER).iterdir())) == size
        assert_same_state(complete(again), expected)


@pytest.mark.parametrize("fault", ["killed", "full"])
def test_a_process_that_fails_while_writing_leaves_no_half_checkpoint(tmp_path, fault):
    codes, said = together(write_steps, tmp_path, fault)
    if fault == "killed":
        assert codes == [1, -signal.SIGKILL]
        assert "another process of this run ended" in said[0]
    else:
        assert codes == [1, 1]
        assert all(re.search(r'step-00000002" could not be written: No space left on device', text) for text in said)
        assert not list(tmp_path.glob(".step*"))
    notes: list[str] = []
    assert newest(tmp_path, notes.append).step == 1
    assert [path.name for path in tmp_path.glob("*step*")] == ["step-00000001"]
    assert all("was not finished when the run was stopped" in text for text in notes)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_shard_is_passed_over_with_a_line(written, tmp_path, damage):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    file = sorted((place(tmp_path, 2) / shards.FOLDER).iterdir())[1]
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.unlink() if damage == "missing" else file.write_bytes(content)
    notes: list[str] = []
    assert newest(tmp_path, notes.append).step == 1
    assert len(notes) == 1
    assert file.name in notes[0]


def test_a_pickle_beside_the_shards_is_refused(written, tmp_path):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    (place(tmp_path, 2) / shards.FOLDER / "more.pt").touch()
    with pytest.raises(InputError, match=r"more\.pt is a pickle"):
        load(place(tmp_path, 2))


def test_without_storage_in_torch_nothing_is_passed_over(written, monkeypatch):
    monkeypatch.delattr("torch.distributed.checkpoint.HuggingFaceStorageWriter")
    with pytest.raises(InputError, match=r"recipe key compute.shard is True, but torch .* knows no safetensors"):
        shards.check_storage()
    with pytest.raises(RunError, match=r"install the torch of constraints\.txt"):
        newest(written, pytest.fail)


def test_what_is_offloaded_learns_the_same(written, tmp_path):
    assert together(write_steps, tmp_path, "", "base") == ([0, 0], [])
    one, other = (load_file(folder / "2.safetensors") for folder in (written, tmp_path))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.slow
def test_with_the_base_generator_offloaded_all_is_the_same(tmp_path):
    assert together(train_offloaded, tmp_path, "cpu") == ([0, 0], [])
    one, other = (json.loads((tmp_path / f"{offload}.json").read_text()) for offload in ("none", "base"))
    assert one == other
    assert min(numbers["gradient_norm"] for numbers in one[:3]) > 0.1  # and is clipped
    assert_same_state(*(complete(newest(tmp_path / offload, pytest.fail)) for offload in ("none", "base")))


@pytest.mark.gpu
def test_an_offloaded_base_generator_learns_the_same_beside_a_gpu(tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    assert together(train_offloaded, tmp_path, "cuda", size=1) == ([0], [])
    one, other = (json.loads((tmp_path / f"{offload}.json").read_text()) for offload in ("none", "base"))
    for mine, theirs in zip(one, other, strict=True):
        assert mine == pytest.approx(theirs, rel=1e-3)


def test_a_gradient_in_groups_is_clipped_as_one():
    torch.manual_seed(0)
    shapes = [(3, 4), (5,), (2,), (7,)]
    for most in (0.5, 100.0):
        one, other = ([torch.nn.Parameter(torch.zeros(shape)) for shape in shapes] for _ in range(2))
        for mine, theirs in zip(one[:-1], other[:-1], strict=True):  # the last has none
            mine.grad = torch.randn_like(mine)
            theirs.grad = mine.grad.clone()
        expected = torch.nn.utils.clip_grad_norm_(one, most)
        norm = clip_gradients([other[:1], other[1:3], other[3:]], most)
        torch.testing.assert_close(norm, expected)
        for mine, theirs in zip(one[:-1], other[:-1], strict=True):
            torch.testing.assert_close(theirs.grad, mine.grad)
