"""Models by name and by folder, and every way in which a folder can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import videofusion
from videofusion.errors import InputError
from videofusion.models import SHIPPED, find, load
from videofusion.parts import WEIGHTS
from videofusion.systems.vdm import VDMPipeline
from videofusion.training.export import export_model as export


@pytest.fixture
def model(saved_model: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(saved_model, tmp_path / "model"))


def test_load_gives_the_pipeline_that_was_saved(saved_model: Path) -> None:
    pipe = videofusion.load(saved_model, device="cpu")
    assert type(pipe) is VDMPipeline
    clip = pipe("red three", steps=2)
    assert clip.shape == (3, 3, 8, 8)
    assert torch.equal(clip, load(str(saved_model), device="cpu")("red three", steps=2))


@pytest.mark.parametrize("name", [model.name for model in SHIPPED.values() if model.folder.is_dir()])
def test_a_shipped_model_is_small_and_understands_its_example(name: str) -> None:
    model = SHIPPED[name]
    assert 0 < model.megabytes <= 30
    pipe = load(name, device="cpu")
    assert pipe.check_prompt(model.example) is None
    clip = pipe(model.example, steps=2)
    assert model.shape == f"{clip.shape[0]} frames of {clip.shape[3]}x{clip.shape[2]}"
    assert clip.std() > 0


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=f'"no-such" is unknown; there are {", ".join(SHIPPED)}'):
        find("no-such")


def test_a_run_folder_stands_for_its_model(saved_model: Path, tmp_path: Path) -> None:
    assert find(saved_model.parent) == saved_model
    assert type(load(saved_model.parent, device="cpu")) is VDMPipeline
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(InputError, match="a run that has written no model yet"):
        find(tmp_path)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"without a model_index\.json$"):
        find(tmp_path)


@pytest.mark.parametrize(("name", "reason"), [("a.ckpt", "is a pickle"), ("a.txt", "is a file; a model is a folder")])
def test_a_file_is_no_model(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=reason):
        find(tmp_path / name)


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def pickle_beside(model: Path) -> None:
    (model / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x")


def drop_weight(model: Path) -> None:
    path = model / "unet" / WEIGHTS
    weights = load_file(path)
    del weights["conv_in.bias"]
    save_file(weights, path)


def extra_weight(model: Path) -> None:
    path = model / "unet" / WEIGHTS
    save_file(load_file(path) | {"conv_in.scale": torch.zeros(1)}, path)


def reshape_weight(model: Path) -> None:
    path = model / "unet" / WEIGHTS
    save_file(load_file(path) | {"conv_in.bias": torch.zeros(7)}, path)


def truncate(model: Path) -> None:
    path = model / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "another pipeline": (
        lambda model: change_json(model / "model_index.json", _class_name="StableDiffusionPipeline"),
        "is a StableDiffusionPipeline, which is neither a pipeline of videofusion",
    ),
    "not a pipeline": (lambda model: change_json(model / "model_index.json", _class_name="load"), "is a load, which"),
    "broken index": (lambda model: (model / "model_index.json").write_text("{") and None, "cannot be read"),
    "unknown pipeline key": (lambda model: change_json(model / "model_index.json", fps=8), "unknown key 'fps'"),
    "unknown network key": (lambda model: change_json(model / "unet" / "config.json", chanels=8), "key 'chanels'"),
    "a missing part": (lambda model: shutil.rmtree(model / "unet"), "unet"),
    "no weights": (lambda model: (model / "unet" / WEIGHTS).unlink(), "cannot be loaded"),
    "a pickle": (pickle_beside, "is a pickle"),
    "a weight too few": (drop_weight, r"1 are missing and 0 unknown \(conv_in.bias is one\)"),
    "a weight too many": (extra_weight, r"0 are missing and 1 unknown \(conv_in.scale is one\)"),
    "a weight of another shape": (reshape_weight, "cannot be loaded"),
    "half a file": (truncate, "cannot be loaded"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_refused_in_a_sentence(damage: str, model: Path) -> None:
    change, reason = DAMAGES[damage]
    change(model)
    with pytest.raises(InputError, match=reason) as refused:
        load(model, device="cpu")
    assert "\n" not in str(refused.value)
    assert str(model) in str(refused.value)


def test_an_exported_model_has_half_the_bytes_and_nearly_the_clips(saved_model: Path, tmp_path: Path) -> None:
    small = export(saved_model, tmp_path / "new" / "small")
    sizes = [sum(file.stat().st_size for file in folder.rglob("*.safetensors")) for folder in (saved_model, small)]
    assert sizes[1] < 0.6 * sizes[0]
    assert not any(str(saved_model) in file.read_text() for file in small.rglob("*.json"))
    pipe, half = load(saved_model, device="cpu"), load(small, device="cpu")
    assert half.unet.dtype is torch.float32
    clips = [each("red three", steps=3) for each in (pipe, half)]
    assert (clips[0] - clips[1]).abs().max() < 0.02


def test_export_refuses_a_taken_place_and_an_unknown_kind(saved_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="which exists"):
        export(saved_model, tmp_path)
    with pytest.raises(InputError, match="dtype is 'int8'"):
        export(saved_model, tmp_path / "new", dtype="int8")
