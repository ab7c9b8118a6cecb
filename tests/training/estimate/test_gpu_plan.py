"""A plan for one GPU on paper, against a dry run and with a folder of Stable Diffusion's own sizes."""

import sys
from pathlib import Path

import pytest
import torch

from videofusion.cli import main
from videofusion.clip import write_clip
from videofusion.errors import InputError
from videofusion.networks.lora import is_adapter
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.image_base import on_image_model
from videofusion.recipes.stable_diffusion import STABLE_DIFFUSION
from videofusion.systems.build import build_system
from videofusion.systems.tuning import trained_groups
from videofusion.training.batches import training_data
from videofusion.training.estimate.gpu_plan import plan_for_gpu
from videofusion.training.estimate.trial import dry_run
from videofusion.training.world import World

sys.path.insert(0, str(Path(__file__).parents[2] / "interop"))
import tiny_folders as tiny

SMALL = {
    "clips.size": 16,
    "clips.frames": 4,
    "clips.fps": None,
    "batch.size": 2,
    "batch.accumulation": 1,
    "batch.workers": 0,
    "log.boards": "",
    "log.sample_interval": 0,
    "compute.precision": "float32",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small image model, and clips."""
    place = tmp_path_factory.mktemp("sd")
    tiny.save(tiny.sd_pipeline(), place / "sd")
    for number in range(3):
        clip = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(number)) * 2 - 1
        write_clip(clip, place / "clips" / f"{number}.mp4", 8.0, {}, scale=1)
    return place


def recipe(place: Path, **changes: object):
    return on_image_model(get_recipe("videofusion-sd-256"), place / "sd").replace({**SMALL, **changes})


@pytest.mark.parametrize("name", STABLE_DIFFUSION)
def test_a_recipe_keeps_its_own_and_takes_the_rest_from_the_folder(place: Path, name: str) -> None:
    found = on_image_model(get_recipe(name), place / "sd")
    assert (found.diffusion.schedule, found.text.size, found.system.residual_channels) == ("scaled_linear", 32, (8, 16))
    assert found.clips.size == int(name[-3:])
    assert found.batch.size * found.batch.accumulation == 32
    assert (found.start.trains, found.system.base_rate_ratio) == ("lora", 1.0)


def test_only_the_base_has_adapters_and_the_residual_generator_hears_every_token(place: Path) -> None:
    """VideoFusion's second future work: the whole text, rather than one embedding of it, reaches it."""
    pytest.importorskip("peft")
    wanted = recipe(place)
    system = build_system(wanted, training_data(wanted, place / "clips", World())[0].dataset)
    parts = {name: dict(part.named_parameters()) for name, part in system.modules.items()}
    trained = {name: {key for key, value in part.items() if value.requires_grad} for name, part in parts.items()}
    assert trained["base"] == {key for key in parts["base"] if is_adapter(key)} != set()
    assert trained["residual"] == set(parts["residual"])
    assert not any(map(is_adapter, parts["residual"]))
    assert {group["lr"] for group in trained_groups(system, wanted)} == {1e-4}

    text = torch.randn(1, 20, 32, requires_grad=True)
    shown, time = torch.randn(1, 4, 8, 8, 8), torch.full((1, 4), 500.0)
    system.residual(shown, time, text=text, share=torch.full((1, 4), 0.5)).square().sum().backward()
    assert text.grad is not None
    assert (text.grad.abs().sum(dim=2) > 0).all()


@pytest.mark.parametrize("changes", [{}, {"start.trains": "full", "system.base_loss": "fixed"}])
def test_a_plan_is_at_or_above_what_a_dry_run_finds(place: Path, tmp_path: Path, changes: dict) -> None:
    pytest.importorskip("peft")
    # at a size at which it is not weights alone that count
    wanted = recipe(place, **{"clips.size": 32, **changes})
    plan, found = plan_for_gpu(wanted), dry_run(wanted, tmp_path / "run", place / "clips", device="cpu")
    assert [(part.name, part.trained, part.frozen) for part in plan.parts] == [
        (part.name, part.trained, part.frozen) for part in found.parts
    ]
    ours, theirs = plan.memory, found.memory
    assert (ours.held.weights, ours.held.average, ours.held.gradients) == (
        theirs.held.weights,
        theirs.held.average,
        theirs.held.gradients,
    )
    assert ours.apart == pytest.approx(theirs.apart, rel=0.01)
    assert theirs.phases["step"] <= ours.phases["step"] < 1.3 * theirs.phases["step"]


def test_gradient_checkpointing_in_half_precision_is_counted(place: Path) -> None:
    """What the backward pass computes again is in bfloat16 too."""
    keys = {"clips.size": 32, "compute.precision": "bfloat16", "system.base_loss": "fixed", "start.trains": "full"}
    whole, saved = (
        plan_for_gpu(recipe(place, **keys, **{"compute.gradient_checkpointing": on})) for on in (False, True)
    )
    assert saved.memory.phases["step"] < 0.8 * whole.memory.phases["step"]
    assert saved.flops > whole.flops
    assert saved.fits(24)
    with pytest.raises(InputError, match=r"but a GPU of 0\.001 GB has .* for it; less is needed with --batch\.size 1"):
        saved.check(0.001)


def test_the_command_plans_without_data(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    small = ["--clips.size", "16", "--clips.frames", "4", "--base", str(place / "sd"), "--run", str(tmp_path / "run")]
    command = ["train", "videofusion-sd-256", *small, "--dry-run", "--gpu"]
    assert main([*command, "24"]) == 0
    out = capsys.readouterr().out
    assert "expected peak" in out
    assert "assumed: a dry run on the GPU itself measures a step" in out
    assert main(["train", "videofusion-sd-256", *small, "--gpu", "24"]) == 2
    assert "goes with --dry-run only" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_an_image_model_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "videofusion-sd-256", "--data", "clips", "--run", str(tmp_path / "run")]) == 2
    assert "--base is not given; the recipe videofusion-sd-256 is for an image model" in capsys.readouterr().err


def test_a_model_of_ours_is_not_tuned_on_paper() -> None:
    with pytest.raises(InputError, match=r'start\.trains is "lora", but only "full" can be counted'):
        plan_for_gpu(get_recipe("tiny", {"start.trains": "lora", "start.model": "runs/none"}))


@pytest.mark.slow
def test_at_the_size_of_stable_diffusion_the_plans_fit(tmp_path: Path) -> None:
    from studies.stable_diffusion import ROWS, recipe_on, write_sizes

    folder = write_sizes(tmp_path / "sd")
    for name, changes, gigabytes in ROWS:
        plan = plan_for_gpu(recipe_on(folder, name, changes))
        base = next(part for part in plan.parts if part.name == "base")
        adapters = base.trained if "start.trains" not in changes else 0
        assert base.trained + base.frozen - adapters == 859_520_964  # of its U-Net
        assert plan.fits(gigabytes), (name, changes, plan.report(gigabytes))
