"""Counts on the meta device against counts of real ones, and the arithmetic of many GPUs against closed forms."""

import dataclasses
from functools import cache

import pytest
import torch
from small import smallest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from studies import scaling
from studies.scaling import Cluster, plan_step, scaling_report
from videofusion.cli import run_command
from videofusion.data.batch import Batch, Sample
from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError
from videofusion.recipes.catalogue import get_recipe
from videofusion.systems.build import build_system
from videofusion.training.estimate import sizes
from videofusion.training.estimate.memory import Part, Watch, count_parts
from videofusion.training.estimate.sizes import Work, recipe_parts, recipe_work, steps_within

WORK = Work(parts=(Part(name="a", trained=1000, frozen=600),), flops=10**6, activations=5000, step=6000, block=100)


class OneWord:
    """Data of which only the captions are looked at."""

    captions = ("clip",)

    def __len__(self) -> int:
        return 0

    def sample(self, index: int, epoch: int, seed: int) -> Sample:
        raise IndexError(index)


@pytest.mark.parametrize(
    "changes",
    [
        {"system.share": 0.5},
        {"system": "vdm", "network.temporal": "factorised"},
        {"system.share": 0.5, "system.variant": "published"},
        {"system.share": 0.5, "system.variant": "image-first", "network.temporal": "residual_middle_place"},
    ],
)
def test_counted_without_computing_is_what_is_there(changes):
    recipe = smallest(
        **{"clips.frames": 3, "network.attention": ("none", "none")}, **changes
    )  # with attention to text a CPU keeps more
    system = build_system(recipe, OneWord())
    assert recipe_parts(recipe) == count_parts(system.modules)
    batch = Batch(torch.zeros(1, 3, 3, 8, 8), ["clip"], ["clip"], torch.zeros(1, dtype=torch.int64))
    with Watch() as watch:
        system.loss(batch, Keys.of([0]), 0)
    # a GPU's fused attention keeps one number more for each 32 queries or part of them
    assert 1 <= recipe_work(recipe).activations / watch.saved < 1.1


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_with_a_text_encoder_of_transformers(precision, saved_text):
    recipe = smallest(
        **{
            "clips.frames": 3,
            "system.share": 0.5,
            "text.encoder": str(saved_text),
            "text.size": 16,
            "compute.precision": precision,
        }
    )
    work = recipe_work(recipe)
    assert work.apart == sum(part.frozen for part in work.parts if part.name == "text_encoder") > 0
    assert work.flops > 0
    assert "text_encoder" in scaling_report(recipe, [1])


def test_without_attention_work_grows_with_the_pixels():
    """The text costs the same at every size, the rest so much a pixel: three sizes lie on a line."""
    image = {"system": "vdm", "network.temporal": "image", "clips.frames": 1, "network.attention": ("none", "none")}
    small, middle, large = (recipe_work(smallest(**{"clips.size": size}, **image)) for size in (8, 16, 24))
    for key in ("flops", "activations"):
        f8, f16, f24 = (getattr(work, key) for work in (small, middle, large))
        assert (f24 - f8) * (16**2 - 8**2) == (f16 - f8) * (24**2 - 8**2)
        assert f16 > f8


@pytest.mark.parametrize(
    "changes",
    [
        {
            "system.share": 0.5,
            "system.variant": "image-first",
            "system.base_loss": "fixed",
            "batch.frames": 3,
            "batch.reach": 1,
            "batch.reach_share": 0.3,
            "batch.accumulation": 3,
        },
        {
            "system": "vdm",
            "network.temporal": "factorised",
            "batch.frames": 4,
            "batch.reach": 2,
            "batch.reach_share": 0.0,
        },
    ],
)
def test_a_budget_of_arithmetic_is_spent_by_the_steps_that_it_is_said_to_be_enough_for(changes, monkeypatch):
    monkeypatch.setattr(sizes, "recipe_work", cache(recipe_work))
    recipe = smallest(**{"clips.frames": 7, "network.attention": ("none", "none")}, **changes)
    system = build_system(recipe, OneWord())
    clips = recipe.batch.size
    batch = Batch(torch.zeros(clips, 7, 3, 8, 8), ["clip"] * clips, ["clip"] * clips, torch.arange(clips))
    by_frames: dict[int, int] = {}

    def spent(step: int, progress: float) -> int:
        looked = len(system.options.frames(7, step, progress))
        if looked not in by_frames:
            with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
                system.loss(batch, Keys.of(range(clips)), step, progress).total.backward()
            by_frames[looked] = recipe.batch.accumulation * counter.get_total_flops()
        return by_frames[looked]

    for steps in (1, 6, 17):
        # by less than a percent, attention here is other arithmetic than the fused one that is counted
        one, more = (sum(spent(step, step / run) for step in range(run)) for run in (steps, steps + 1))
        assert steps_within(recipe, one * 1.01) == steps_within(recipe, more * 0.99) == steps
    assert len(by_frames) > 1
    with pytest.raises(InputError, match="not enough for one step"):
        steps_within(recipe, spent(0, 0.0) * 0.9)


