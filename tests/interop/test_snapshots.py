"""Models of the Hub: from the cache without a network, and in a sentence where there is neither."""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
import pytest
import tiny_folders as tiny

from videofusion.errors import InputError
from videofusion.interop.diffusers_folder import read_folder
from videofusion.interop.snapshots import find_model, wanted_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hub where nobody listens."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache as the Hub's own program fills it: files under the names of their contents, and links to them."""
    folder = tmp_path / "cache" / "models--someone--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    snapshot = tiny.save(tiny.sd_pipeline(), folder / "snapshots" / COMMIT)
    (folder / "blobs").mkdir()
    for number, file in enumerate(sorted(each for each in snapshot.rglob("*") if each.is_file())):
        blob = folder / "blobs" / f"{number:040x}"
        shutil.move(file, blob)
        file.symlink_to(blob)
    return tmp_path / "cache"


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert find_model(tmp_path) == tmp_path


def test_what_was_downloaded_needs_no_network(cache: Path) -> None:
    folder = find_model("someone/tiny", cache=cache)
    assert folder.name == COMMIT
    assert read_folder(folder).prediction == "eps"
    assert find_model("someone/tiny", revision=COMMIT, cache=cache) == folder


def test_without_a_network_it_is_told_in_a_sentence(cache: Path) -> None:
    for name in ("someone/else", "someone/tiny"):
        with pytest.raises(
            InputError, match=rf"model {name} was not downloaded before, and the .* cannot be reached \("
        ):
            find_model(name, cache=cache, revision=None if name == "someone/else" else "other")
    shutil.rmtree(cache / "models--someone--tiny" / "snapshots" / COMMIT / "vae")  # a download that was interrupted
    with pytest.raises(InputError, match="cannot be reached"):
        find_model("someone/tiny", cache=cache)


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "../b", "nowhere/", "a b/c"])
def test_what_is_neither_a_folder_nor_a_name(name: str) -> None:
    with pytest.raises(InputError, match=r'there is no folder ".*"; expected was one, or a name "owner/model"'):
        find_model(name)


def test_only_what_is_read_is_fetched() -> None:
    names = [
        "model_index.json",
        "v1-5.ckpt",
        "v1-5.safetensors",
        "README.md",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "tokenizer/merges.txt",
        "safety_checker/model.safetensors",
    ]
    assert wanted_files("a/b", names) == [
        "model_index.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "tokenizer/merges.txt",
    ]
    part = ["config.json", "diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin", "more/x.safetensors"]
    assert wanted_files("a/b", part) == part[:2]


def test_a_model_of_pickles_is_refused_before_it_is_fetched() -> None:
    names = ["model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin"]
    with pytest.raises(InputError, match=r"unet of model a/b must have .* only diffusion_pytorch_model\.bin, a pickle"):
        wanted_files("a/b", names)
    with pytest.raises(InputError, match="model a/b must have its weights as safetensors; it has none"):
        wanted_files("a/b", ["README.md"])
