"""Image transformers out of folders: the pictures that diffusers' pipelines make, at every step."""

from __future__ import annotations

import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_folders as tiny
import tiny_transformers as transformers
import torch
from torch import Tensor

import videofusion as vf
from videofusion.errors import InputError
from videofusion.interop.diffusers_folder import read_folder
from videofusion.systems.prepared import Hooks
from videofusion.systems.shared_noise import SharedNoisePipeline

PROMPT, NEGATIVE, SCALE, SIDE, STEPS = "a red Cat", "grey", 3.0, 16, 3
SLOW = pytest.mark.slow
DPM = diffusers.DPMSolverMultistepScheduler
MADE: dict[str, Any] = {
    **transformers.PIPELINES,
    "pixart-sigma": lambda: transformers.pixart(sigma=True),
    "pixart-dpm": lambda: transformers.pixart(sigma=True, scheduler=DPM()),
    "sd3-without-t5": lambda: transformers.sd3(t5_too=False),
    "flux-schnell": lambda: transformers.flux(transformers.FLOW(shift=1.0), guidance=False),
}
MORE = ("pixart-sigma", "sd3-without-t5", "flux-schnell")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("transformers")
    return {name: tiny.save(make(), place / name) for name, make in transformers.PIPELINES.items()}


@pytest.fixture
def copy(folders: dict[str, Path], tmp_path: Path) -> Any:
    """A copy of a folder that a test may break."""
    return lambda name: Path(shutil.copytree(folders[name], tmp_path / name))


def load(folder: Path, **options: Any) -> SharedNoisePipeline:
    pipe = vf.load(folder, system="shared-noise", device="cpu", **options)
    assert isinstance(pipe, SharedNoisePipeline)
    return pipe


def states_of(theirs: Any, noise: Tensor, factor: int, side: int) -> tuple[list[Tensor], Tensor]:
    """Latents after every step, and the picture in [-1, 1], of a pipeline of diffusers."""
    theirs.set_progress_bar_config(disable=True)
    found: list[Tensor] = []
    options: dict[str, Any] = {"guidance_scale": SCALE}
    asked = inspect.signature(type(theirs).__call__).parameters
    options |= {"use_resolution_binning": False, "clean_caption": False} if "clean_caption" in asked else {}
    if "callback_on_step_end" in asked:
        options["callback_on_step_end"] = lambda pipe, i, t, told: found.append(told["latents"]) or {}
    else:
        options["callback"] = lambda i, t, latents: found.append(latents)
    packed = type(theirs).__name__ == "FluxPipeline"
    if packed:
        options |= {"guidance_scale": 3.5, "true_cfg_scale": SCALE}
        noise = theirs._pack_latents(noise, 1, *noise.shape[1:])
    size = {"num_inference_steps": STEPS, "height": side, "width": 2 * side}
    made = theirs(PROMPT, negative_prompt=NEGATIVE, latents=noise, output_type="pt", **size, **options).images
    found = [theirs._unpack_latents(each, side, 2 * side, factor) if packed else each for each in found]
    return found, 2 * made - 1


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize(
    "name",
    [*transformers.PIPELINES, "pixart-dpm", *(pytest.param(each, marks=SLOW) for each in MADE if each in MORE)],
)
@torch.no_grad()
def test_frames_that_share_all_noise_are_the_picture_that_diffusers_makes(name: str, tmp_path: Path) -> None:
    theirs = MADE[name]()
    pipe = load(tiny.save(theirs, tmp_path / name))
    solver, side = name == "pixart-dpm", 32 if name == "sana" else SIDE  # whose pipeline takes no other
    asked = {"steps": STEPS, "height": side, "width": 2 * side, "guidance": SCALE, "negative": NEGATIVE}
    prepared = pipe.prepare(PROMPT, frames=2, seed=3, share=1.0, sampler="dpm++" if solver else "ddim", **asked)
    expected, picture = states_of(theirs, prepared.noise(0)[:, 0].clone(), pipe.space.factor, side)
    # its times are those of their steps: even over the steps of training, both ends included
    grid = torch.cat([(theirs.scheduler.timesteps + 1) / 1000, torch.zeros(1)]) if solver else None
    states: list[Tensor] = []
    made = pipe.run(prepared, times=grid, hooks=Hooks(on_state=lambda z, t: (states.append(z), z)[1]))
    assert len(states) == len(expected) == STEPS
    for ours, own in zip(states, expected, strict=True):
        torch.testing.assert_close(ours[:, 0], ours[:, 1], rtol=1e-5, atol=1e-4)  # to where rows of a batch agree
        assert float((ours[:, 0] - own).norm() / own.norm()) < 1e-4
    assert float((pipe.decode(made)[:, 0] - picture).norm() / picture.norm()) < 1e-4
    assert float(picture.std()) > 0.05