def test_half_precision_gathers_half_and_keeps_less():
    changes = {"system": "vdm", "network.temporal": "factorised", "clips.frames": 3}
    whole, half = (recipe_work(smallest(**{"compute.precision": kind}, **changes)) for kind in ("float32", "bfloat16"))
    assert (half.parts, half.flops, half.block) == (whole.parts, whole.flops, whole.block)
    assert 0.5 < half.activations / whole.activations < 0.95


@pytest.mark.parametrize("half", [False, True])
def test_bytes_are_those_of_the_formulas(half):
    weight = 2 if half else 4
    plain = plan_step(WORK, "data parallel", 8, 2, batch=64, half=half)
    assert (plain.micro_batches, plain.moved) == (4, 2 * 7 * 4 * 1000 // 8)
    assert plain.memory == 4 * (2 * 1600 + 3 * 1000) + 2 * 5000 + (2 * 1600 if half else 0)
    cut = plan_step(WORK, "FSDP2", 8, 2, batch=64, half=half)
    assert cut.moved == 4 * 7 * (2 * weight * 1600 + 4 * 1000) // 8
    assert cut.memory == 4 * (2 * 1600 + 3 * 1000) // 8 + 2 * 5000 + (2 * weight + 4) * 100
    assert plain.computing == cut.computing == pytest.approx(8 * 10**6 / (0.4 * 989e12))


def test_what_is_offloaded_is_not_on_the_gpus():
    work = dataclasses.replace(WORK, parts=(*WORK.parts, Part(name="base", trained=400, frozen=40)))
    both, apart, plain = (
        plan_step(work, way, 4, 1, batch=4, half=False, offload=offload)
        for way, offload in (("FSDP2", "none"), ("FSDP2", "base"), ("data parallel", "base"))
    )
    assert (both.host, apart.host, plain.host) == (0, 4 * (2 * 440 + 3 * 400) // 4, 0)
    assert both.memory == apart.memory + apart.host
    assert both.moved == apart.moved


def test_links_are_the_slowest_that_a_ring_has():
    cluster = Cluster(machine=4, inside=100.0, between=10.0)
    inside, between = (plan_step(WORK, "data parallel", n, 1, batch=16, half=False, cluster=cluster) for n in (4, 8))
    assert (inside.moving, between.moving) == (inside.moved / 100, between.moved / 10)
    alone = plan_step(WORK, "data parallel", 1, 1, batch=16, half=False, cluster=cluster)
    assert alone.moved == alone.moving == 0


def test_the_report_has_a_row_for_each_and_says_what_does_not_fit(monkeypatch):
    monkeypatch.setattr(scaling, "recipe_work", lambda recipe: WORK)
    recipe = smallest(**{"batch.size": 4, "batch.accumulation": 2})
    report = scaling_report(recipe, (2, 4), 2, Cluster(memory=1000))
    rows = [line for line in report.splitlines() if line.startswith(("| 2 |", "| 4 |"))]
    assert [row.split(" | ")[2] for row in rows] == ["2 of 2", "2 of 2", "1 of 2", "1 of 2"]
    assert all("(too much)" in row for row in rows)


def test_what_cannot_be_shared_or_counted_is_refused():
    with pytest.raises(InputError, match="128 clips cannot be shared by 3 GPUs in micro-batches of 1 clips"):
        plan_step(WORK, "FSDP2", 3, 1, batch=128, half=False)
    with pytest.raises(InputError, match='way is "pipeline"'):
        plan_step(WORK, "pipeline", 2, 1, batch=128, half=False)
    with pytest.raises(InputError, match='trains is "lora"'):
        recipe_parts(smallest(**{"start.trains": "lora"}))
    with pytest.raises(InputError, match="utilisation is 2"):
        Cluster(utilisation=2)


def test_scaling_is_of_the_recipe_and_the_gpus_that_were_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []
    monkeypatch.setattr(scaling, "scaling_report", lambda *words: asked.append(words) or "a table")
    words = ["tiny", "--gpus", "2", "16", "--clips", "4", "--utilisation", "0.5", "--batch.size", "64"]
    assert run_command(scaling.scaling, "scaling", words) == 0
    assert capsys.readouterr().out == "a table\n"
    assert asked == [(get_recipe("tiny", {"batch.size": 64}), (2, 16), 4, scaling.Cluster(utilisation=0.5))]
