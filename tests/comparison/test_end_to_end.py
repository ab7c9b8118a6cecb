"""Two systems at a size that trains in a second: from names to tables and pictures."""

import json
import os
from dataclasses import replace

import pytest

from studies.plans import PLANS
from videofusion.cli import main
from videofusion.comparison import compare
from videofusion.comparison.cost import cost
from videofusion.comparison.runs import results, run_recipe
from videofusion.digits.comparison import DigitsMeasure
from videofusion.digits.fidelity import FidelityMeasure
from videofusion.recipes.catalogue import get_recipe
from videofusion.training.trainer import train

TINY = {
    "network.channels": (8, 8),
    "network.attention": ("none", "plain"),
    "network.temporal": "residual",
    "network.heads": 2,
    "network.blocks": 1,
    "network.groups": 4,
    "text.size": 16,
    "clips.size": 32,
    "clips.frames": 2,
    "network.patch": 4,
    "batch.size": 2,
    "optimizer.warmup": 1,
    "log.boards": "",
    "log.interval": 1,
    "log.validation_batches": 1,
    "sampling.guidance": 1.0,
}


@pytest.fixture
def here(monkeypatch):
    """Runs are trained, and costs counted, in this process; how often is kept."""
    trained = []

    def train_here(folder, run, threads, data=None, is_over=None):
        trained.append(run.name)
        train(run_recipe(folder, run, data), folder / run.name, seconds=run.seconds, bar=False, device="cpu")
        return True

    monkeypatch.setattr(compare, "train_run", train_here)
    monkeypatch.setattr(compare, "cost_apart", cost)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    return trained


@pytest.mark.slow
def test_systems_join_by_name_and_a_model_is_only_measured(tmp_path, here, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(DigitsMeasure.__init__, "__defaults__", (2, 128))  # fewer real clips, and replicates
    monkeypatch.setitem(FidelityMeasure.__call__.__kwdefaults__, "replicates", 2)
    for name, changes in (
        ("fusion", {"system.residual_channels": (8, 8)}),
        ("vdm", {"system": "vdm", "network.temporal": "factorised"}),
    ):
        recipe = get_recipe("tiny", {**TINY, **changes})
        (tmp_path / f"{name}.json").write_text(json.dumps(recipe.to_json()))
    fusion, vdm = (str(tmp_path / f"{name}.json") for name in ("fusion", "vdm"))
    out = tmp_path / "out"
    words = ["compare", str(out), fusion]
    options = ["--budget", "0.02s", "--seeds", "1", "--clips", "128", "--steps", "1", "--jobs", "1"]
    assert main([*words, *options]) == 0
    assert here == ["fusion-0"]
    model = str(out / "fusion-0")
    assert main([*words, vdm, model, *options]) == 0
    assert here == ["fusion-0", "vdm-0"]
    rows = {row["name"]: row for row in results(out)}
    assert list(rows) == ["real clips", "fusion-0", "vdm-0", "model-fusion-0"]
    # the same model, prompts and seeds: the same clips
    assert rows["model-fusion-0"]["quality"] == rows["fusion-0"]["quality"]
    assert rows["model-fusion-0"]["cost"]["gflops"] == rows["fusion-0"]["cost"]["gflops"] > 0
    assert rows["vdm-0"]["parameters"] == rows["vdm-0"]["cost"]["parameters"]
    table = capsys.readouterr().out
    assert "| vdm-0" in table
    assert "quality, the best first" in table
    for name in ("table.md", "table.csv", "plot.png", "clips-0.png", "clips-3.png"):
        assert (out / name).stat().st_size > 0, name
    # another budget needs another folder, and what is finished can be reported whatever else is asked
    assert main([*words, "--budget", "1h"]) == 2
    assert "another plan or budget" in capsys.readouterr().err
    assert main(["compare", str(out), "--report-only"]) == 0


@pytest.mark.slow
def test_a_plan_of_costs_runs_through(tmp_path, here, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    plan = PLANS["videofusion-table-4"]
    keys = {"network.channels": "8,8,8", "network.groups": 4, "network.patch": 4, "clips.frames": 2, "text.size": 16}

    def small(budget):
        own = {**keys, "log.validation_batches": 1, "log.boards": ""}
        few = {"vdm": {}, "videofusion": {"system.residual_channels": "8,8,8"}}
        return [replace(run, overrides={**run.overrides, **own, **few[run.name]}) for run in plan.runs(budget)]

    monkeypatch.setitem(PLANS, plan.name, replace(plan, runs=small))
    assert main(["compare", str(tmp_path), "--plan", plan.name, "--steps", "1"]) == 0
    assert here == ["vdm", "videofusion"]
    out = capsys.readouterr().out
    assert "latency 57.5 % lower" in out
    assert "Beside the paper (VideoFusion, section 4.4, table 4" in out
