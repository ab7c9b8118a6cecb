"""Models in one file: as a folder they are the model that they were made of; others are refused by what they lack."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_files
import tiny_folders as tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from videofusion.errors import InputError
from videofusion.interop.image_model import load_image_model
from videofusion.interop.single_file import unpack_single_file


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model in one file, and a folder with its configurations alone."""
    folder = tmp_path_factory.mktemp("single")
    theirs = tiny.sd_pipeline()
    save_file(tiny_files.in_one_file(theirs), folder / "model.safetensors")
    like = tiny.save(theirs, folder / "like")
    shutil.copytree(like, folder / "whole")
    for file in like.rglob("*.safetensors"):
        file.unlink()
    return folder / "model.safetensors", like


@pytest.mark.filterwarnings("ignore")  # theirs
def test_as_a_folder_it_is_the_same_model(made: tuple[Path, Path], tmp_path: Path) -> None:
    file, like = made
    out = unpack_single_file(file, like, tmp_path / "out")
    whole = like.parent / "whole"
    for part in ("unet", "vae", "text_encoder"):
        (weights,) = (out / part).glob("*.safetensors")
        found, expected = load_file(weights), load_file(whole / part / weights.name)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    ours, theirs = load_image_model(out), load_image_model(whole)
    assert ours.facts.weights == theirs.facts.weights
    assert torch.equal(ours.prompts.embed(["a red cat"]).text, theirs.prompts.embed(["a red cat"]).text)
    with pytest.raises(InputError, match="which exists; name a folder that does not"):
        unpack_single_file(file, like, out)


def without(*begin: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {name: value for name, value in state.items() if not name.startswith(begin)}


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("model."), "holds no unet: no name of its weights begins with 'model.diffusion_model.'"),
        (without("first_stage_model."), "holds no vae"),
        (
            without("model.diffusion_model.output_blocks.1.0.in_layers"),
            r"x.safetensors has [\d,]+ numbers for the unet; expected were",
        ),
        (
            lambda state: state | {"model.diffusion_model.out.2.bias": torch.zeros(7)},
            "x.safetensors cannot be read as a model like",
        ),
        (
            lambda state: state | {"model.diffusion_model.label_emb.0.0.weight": torch.zeros(7)},
            "is a Stable Diffusion XL, but .* is a Stable Diffusion 1.x or 2.x; expected was one of its kind",
        ),
    ],
)
def test_what_is_not_whole_or_of_another_kind(
    made: tuple[Path, Path], tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], said: str
) -> None:
    file, like = made
    save_file(change(load_file(file)), tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=said):
        unpack_single_file(tmp_path / "x.safetensors", like, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_no_such_file(made: tuple[Path, Path], tmp_path: Path) -> None:
    file, like = made
    (tmp_path / "x.ckpt").write_bytes(b"x")
    with pytest.raises(InputError, match=r"x\.ckpt is a pickle, which can run code .* expected were safetensors"):
        unpack_single_file(tmp_path / "x.ckpt", like, tmp_path / "out")
    (tmp_path / "x.safetensors").write_bytes(file.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"x\.safetensors is cut short"):
        unpack_single_file(tmp_path / "x.safetensors", like, tmp_path / "out")
    with pytest.raises(InputError, match="expected was the folder of a diffusers pipeline with a UNet2DConditionModel"):
        unpack_single_file(file, tmp_path, tmp_path / "out")
