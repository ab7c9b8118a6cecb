"""A recipe with an autoencoder: a run, its model and its dry run."""

from pathlib import Path

import pytest
import torch
from small import smallest, state_of, write_waves

import videofusion
from videofusion.cli import main
from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.networks.fingerprints import fingerprint
from videofusion.training.checkpoints import newest
from videofusion.training.estimate.memory import count_parts
from videofusion.training.estimate.sizes import recipe_parts, recipe_work
from videofusion.training.estimate.trial import dry_run
from videofusion.training.trainer import train

SYSTEMS = [{"system.adaptive": 0.5}, {"system": "vdm", "network.temporal": "factorised"}]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_run_trains_in_latents_and_its_model_makes_clips(
    saved_vae: Path, tmp_path: Path, system: dict[str, str]
) -> None:
    recipe = smallest(
        **system,
        **{"network.autoencoder": str(saved_vae), "clips.frames": 3, "budget.steps": 2},
    )
    train(recipe, tmp_path / "run", device="cpu", bar=False)
    pipe = videofusion.load(tmp_path / "run" / "model", device="cpu")
    assert pipe("a red three", steps=1).shape == (3, 3, 8, 8)
    checkpoint = newest(tmp_path / "run" / "checkpoints", pytest.fail)
    assert checkpoint is not None
    assert not [name for name in checkpoint.weights if "vae" in name]


def test_a_dry_run_counts_the_autoencoder(saved_vae: Path, tmp_path: Path) -> None:
    recipe = smallest(**{"network.autoencoder": str(saved_vae), "clips.frames": 3})
    found = dry_run(recipe, tmp_path / "run", device="cpu")
    parts = {part.name: part for part in found.parts}
    assert parts["vae"].apart
    assert parts["vae"].trained == 0
    assert found.memory.apart == 4 * parts["vae"].frozen
    assert "frozen parts" in found.report()
    assert recipe_parts(recipe)[-1] == parts["vae"]
    pixels = dry_run(smallest(**{"clips.frames": 3}), tmp_path / "run", device="cpu")
    assert found.disk - pixels.disk < 2 * found.memory.apart + 100_000  # it is in no checkpoint
    assert count_parts({}) == []


def test_work_is_counted_in_latents(saved_vae: Path) -> None:
    whole = recipe_work(smallest(**{"clips.size": 16}))
    inside = recipe_work(smallest(**{"clips.size": 16, "network.autoencoder": str(saved_vae)}))
    assert inside.apart == recipe_parts(smallest(**{"network.autoencoder": str(saved_vae)}))[-1].frozen
    assert 3 < whole.flops / inside.flops < 5  # a quarter of the places


def test_sizes_that_do_not_fit_are_refused_before_the_run(saved_vae: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="size is 9x9; the autoencoder takes"):
        dry_run(smallest(**{"network.autoencoder": str(saved_vae), "clips.size": 9}), tmp_path / "run", device="cpu")
    with pytest.raises(InputError, match="size is 10x10; both must be multiples of 4"):
        dry_run(smallest(**{"network.autoencoder": str(saved_vae), "clips.size": 10}), tmp_path / "run", device="cpu")
    with pytest.raises(InputError, match="must be a folder with a config"):
        dry_run(smallest(**{"network.autoencoder": str(tmp_path / "none")}), tmp_path / "run", device="cpu")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_waves(folder, frames=6)
    (folder / "metadata.csv").write_text("file_name,text\n" + "".join(f"{n}.webp,clip {n}\n" for n in range(4)))
    return folder


def encoded(videos: Path, out: Path, vae: Path) -> Path:
    assert main(["data", "encode", str(videos), str(out), "--autoencoder", str(vae), "--size", "8"]) == 0
    return out


@pytest.mark.parametrize("system", SYSTEMS)
def test_training_from_encoded_data_is_that_from_videos_to_the_bit(
    videos: Path, saved_vae: Path, tmp_path: Path, system: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = encoded(videos, tmp_path / "encoded", saved_vae)
    assert "4 videos in" in capsys.readouterr().out
    recipe = smallest(
        "folder64",
        **system,
        **{"network.autoencoder": str(saved_vae), "clips.frames": 3, "budget.steps": 2},
    )
    for name, data in (("plain", videos), ("encoded", out)):
        train(recipe, tmp_path / name, data, device="cpu", bar=False)
    plain, other = state_of(tmp_path / "plain"), state_of(tmp_path / "encoded")
    assert plain.keys() == other.keys()
    assert all(torch.equal(plain[key], other[key]) for key in plain)


def test_data_of_another_autoencoder_are_refused(videos: Path, saved_vae: Path, tmp_path: Path) -> None:
    out = encoded(videos, tmp_path / "encoded", saved_vae)
    other = load_autoencoder(saved_vae)
    ours = fingerprint(other)
    other.register_to_config(scaling_factor=3.0)
    other.save_pretrained(tmp_path / "other")
    theirs = fingerprint(load_autoencoder(tmp_path / "other"))
    recipe = smallest("folder64", **{"network.autoencoder": str(tmp_path / "other"), "clips.frames": 3})
    with pytest.raises(
        InputError, match=f"fingerprint {ours}, but that of recipe key network.autoencoder .* is {theirs}"
    ):
        train(recipe, tmp_path / "run", out, device="cpu", bar=False)
    with pytest.raises(InputError, match=r"recipe key network.autoencoder \(None\) is none"):
        train(smallest("folder64", **{"clips.frames": 3}), tmp_path / "run", out, device="cpu", bar=False)
    assert not (tmp_path / "run").exists()
