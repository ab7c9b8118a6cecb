"""The plan of the comparison, its going on after a stop, and what it claims."""

import json
import os
import threading
import time

import pytest

from videofusion import models
from videofusion.data.moving_digits import MovingDigits, evaluation_prompts, render
from videofusion.errors import InputError, RunError
from videofusion.evaluation import comparison
from videofusion.evaluation.comparison import Budget, Run, compare, find_budget, plan, results
from videofusion.evaluation.comparison_measure import evaluate, place_kept
from videofusion.evaluation.comparison_report import claims, plot, report, share_points
from videofusion.evaluation.distortions import DISTORTIONS
from videofusion.evaluation.judge import Judge
from videofusion.evaluation.protocol import Sampling
from videofusion.systems.build import build_system
from videofusion.training.recipes import get_recipe


def row(name, quality=1.0, consistency=2.0):
    rate = {"value": 0.5}
    return {
        "name": name,
        "parameters": 9_000_000,
        "clips": 1000,
        "quality": {"value": quality, "deviation": 0.1},
        "consistency": {"value": consistency, "deviation": 0.1},
        "rates": dict.fromkeys(("digit", "colour", "direction", "same ends"), rate),
        "place_kept": 0.9,
    }


def test_every_run_is_a_recipe_with_what_all_share():
    runs = plan(Budget(seconds=60, base_seconds=10))
    names = [run.name for run in runs]
    assert len(set(names)) == len(names)
    bases = {run.name for run in runs if run.recipe == "base-digits"}
    trained = [run for run in runs if run.name not in bases]
    recipes = [get_recipe(run.recipe, run.overrides) for run in trained]
    shared = ("size", "frames", "two_digits", "batch_size", "train_frames", "reach", "reach_steps")
    for key in (*shared, "learning_rate", "patch", "schedule"):
        assert len({getattr(recipe, key) for recipe in recipes}) == 1, key
    assert {run.seconds for run in trained} == {60}
    assert {run.base for run in trained} == {*bases, None}
    # A base comes before what starts from it.
    assert all(run.base is None or names.index(run.base) < names.index(run.name) for run in runs)
    assert {run.name for run in trained if run.base is None} == {"vdm-scratch", "videofusion-scratch"}


def test_the_headline_pair_has_as_many_parameters():
    runs = {run.name: run for run in plan(Budget(seeds=1))}

    def size(name):
        recipe = get_recipe(runs[name].recipe, runs[name].overrides)
        modules = build_system(recipe, MovingDigits(recipe.frames, recipe.size)).modules.values()
        return sum(p.numel() for module in modules for p in module.parameters())

    assert size("vdm-0") == pytest.approx(size("videofusion-0"), rel=0.05)


def test_goes_on_after_a_stop(tmp_path, monkeypatch):
    runs = [Run(name=n, recipe="base-digits", seconds=1.0) for n in ("a", "b", "c")]
    trained = []

    def train(folder, run, deadline, threads):
        trained.append(run.name)
        return not (run.name == "b" and trained.count("b") == 1)  # the time is up in the middle of b

    monkeypatch.setattr(comparison, "plan", lambda budget: runs)
    monkeypatch.setattr(comparison, "train_run", train)
    monkeypatch.setattr(comparison, "run_facts", lambda run: {"steps": 1})
    budget = Budget(seconds=1)
    compare(tmp_path, budget, say=lambda text: None)
    assert [r["name"] for r in results(tmp_path)] == ["a"]
    # A line that a kill cut off does not count.
    with (tmp_path / "results.jsonl").open("a") as file:
        file.write('{"name": "b"')
    compare(tmp_path, budget, say=lambda text: None)
    assert trained == ["a", "b", "b", "c"]
    assert [r["name"] for r in results(tmp_path)] == ["a", "b", "c"]
    with pytest.raises(InputError, match="budget"):
        compare(tmp_path, Budget(seconds=2), say=lambda text: None)


