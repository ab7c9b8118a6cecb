"""The published variant with others' parts: CLIP's image encoder, DALL-E 2's prior, an image model of diffusers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from small import smallest, state_of, write_waves

import videofusion
from videofusion.cli import main
from videofusion.conditioning.image import FrameEncoder
from videofusion.digits.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.interop.image_encoders import load_image_encoder
from videofusion.networks.fingerprints import fingerprint
from videofusion.recipes.recipe import Recipe
from videofusion.systems.build import build_system
from videofusion.training.estimate.sizes import recipe_parts
from videofusion.training.estimate.trial import dry_run
from videofusion.training.export import export_model as export
from videofusion.training.trainer import train

pytest.importorskip("transformers", reason="transformers is not here (the extra clip brings it)")


def recipe(name: str = "tiny", **changes: object) -> Recipe:
    return smallest(name, **{"system.variant": "published", "clips.frames": 3, "budget.steps": 2, **changes})


@pytest.fixture
def whole(saved_base: Path, saved_text: Path, saved_prior: Path) -> dict[str, object]:
    """The keys of a recipe in which only the residual generator is small and own."""
    theirs = {
        "diffusion.schedule": "scaled_linear",
        "diffusion.prediction": "eps",
        "diffusion.weighting": "eps",
        "system.residual_from_base": False,
    }
    folders = {"start.image_model": saved_base, "text.encoder": saved_text}
    both = {"system.image_encoder": saved_prior, "system.prior": saved_prior}
    return theirs | {key: str(folder) for key, folder in (folders | both).items()}


def test_a_run_from_others_parts_leaves_a_model_that_makes_the_same_clips_again(
    whole: dict[str, object], saved_prior: Path, tmp_path: Path
) -> None:
    train(recipe(**whole), tmp_path / "run", device="cpu", bar=False)
    names = {name.split("/")[1].split(".")[0] for name in state_of(tmp_path / "run")}
    assert {"base", "residual", "prior"} <= names
    assert not names & {"image_encoder", "prior_text_encoder", "text_encoder"}
    pipe = videofusion.load(tmp_path / "run" / "model", device="cpu")
    clip = pipe("abc", steps=2)
    assert clip.shape == (3, 3, 8, 8)
    assert clip.isfinite().all()
    assert fingerprint(pipe.image_encoder) == fingerprint(load_image_encoder(saved_prior).model)
    assert list(pipe.image_encoder.config.image_mean) == [0.5, 0.4, 0.3]  # what prepares its pictures came along
    assert (pipe.prior.config.bound, pipe.prior.text_size) == (0.5, None)
    pipe.save_pretrained(tmp_path / "again")
    assert torch.equal(videofusion.load(tmp_path / "again", device="cpu")("abc", steps=2), clip)
    half = videofusion.load(export(tmp_path / "run", tmp_path / "half", dtype="float16"), device="cpu")
    assert (half("abc", steps=2) - clip).abs().max() < 0.1
    again = train(recipe(**whole, **{"budget.steps": 3}), tmp_path / "run", device="cpu", bar=False)
    assert again.step == 3


@pytest.mark.slow
def test_what_resumes_ends_with_the_bits_of_what_never_stopped(saved_prior: Path, tmp_path: Path) -> None:
    keys = {"system.image_encoder": str(saved_prior), "system.prior": "transformer"}
    train(recipe(**keys, **{"budget.steps": 4}), tmp_path / "whole", device="cpu", bar=False)
    train(recipe(**keys, **{"budget.steps": 2}), tmp_path / "parts", device="cpu", bar=False)
    train(recipe(**keys, **{"budget.steps": 4}), tmp_path / "parts", device="cpu", bar=False)
    one, other = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert float(one["weights/prior.transformer.clip_std"].std()) > 0  # it was brought to these clips' range


@pytest.mark.parametrize("keys", [{"system.prior": "transformer"}, {"system.image_encoder": "CLIP"}])
def test_each_part_goes_with_the_other_small_one(keys: dict[str, str], saved_prior: Path, tmp_path: Path) -> None:
    keys = {key: str(saved_prior) if value == "CLIP" else value for key, value in keys.items()}
    train(recipe(**keys), tmp_path / "run", device="cpu", bar=False)
    pipe = videofusion.load(tmp_path / "run" / "model", device="cpu")
    assert isinstance(pipe.image_encoder, FrameEncoder) == ("system.image_encoder" not in keys)
    assert pipe("a red three", steps=1).isfinite().all()


def test_a_base_that_was_never_told_begins_as_it_is(whole: dict[str, object], saved_base: Path) -> None:
    system = build_system(recipe(**whole), MovingDigits(3, 8, "train"))
    theirs = UNet2DConditionModel.from_pretrained(saved_base / "unet").eval()
    z, text, time = torch.randn(2, 1, 3, 8, 8), torch.randn(2, 5, 16), torch.full((2,), 700.0)
    with torch.no_grad():
        found = system.base.eval()(z, time, text=text, image_embedding=torch.randn(2, 16))
        torch.testing.assert_close(found[:, 0], theirs(z[:, 0], 700, text).sample, rtol=1e-4, atol=1e-5)


def test_a_fixed_base_learns_to_hear_the_embedding_and_nothing_else(
    whole: dict[str, object], saved_base: Path, tmp_path: Path
) -> None:
    train(recipe(**whole, **{"system.base_loss": "fixed"}), tmp_path / "run", device="cpu", bar=False)
    base = videofusion.load(tmp_path / "run" / "model", device="cpu").base
    theirs = UNet2DConditionModel.from_pretrained(saved_base / "unet").state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in base.state_dict().items() if name in theirs)
    assert base.image_embedding.linear_2.weight.any()


def test_a_prior_that_no_rate_trains_is_in_no_checkpoint(
    whole: dict[str, object], saved_prior: Path, tmp_path: Path
) -> None:
    train(recipe(**whole, **{"optimizer.rates": ("prior.*=0",)}), tmp_path / "run", device="cpu", bar=False)
    assert not [name for name in state_of(tmp_path / "run") if "prior" in name]
    pipe = videofusion.load(tmp_path / "run" / "model", device="cpu")
    system = build_system(recipe(**whole), MovingDigits(3, 8, "train"))
    assert fingerprint(pipe.prior) == fingerprint(system.embedding.prior)


def test_encoded_data_give_the_same_bits(saved_vae: Path, saved_prior: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    write_waves(videos, frames=5)
    (videos / "metadata.csv").write_text("file_name,text\n" + "".join(f"{n}.webp,clip {n}\n" for n in range(4)))
    out = tmp_path / "encoded"
    assert main(["data", "encode", str(videos), str(out), "--autoencoder", str(saved_vae), "--size", "8"]) == 0
    keys = {
        "system.image_encoder": str(saved_prior),
        "system.prior": "transformer",
        "network.autoencoder": str(saved_vae),
    }
    for name, data in (("plain", videos), ("latents", out)):
        train(recipe("folder64", **keys), tmp_path / name, data, device="cpu", bar=False)
    plain, other = state_of(tmp_path / "plain"), state_of(tmp_path / "latents")
    assert plain.keys() == other.keys()
    assert all(torch.equal(plain[name], other[name]) for name in plain)


def test_they_are_counted_without_their_weights(whole: dict[str, object], tmp_path: Path) -> None:
    parts = {part.name: part for part in recipe_parts(recipe(**whole))}
    assert {name for name, part in parts.items() if part.apart} == {
        *("text_encoder", "image_encoder", "prior_text_encoder")
    }
    assert parts["prior"].trained > 0
    found = dry_run(recipe(**whole), tmp_path / "run", device="cpu")
    assert found.memory.apart == 4 * sum(part.frozen for part in parts.values() if part.apart)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"system.variant": "corrected", "system.prior": "transformer"},
            "key system.prior is 'transformer', but only .* 'corrected'",
        ),
        (
            {"system": "vdm", "system.image_encoder": "PRIOR"},
            "is of the system 'videofusion', and this is 'vdm'",
        ),
        ({"system.image_encoder": "nowhere"}, 'image_encoder is "nowhere"; it must be a folder'),
        ({"system.prior": "PRIOR"}, "which makes embeddings of CLIP's; set system.image_encoder"),
        (
            {"system.prior": "nowhere", "system.image_encoder": "PRIOR"},
            'prior is "nowhere"; it must be "transformer", or',
        ),
        (
            {"system.prior": "PRIOR", "system.image_encoder": "OTHER"},
            "makes embeddings of size 16, but those of .* the size 12",
        ),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(
    changes: dict[str, str], said: str, saved_prior: Path, saved_base: Path, clip_folder: Path
) -> None:
    folders = {"PRIOR": str(saved_prior), "OTHER": str(clip_folder), "BASE": str(saved_base)}
    with pytest.raises(InputError, match=said):
        build_system(
            recipe(**{key: folders.get(value, value) for key, value in changes.items()}), MovingDigits(3, 8, "train")
        )
