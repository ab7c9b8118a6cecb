"""A recipe with a text encoder of transformers: it stays as it is, and its embeddings may be made before."""

from __future__ import annotations

import json
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small import smallest, state_of, write_waves

import videofusion
from videofusion.cli import main
from videofusion.conditioning.frozen_text import FrozenText
from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError
from videofusion.interop.text_encoders import load_text_encoder
from videofusion.systems.build import build_system
from videofusion.training.batches import training_data
from videofusion.training.estimate.sizes import recipe_parts
from videofusion.training.export import export_model as export
from videofusion.training.export import grid_prompts
from videofusion.training.trainer import train
from videofusion.training.world import World

SMALL = {"clips.frames": 3, "budget.steps": 2, "text.dropout": 0.5}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_waves(folder, frames=5)
    rows = [{"file_name": f"{number}.webp", "text": ["a clip", "b" * number]} for number in range(4)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_exported_in_half_precision_it_still_works(
    dtype: str, videos: Path, saved_text: Path, saved_vae: Path, tmp_path: Path
) -> None:
    keys = {
        "text.encoder": str(saved_text),
        "network.autoencoder": str(saved_vae),
        "network.temporal": "factorised",
        "clips.size": 16,
    }
    model = train(smallest("folder64", system="vdm", **keys, **SMALL), tmp_path, videos, device="cpu", bar=False).model
    small = export(model, tmp_path / "small", dtype=dtype)
    assert load_file(small / "text_encoder" / "model.safetensors").popitem()[1].dtype is getattr(torch, dtype)
    whole, half = (videofusion.load(folder, device="cpu")("abc", steps=2) for folder in (model, small))
    assert (whole - half).abs().max() < (0.05 if dtype == "float16" else 0.3)
    lean = videofusion.load(small, device="cpu", precision="bfloat16")("abc", steps=2)
    assert (whole - lean).abs().max() < 0.5
    assert {stat.S_IMODE(file.stat().st_mode) for file in small.rglob("*") if file.is_file()} == {
        stat.S_IMODE((videos / "metadata.jsonl").stat().st_mode)
    }


@pytest.fixture(scope="module")
def encoded(videos: Path, saved_vae: Path, saved_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("encoded") / "out"
    options = ["--autoencoder", str(saved_vae), "--text", str(saved_text), "--size", "8"]
    assert main(["data", "encode", str(videos), str(out), *options]) == 0
    return out


def test_a_run_leaves_a_model_with_the_text_encoder_as_it_was(videos: Path, saved_text: Path, tmp_path: Path) -> None:
    recipe = smallest(
        "folder64", system="vdm", **{"network.temporal": "factorised", "text.encoder": str(saved_text)}, **SMALL
    )
    assert [part.name for part in recipe_parts(recipe) if part.apart] == ["text_encoder"]
    train(recipe, tmp_path / "run", videos, device="cpu", bar=False)
    assert not [name for name in state_of(tmp_path / "run") if "text_encoder" in name]
    model = tmp_path / "run" / "model"
    pipe = videofusion.load(model, device="cpu")
    assert isinstance(pipe.text, FrozenText)
    assert pipe.text.fingerprint() == load_text_encoder(saved_text).fingerprint()
    assert pipe.text.fingerprint() == load_text_encoder(model).fingerprint()
    clip = pipe("whatever", steps=1)
    assert clip.shape == (3, 3, 8, 8)
    pipe.save_pretrained(tmp_path / "again")
    assert torch.equal(videofusion.load(tmp_path / "again", device="cpu")("whatever", steps=1), clip)


def test_training_with_embeddings_made_before_is_the_same_to_the_bit(
    videos: Path, encoded: Path, saved_vae: Path, saved_text: Path, tmp_path: Path
) -> None:
    recipe = smallest("folder64", **{"network.autoencoder": str(saved_vae), "text.encoder": str(saved_text)}, **SMALL)
    for name, data in (("plain", videos), ("encoded", encoded)):
        train(recipe, tmp_path / name, data, device="cpu", bar=False)
    plain, other = state_of(tmp_path / "plain"), state_of(tmp_path / "encoded")
    assert plain.keys() == other.keys()
    assert all(torch.equal(plain[key], other[key]) for key in plain)


@pytest.mark.parametrize("latent", [False, True])
def test_texts_may_be_encoded_alone(
    latent: bool, videos: Path, saved_vae: Path, saved_text: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert main(["data", "encode", str(videos), str(out), "--text", str(saved_text), "--size", "8"]) == 0
    own = {"network.autoencoder": str(saved_vae)} if latent else {}
    recipe = smallest("folder64", **{"text.encoder": str(saved_text)}, **own, **SMALL)
    for name, data in (("plain", videos), ("encoded", out)):
        train(recipe, tmp_path / name, data, device="cpu", bar=False)
    plain, other = state_of(tmp_path / "plain"), state_of(tmp_path / "encoded")
    assert all(torch.equal(plain[key], other[key]) for key in plain)
    assert main(["data", "encode", str(videos), str(tmp_path / "nothing"), "--size", "8"]) == 2
    assert not (tmp_path / "nothing").exists()


def test_embeddings_made_before_are_what_is_used(
    encoded: Path, saved_vae: Path, saved_text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = smallest("folder64", **{"network.autoencoder": str(saved_vae), "text.encoder": str(saved_text)}, **SMALL)
    loader, _ = training_data(recipe, encoded, World())
    system = build_system(recipe, loader.dataset)
    batch = loader.batch(0)
    asked: list[str] = []
    encode = FrozenText.encode

    def note(self: FrozenText, prompts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        asked.extend(prompts)
        return encode(self, prompts)

    monkeypatch.setattr(FrozenText, "encode", note)
    system.loss(batch, Keys.of([1, 2]), 0)
    assert asked == [""]
    system.loss(replace(batch, text=None), Keys.of([1, 2]), 0)
    assert len(asked) == 1 + 3


def test_what_does_not_fit_is_refused(encoded: Path, saved_vae: Path, saved_text: Path, tmp_path: Path) -> None:
    both = {"network.autoencoder": str(saved_vae), "text.encoder": str(saved_text), **SMALL}
    with pytest.raises(InputError, match=r"text.size is 32, but the text encoder .* has embeddings of size 16"):
        train(smallest("folder64", **both, **{"text.size": 32}), tmp_path / "run", encoded, device="cpu", bar=False)
    shutil.copytree(saved_text, tmp_path / "other")
    words = tmp_path / "other" / "tokenizer" / "tokenizer_config.json"
    words.write_text(words.read_text().replace('"model_max_length": 30', '"model_max_length": 20'))
    both["text.encoder"] = str(tmp_path / "other")
    with pytest.raises(InputError, match=r"texts were encoded by the text encoder with the fingerprint \w+, but that"):
        train(smallest("folder64", **both), tmp_path / "run", encoded, device="cpu", bar=False)


def test_a_sample_grid_shows_as_much_of_a_long_caption_as_training_reads(saved_text: Path) -> None:
    encoder, long = load_text_encoder(saved_text), "ab cd " * 200
    with pytest.raises(InputError, match="takes at most"):
        encoder.check(long)
    shown = grid_prompts(smallest("folder64"), [["ab cd", long]], encoder, World())
    assert shown[0] == "ab cd"
    encoder.check(shown[1])
    assert long.startswith(shown[1])
    assert torch.equal(encoder.encode([shown[1]])[0][:, :4], encoder.encode([long])[0][:, :4])