@pytest.mark.parametrize("name", ["sd3", "flux"])
@pytest.mark.parametrize("side", [32, 2048])
def test_the_grid_is_that_of_the_scheduler_at_any_size(name: str, side: int, folders: dict[str, Path]) -> None:
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    pipe, steps = load(folders[name]), 7
    found = pipe.grid(*_grid_of(pipe, steps), (side // 2, side // 2))
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(folders[name], subfolder="scheduler")
    if name == "sd3":
        scheduler.set_timesteps(steps)
    else:
        sigmas = torch.linspace(1, 1 / steps, steps).tolist()
        scheduler.set_timesteps(sigmas=sigmas, mu=calculate_shift((side // 4) ** 2))
    _, sigma = _grid_of(pipe, steps)[0].alpha_sigma(found.double())
    torch.testing.assert_close(sigma.float(), scheduler.sigmas, rtol=0, atol=1e-6)


def _grid_of(pipe: SharedNoisePipeline, steps: int) -> tuple[Any, ...]:
    from videofusion.diffusion.schedules import make_schedule

    return make_schedule(pipe.config.schedule), steps, pipe.options("ddim", {})


def test_is_saved_without_pickles_and_makes_the_same_again(folders: dict[str, Path], tmp_path: Path) -> None:
    pipe = load(folders["flux"])
    asked = {"frames": 3, "steps": 2, "height": SIDE, "width": SIDE, "seed": 1}
    made = pipe(PROMPT, **asked)
    assert not torch.equal(made[0], made[1])
    pipe.save_pretrained(tmp_path / "ours")
    files = {file.suffix for file in (tmp_path / "ours").rglob("*") if file.is_file()}
    assert files <= {".json", ".safetensors", ".txt", ".model", ".jinja"}
    again = vf.load(tmp_path / "ours", device="cpu")
    assert torch.equal(again(PROMPT, **asked), made)


def test_a_network_computes_in_half_precision(folders: dict[str, Path]) -> None:
    pipe = load(folders["sd3"], precision="bfloat16")
    asked = {"frames": 2, "steps": 2, "height": SIDE, "width": SIDE}
    whole = load(folders["sd3"])(PROMPT, **asked)
    assert pipe.unet.dtype == torch.bfloat16
    assert 0 < float((pipe(PROMPT, **asked) - whole).norm() / whole.norm()) < 0.1


def test_the_facts_of_a_folder(folders: dict[str, Path]) -> None:
    facts = {name: read_folder(folder) for name, folder in folders.items()}
    assert {name: (each.schedule, each.prediction) for name, each in facts.items()} == {
        "pixart": ("linear", "eps"),
        "sd3": ("rectified_flow:3", "flow"),
        "sana": ("rectified_flow:3", "flow"),
        "flux": ("rectified_flow", "flow"),
    }
    assert [len(each.text) for each in facts.values()] == [1, 3, 1, 2]
    assert all(sum(each.weights.values()) for each in facts.values())


def test_a_size_that_patches_do_not_divide_is_refused(folders: dict[str, Path]) -> None:
    pipe = load(folders["flux"])
    with pytest.raises(InputError, match="size is 18x16; both must be multiples of 4"):
        pipe(PROMPT, height=18, width=16)
    with pytest.raises(InputError, match="z is 3x4; both must be multiples of 2, the side of a patch"):
        pipe.unet(torch.zeros(1, 1, 4, 3, 4), torch.zeros(1), text=torch.zeros(1, 3, 32))
    with pytest.raises(InputError, match="positions for at most 64 a side"):
        load(folders["sd3"])(PROMPT, height=128, width=128)


def test_a_prompt_that_is_too_long_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"prompt has \d+ tokens; this model takes at most 120"):
        load(folders["pixart"])("a" * 300)


def test_only_systems_without_temporal_layers_take_one(
    folders: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r'SD3Transformer2DModel, whose frames .* the system "shared-noise"'):
        vf.load(folders["sd3"], system="text2video-zero", device="cpu")
    assert isinstance(vf.load(folders["sd3"], device="cpu"), SharedNoisePipeline)
    assert 'clips are made by "shared-noise"' in capsys.readouterr().err


def test_another_transformer_is_named_with_those_that_work(copy: Any) -> None:
    folder = copy("sana")
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = ["diffusers", "LuminaNextDiT2DModel"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"names a LuminaNextDiT2DModel .* PixArtTransformer2DModel, SD3"):
        vf.load(folder, device="cpu")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder, index: index.update(text_encoder_2=[None, None]), "names no text_encoder_2; expected was one"),
        (lambda folder, index: shutil.rmtree(folder / "tokenizer_2"), "tokenizer_2 is missing"),
        (lambda folder, index: (folder / "transformer" / "config.json").unlink(), "config.json is missing"),
        (lambda folder, index: _set(folder / "text_encoder_2", d_model=48), "reads text .* has 48"),
        (lambda folder, index: _set(folder / "transformer", pooled_projection_dim=20), "reads whole texts .* 20"),
        (lambda folder, index: _set(folder / "transformer", in_channels=32), "makes latents of size 8"),
        (
            lambda folder, index: _set(folder / "scheduler", "scheduler_config.json", invert_sigmas=True),
            "invert_sigmas",
        ),
        (lambda folder, index: _pickled(folder / "transformer"), "only diffusion_pytorch_model.bin, a pickle"),
    ],
)
def test_what_does_not_go_together_is_said(change: Any, sentence: str, copy: Any) -> None:
    folder = copy("flux")
    index = json.loads((folder / "model_index.json").read_text())
    change(folder, index)
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=sentence):
        read_folder(folder)


def _set(part: Path, name: str = "config.json", **values: Any) -> None:
    (part / name).write_text(json.dumps({**json.loads((part / name).read_text()), **values}))


def _pickled(part: Path) -> None:
    (part / "diffusion_pytorch_model.safetensors").rename(part / "diffusion_pytorch_model.bin")
