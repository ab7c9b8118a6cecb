"""What saves memory by diffusers' names, without an accelerator: the device "meta" is one, as far as parts move."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import videofusion as vf
from videofusion.conditioning.text import WordEncoder
from videofusion.errors import InputError
from videofusion.networks.unet import UNet
from videofusion.systems.training_free import TrainingFreePipeline
from videofusion.systems.vdm import VDMPipeline

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))
import tiny_folders as tiny

hooks = pytest.importorskip("accelerate.hooks")
FEW: dict[str, Any] = {"steps": 2, "height": 16, "width": 16, "frames": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.sd_pipeline(), tmp_path_factory.mktemp("sd") / "tiny-sd")


@pytest.fixture(scope="module")
def pipe(folder: Path) -> TrainingFreePipeline:
    pipe = vf.load(folder, system="text2video-zero", device="cpu")
    assert isinstance(pipe, TrainingFreePipeline)
    return pipe


def test_each_part_comes_when_its_turn_comes_and_goes_for_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On "meta", which has no numbers, but refuses to mix with the CPU as an accelerator does."""
    pipe = vf.load(folder, system="text2video-zero", device="cpu")
    names = {id(part): name for name, part in pipe.components.items() if isinstance(part, nn.Module)}
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.empty_device_cache", lambda *_: None)  # it has none
    pipe.enable_model_cpu_offload(device="meta")
    moved: list[str] = []
    come = hooks.CpuOffload.pre_forward

    def coming(self: Any, module: nn.Module, *given: Any, **named: Any) -> Any:
        waited = module.device.type == "cpu"
        brought = come(self, module, *given, **named)
        moved.extend([f"{names[id(module)]} comes"] * waited)
        return brought

    def going(self: Any) -> None:
        moved.append(f"{names[id(self.model)]} goes")
        self.model.to_empty(device="cpu")  # nothing can be copied from there

    monkeypatch.setattr(hooks.CpuOffload, "pre_forward", coming)
    monkeypatch.setattr(hooks.UserCpuOffloadHook, "offload", going)
    prepared = pipe.prepare("a red cat", **FEW)
    assert prepared.conditions.text is not None
    assert {pipe.where.type, prepared.conditions.text.device.type, prepared.noise(0).device.type} == {"meta"}
    z, time = prepared.noise(0), torch.ones(1, device=pipe.where)
    made = pipe.decode(pipe.unet(z, time, text=prepared.conditions.text))
    assert made.device.type == "meta"
    assert moved == ["text_encoder comes", "text_encoder goes", "unet comes", "unet goes", "vae comes"]


def test_after_a_call_all_wait_again_and_nothing_has_changed(pipe: TrainingFreePipeline) -> None:
    expected = pipe("a red cat", **FEW)
    pipe.enable_model_cpu_offload(device="cpu")
    for _ in range(2):
        before = pipe._all_hooks
        assert torch.equal(pipe("a red cat", **FEW), expected)
        assert len(pipe._all_hooks) == len(before) == 3
        assert pipe._all_hooks is not before
    pipe.remove_all_hooks()
    assert torch.equal(pipe("a red cat", **FEW), expected)


def test_tiles_and_slices(pipe: TrainingFreePipeline) -> None:
    latents = torch.randn(2, 4, 24, 24, generator=torch.Generator().manual_seed(0))
    whole = pipe.decode(latents)
    pipe.enable_vae_slicing()
    torch.testing.assert_close(pipe.decode(latents), whole, rtol=0, atol=1e-5)
    pipe.enable_vae_tiling(32)
    assert not torch.allclose(pipe.decode(latents), whole, atol=1e-3)  # of 48 pixels
    pipe.disable_vae_tiling()
    pipe.disable_vae_slicing()
    assert torch.equal(pipe.decode(latents), whole)
    with pytest.raises(InputError, match="tile is 7; this autoencoder takes a multiple of 2"):
        pipe.enable_vae_tiling(7)


def test_what_does_not_help_says_what_does(pipe: TrainingFreePipeline) -> None:
    unet = UNet(channels=(8,), blocks=1, attention=("none",), heads=1, groups=1, text_size=8)
    trained = VDMPipeline(unet, WordEncoder(words=["a"], size=8))
    with pytest.raises(InputError, match=r'a VDMPipeline; load it with precision="bfloat16".*--low-memory'):
        trained.enable_model_cpu_offload(device="cpu")
    with pytest.raises(InputError, match="enable_vae_tiling is for models in latents"):
        trained.enable_vae_tiling()
    with pytest.raises(InputError, match="use enable_model_cpu_offload"):
        pipe.enable_sequential_cpu_offload()
    with pytest.raises(InputError, match="nothing to slice: attention is fused"):
        pipe.enable_attention_slicing()
