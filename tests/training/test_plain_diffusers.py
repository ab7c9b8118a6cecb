"""Image networks of ours as folders of diffusers: they load in a process without this package, and paint the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import videofusion as vf
from videofusion.cli import main
from videofusion.errors import InputError
from videofusion.interop.image_model import load_image_model
from videofusion.networks.inflation import inflated
from videofusion.systems.vdm import VDMPipeline
from videofusion.systems.videofusion_pipeline import VideoFusionPipeline
from videofusion.training.export import export_model
from videofusion.training.plain_diffusers import plain_pipeline

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))
import tiny_folders as tiny

PAINTS = """
import sys
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
pipe = DiffusionPipeline.from_pretrained({folder!r})
pipe.set_progress_bar_config(disable=True)
assert "videofusion" not in sys.modules
noise = load_file({noise!r})["noise"]
made = pipe("a red cat", num_inference_steps=5, guidance_scale=3.0, latents=noise, output_type="pt").images
save_file({{"made": 2 * made - 1}}, {noise!r} + ".made")
print(type(pipe).__name__)
"""


def pipeline(folder: Path, kind: Any = VDMPipeline, **options: Any) -> Any:
    """A pipeline of ours on an image model: of single pictures, or VideoFusion's, whose base it is."""
    model = load_image_model(folder)
    parts = model.parts(torch.device("cpu"), torch.float32)
    prediction = parts.pop("prediction")
    if kind is VDMPipeline:
        return VDMPipeline(**parts, prediction=prediction, frames=1, guidance=3.0, **options)
    parts["base"] = parts.pop("unet")
    residual = inflated(model.unet, "residual", in_channels=8)
    return VideoFusionPipeline(**parts, residual=residual, base_prediction=prediction, residual_prediction=prediction)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.sd_pipeline(), tmp_path_factory.mktemp("sd") / "sd")


@torch.no_grad()
def test_diffusers_paints_the_same(folder: Path) -> None:
    ours = pipeline(folder)
    theirs = plain_pipeline(ours, "unet")
    theirs.set_progress_bar_config(disable=True)
    noise = ours.prepare("a red cat", seed=3, steps=5).noise(0)[:, 0]
    options = {"num_inference_steps": 5, "guidance_scale": 3.0, "output_type": "pt"}
    expected = 2 * theirs("a red cat", latents=noise, **options).images - 1
    made = ours("a red cat", seed=3, steps=5)
    assert float((made - expected).norm() / made.norm()) < 1e-4


@pytest.mark.slow
def test_a_process_without_this_package_paints_the_same(folder: Path, tmp_path: Path) -> None:
    ours = pipeline(folder)
    with torch.no_grad():
        for parameter in ours.unet.parameters():  # as training has left it
            parameter.mul_(1.01)
    ours.save_pretrained(tmp_path / "ours")
    out = export_model(tmp_path / "ours", tmp_path / "plain", dtype="float32", diffusers="unet")
    noise = str(tmp_path / "noise")
    save_file({"noise": ours.prepare("a red cat", seed=3, steps=5).noise(0)[:, 0].contiguous()}, noise)
    code = PAINTS.format(folder=str(out), noise=noise)
    ran = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout.strip().endswith("StableDiffusionPipeline"), ran.stderr
    made = ours("a red cat", seed=3, steps=5)
    expected = load_file(f"{noise}.made")["made"]
    assert float((made - expected).norm() / made.norm()) < 1e-4


def test_xl_has_its_two_encoders(tmp_path: Path) -> None:
    pipe = vf.load(tiny.save(tiny.xl_pipeline(), tmp_path), system="shared-noise", device="cpu")
    plain = plain_pipeline(pipe, "unet")
    assert type(plain).__name__ == "StableDiffusionXLPipeline"
    theirs = tiny.xl_unet()
    assert {name: plain.unet.config[name] for name in theirs.config if not name.startswith("_")}.items() >= {
        "cross_attention_dim": 48,
        "projection_class_embeddings_input_dim": 24 + 6 * 256,
        "addition_embed_type": "text_time",
    }.items()
    found = plain.unet.state_dict()
    assert all(torch.equal(found[name], value) for name, value in theirs.state_dict().items())


def test_the_base_of_a_videofusion_comes_out_alone(folder: Path, tmp_path: Path) -> None:
    pipeline(folder, VideoFusionPipeline).save_pretrained(tmp_path / "ours")
    out = tmp_path / "plain"
    assert main(["export", str(tmp_path / "ours"), str(out), "--diffusers", "base"]) == 0
    found, own = (load_file(next((each / "unet").glob("*.safetensors"))) for each in (out, folder))
    assert found.keys() == own.keys()
    assert all(torch.equal(found[name], own[name].half()) for name in own)
    assert load_image_model(out).facts.prediction == "eps"  # and is a model to start from again


def test_what_would_be_lost_is_told(folder: Path, tmp_path: Path) -> None:
    pipe = pipeline(folder, VideoFusionPipeline)
    with pytest.raises(InputError, match=r"residual has \d+ weights of layers over time \(residual\), which"):
        plain_pipeline(pipe, "residual")
    with pytest.raises(InputError, match='network "unet" is unknown'):
        plain_pipeline(pipe, "unet")
    ours = pipeline(folder)
    ours.register_to_config(schedule="cosine")
    with pytest.raises(InputError, match="the model predicts eps by the schedule cosine; diffusers' DDIM has"):
        plain_pipeline(ours, "unet")
    with pytest.raises(InputError, match=r"base has .*; diffusers' image U-Net has no such thing"):
        export_model("moving-digits", tmp_path / "out", diffusers="base")
    assert not (tmp_path / "out").exists()