def test_runs_side_by_side_wait_for_their_base_and_share_the_cores(tmp_path, monkeypatch):
    runs = [Run(name="base", recipe="base-digits", seconds=1.0)]
    runs += [Run(name=n, recipe="base-digits", base="base", seconds=1.0) for n in ("a", "b")]
    both = threading.Barrier(2, timeout=30)  # broken if a and b are not trained at one time
    shares = []

    def train(folder, run, deadline, threads):
        shares.append(threads)
        if run.name != "base":
            assert (tmp_path / "base-is-there").exists()
            both.wait()
        else:
            time.sleep(0.1)
            (tmp_path / "base-is-there").touch()
        return True

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr(comparison, "plan", lambda budget: runs)
    monkeypatch.setattr(comparison, "train_run", train)
    monkeypatch.setattr(comparison, "run_facts", lambda run: {"steps": 1})
    compare(tmp_path, Budget(seconds=1), jobs=2, say=lambda text: None)
    assert sorted(r["name"] for r in results(tmp_path)) == ["a", "b", "base"]
    assert shares == [2, 2, 2]
    with pytest.raises(InputError, match="jobs is 5; this machine allows 1 to 4"):
        compare(tmp_path, Budget(seconds=1), jobs=5)
    with pytest.raises(InputError, match="threads"):  # seconds on more cores are other seconds
        compare(tmp_path, Budget(seconds=1), jobs=1)


def test_the_budget_is_the_first_at_which_places_are_kept(tmp_path, monkeypatch):
    asked = []

    def train(folder, run, deadline, threads):
        asked.append((run.name, run.base, run.seconds, threads))
        return True

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(comparison, "train_run", train)
    monkeypatch.setattr(models, "load", lambda path, device: path)
    kept = iter((0.1, 0.5, 0.85, 0.1))
    monkeypatch.setattr(comparison, "places_kept", lambda pipe, clips: next(kept))
    budget = Budget(seconds=10, base_seconds=5)
    assert find_budget(tmp_path, budget, 1000, jobs=2, say=lambda text: None) == 40
    looks = [("budget-vdm", "base-wide", seconds, 1) for seconds in (10, 20, 40)]
    assert asked == [("base-wide", None, 5, 1), *looks]
    with pytest.raises(RunError, match="after 15 s"):
        find_budget(tmp_path, budget, 15, say=lambda text: None)


def test_claims_only_what_exceeds_the_spread_over_seeds():
    clear = [row(f"vdm-{i}", 10 + i) for i in range(3)] + [row(f"videofusion-{i}", 3 + i) for i in range(3)]
    assert "decomposed is nearer" in claims(clear)[0]
    unclear = [row(f"vdm-{i}", 10 + 5 * i) for i in range(3)] + [row(f"videofusion-{i}", 9 + 5 * i) for i in range(3)]
    assert "no claim" in claims(unclear)[0]
    other = [row(f"vdm-{i}", 1 + 0.1 * i) for i in range(3)] + [row(f"videofusion-{i}", 5) for i in range(3)]
    assert "independent is nearer" in claims(other)[0]
    assert "nothing is claimed" in claims([row("vdm-0"), row("videofusion-0")])[0]
    assert "not finished" in claims([row("vdm-0"), row("vdm-scratch")])[0]


def test_table_and_plot_of_what_is_finished(tmp_path):
    with pytest.raises(InputError, match="no finished run"):
        report(tmp_path)
    rows = [row("vdm-0", 10), row("videofusion-0", 4), row("share-0", 9), row("share-0.9", 5), {"name": "base-narrow"}]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    table = report(tmp_path)
    assert "base-narrow" not in table
    assert "ratio 0.40" in table
    assert [point[0] for point in share_points(rows[:4], "quality")] == [0.0, 0.5, 0.9]
    pytest.importorskip("matplotlib")
    plot(tmp_path, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_places_are_kept_by_real_clips_and_not_by_jumping_ones():
    clips = render(evaluation_prompts(32, held_out=False, seed=3), 16, 32)
    judge = Judge.load()
    assert place_kept(judge.look(clips)).float().mean() > 0.95
    import torch

    shuffled = DISTORTIONS["shuffle"](clips, 1.0, torch.Generator().manual_seed(0))
    assert place_kept(judge.look(shuffled)).float().mean() < 0.5


def test_a_run_that_fails_names_its_command(tmp_path):
    with pytest.raises(RunError, match="no-such-recipe"):
        comparison.train_run(tmp_path, Run(name="x", recipe="no-such-recipe", seconds=1), None, 1)


def test_a_perfect_model_is_near_real_clips(perfect):
    found = evaluate(perfect, 128, sampling=Sampling(batch=64), reference=256)
    assert found["rates"]["direction"]["value"] > 0.9
    assert found["place_kept"] > 0.9
    assert found["quality"]["value"] > 0
