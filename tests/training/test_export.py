"""Models made of checkpoints."""

import shutil
from pathlib import Path

import pytest
import torch
from in_shards import complete
from safetensors.torch import load_file
from small import smallest

from videofusion.errors import InputError
from videofusion.parts import WEIGHTS
from videofusion.training.checkpoints import _sealed, load, place, read_state
from videofusion.training.export import export_model as export
from videofusion.training.trainer import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints of the steps 2 and 4."""
    folder = tmp_path_factory.mktemp("run")
    train(smallest(**{"optimizer.learning_rate": 1e-2}), folder, device="cpu", bar=False)
    return folder


def assert_averaged(model: Path, checkpoint: Path) -> None:
    """The model has the averaged weights of the checkpoint, and the plain ones of what has no average."""
    found = complete(load(checkpoint))
    expected = {**found.weights, **found.ema}
    parts = {name.split(".")[0] for name in expected}
    weights = {f"{part}.{name}": each for part in parts for name, each in load_file(model / part / WEIGHTS).items()}
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name


@pytest.mark.parametrize("step", [2, 4])
def test_any_checkpoint_makes_a_model_with_its_average(run, tmp_path, step):
    path = place(run / "checkpoints", step)
    assert_averaged(export(path, tmp_path / "out", dtype="float32"), path)


def test_a_run_folder_is_its_newest_model(run, tmp_path):
    out = export(run, tmp_path / "out", dtype="float32")
    assert_averaged(out, place(run / "checkpoints", 4))


def test_what_cannot_be_made_into_a_model_is_refused(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    path = place(tmp_path / "run" / "checkpoints", 2)
    state = read_state(path)
    (path / "state.json").write_text(_sealed({**state, "recipe": {**state["recipe"], "start": {"trains": "lora"}}}))
    with pytest.raises(InputError, match="has adapters beside weights"):
        export(path, tmp_path / "out")
    shutil.copytree(place(run / "checkpoints", 2), path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "run" / "model")
    with pytest.raises(InputError, match=r"there is no .*model to take them from"):
        export(path, tmp_path / "out")
    (path / "ema.safetensors").unlink()
    with pytest.raises(InputError, match=r"damaged: ema\.safetensors is missing"):
        export(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
