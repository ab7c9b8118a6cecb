"""ModelScope's text-to-video: the folder of a small random one is a model, and it makes what diffusers makes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import videofusion as vf
from videofusion.cli import main
from videofusion.clip import read_clip, write_clip
from videofusion.digits.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.interop.video_unets import video_unet_from_diffusers
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.image_base import on_image_model
from videofusion.systems.build import build_system
from videofusion.systems.modelscope import ModelScopePipeline
from videofusion.systems.prepared import Hooks

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "interop"))
import tiny_folders as tiny  # noqa: E402

GOLDEN = TESTS / "diffusion" / "golden" / "modelscope.safetensors"

PROMPT = "a red cat"
FEW: dict[str, Any] = {"steps": 2, "height": 16, "width": 16, "guidance": 3.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.modelscope_pipeline(), tmp_path_factory.mktemp("ms") / "tiny-ms")


@pytest.fixture(scope="module")
def pipe(folder: Path) -> ModelScopePipeline:
    found = vf.load(folder, device="cpu")
    assert isinstance(found, ModelScopePipeline)
    return found


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # of what is deprecated there
@torch.no_grad()
def test_makes_the_clip_that_diffusers_makes(pipe: ModelScopePipeline) -> None:
    theirs = tiny.modelscope_pipeline()
    theirs.set_progress_bar_config(disable=True)
    # size and guidance as they are by default
    options: dict[str, Any] = {"steps": 50, "frames": 3, "negative": "grey", "seed": 5}
    prepared = pipe.prepare(PROMPT, **options)
    states: list[Any] = []
    expected = theirs(
        PROMPT,
        negative_prompt="grey",
        num_frames=3,
        latents=prepared.noise(0).transpose(1, 2).clone(),
        output_type="pt",
        callback=lambda number, time, z: states.append(z.transpose(1, 2)),
    ).frames
    ours: list[Any] = []

    def keep(z: Tensor, t: Tensor) -> Tensor:
        ours.append(z)
        return z

    made = pipe.run(prepared, hooks=Hooks(on_state=keep))
    assert len(ours) == len(states) == 50
    for one, other in zip(ours, states, strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-4
    clip = 2 * expected[0] - 1
    assert float((pipe.decode(made)[0] - clip).norm() / clip.norm()) < 1e-4


@torch.no_grad()
def test_has_the_numbers_that_diffusers_had(tmp_path: Path) -> None:
    golden = load_file(GOLDEN)
    theirs = tiny.modelscope_pipeline(width=8, block_out_channels=(8, 8), attention_head_dim=2, norm_num_groups=4)
    theirs.register_modules(text_encoder=tiny.text_encoder(8))
    weights = {name.removeprefix("unet."): value for name, value in golden.items() if name.startswith("unet.")}
    theirs.unet.load_state_dict(weights)
    pipe = vf.load(tiny.save(theirs, tmp_path), device="cpu")
    options: dict[str, Any] = {"height": 16, "width": 16, "guidance": 5.0}
    prepared = pipe.prepare("a red three", negative="grey", frames=3, steps=8, **options)
    object.__setattr__(prepared.conditions, "text", golden["text"])
    object.__setattr__(prepared.conditions, "null", {"text": golden["null"]})
    made, expected = pipe.run(prepared, z=golden["noise"]), golden["made"]
    assert float((made - expected).norm() / expected.norm()) < 1e-4


def test_makes_clips_of_any_length(pipe: ModelScopePipeline) -> None:
    assert (pipe.config.frames, pipe.config.guidance, pipe.config.height) == (16, 9.0, 16)
    made = pipe(PROMPT, seed=3, frames=3, **FEW)
    assert made.shape == (3, 3, 16, 16)
    assert torch.equal(made, pipe(PROMPT, seed=3, frames=3, **FEW))
    assert not torch.equal(made, pipe(PROMPT, seed=3, frames=3, negative="grey", **FEW))
    assert not torch.equal(made, pipe("a (red:1.4) cat", seed=3, frames=3, **FEW))
    long = vf.generate(pipe, [PROMPT], frames=17, height=16, width=16, steps=1, guidance=3.0)
    assert long.shape == (1, 17, 3, 16, 16)  # in one piece
    edited = vf.edit(pipe, made, "a blue dog", method="sdedit", steps=1, guidance=3.0)
    assert edited.shape == made.shape


def test_a_saved_pipeline_is_the_same(pipe: ModelScopePipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path)
    again = vf.load(tmp_path, device="cpu")
    assert isinstance(again, ModelScopePipeline)
    made = pipe(PROMPT, frames=2, **FEW)
    assert torch.equal(again(PROMPT, frames=2, **FEW), made)
    theirs = diffusers.DiffusionPipeline.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    assert torch.equal(theirs(PROMPT, frames=2, **FEW), made)


def test_a_recipe_on_it_goes_on_with_all_of_its_layers(folder: Path) -> None:
    recipe = on_image_model(get_recipe("vdm-folder64"), folder)
    assert (recipe.network.temporal, recipe.diffusion.prediction) == ("unet3d", "eps")
    system = build_system(recipe.replace({"clips.frames": 4}), MovingDigits(4, 16, "train"))
    found, theirs = system.modules["unet"].state_dict(), video_unet_from_diffusers(folder).state_dict()
    assert found.keys() == theirs.keys()
    assert all(torch.equal(found[name], theirs[name]) for name in theirs)
    with pytest.raises(InputError, match="has the layers over time of 'unet3d', which a network of the row"):
        build_system(recipe.replace({"network.temporal": "factorised"}), MovingDigits(4, 16, "train"))


@pytest.mark.slow
def test_makes_a_video_on_the_command_line_and_is_trained_on(folder: Path, tmp_path: Path) -> None:
    few = ["--steps", "1", "--device", "cpu"]
    out = tmp_path / "made.mp4"
    assert main(["generate", PROMPT, "--model", str(folder), "-o", str(out), "--frames", "3", *few]) == 0
    assert len(read_clip(out)) == 3
    clip = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    write_clip(clip, tmp_path / "clips" / "a.mp4", 8.0, {}, scale=1)
    run = ["--data", str(tmp_path / "clips"), "--run", str(tmp_path / "run"), *few]
    run += ["--clips.frames", "4", "--batch.accumulation", "1", "--log.sample-interval", "0", "--batch.workers", "0"]
    run += ["--log.boards", "--optimizer.learning-rate", "0"]
    assert main(["train", "vdm-folder64", "--base", str(folder), *run]) == 0
    trained = vf.load(tmp_path / "run", device="cpu").unet.state_dict()
    begun = video_unet_from_diffusers(folder).state_dict()  # at a rate of 0 all of it stays
    assert trained.keys() == begun.keys()
    assert all(torch.equal(trained[name], begun[name]) for name in begun)


def test_what_cannot_be_is_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"system is 'shared-noise', but .* is a video model \(UNet3DConditionModel\)"):
        vf.load(folder, system="shared-noise")
    with pytest.raises(InputError, match=r"controlnet is nets, but .* is a video model"):
        vf.load(folder, controlnet="nets")
    with pytest.raises(InputError, match=r"low_memory is True, but .* is a video model"):
        vf.load(folder, low_memory=True)
    command = ["train", "videofusion", "--base", str(folder), "--data", "clips", "--run", str(tmp_path / "run")]
    assert main(command) == 2
    assert "is of a video model, whose layers over time the system 'videofusion' would lose" in capsys.readouterr().err
