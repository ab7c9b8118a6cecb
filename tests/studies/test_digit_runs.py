"""The plans: every run is a recipe, under conditions that are as equal as its table wants them."""

import pytest

from studies.decomposed import DECOMPOSED, NOISES, SYSTEMS
from studies.plans import PLANS
from videofusion.comparison.compare import REAL, Budget
from videofusion.comparison.plan import find_plan, plan_list, some_systems
from videofusion.comparison.runs import run_recipe
from videofusion.digits.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.evaluation.protocol_table import PRESETS
from videofusion.systems.build import build_system
from videofusion.systems.decomposed import VARIANTS
from videofusion.training.estimate.sizes import recipe_parts

ALL = PLANS
SHARED = (
    "clips.size",
    "clips.frames",
    "batch.size",
    "batch.frames",
    "batch.reach",
    "batch.reach_share",
    "optimizer.learning_rate",
    "network.patch",
    "diffusion.time_logit",
)


def parameters(parts):
    return sum(part.trained + part.frozen for part in parts)


def test_the_runs_of_the_first_comparison_keep_their_names_and_settings(tmp_path):
    runs = {run.name: run for run in DECOMPOSED.runs(Budget(seconds=60, base_seconds=10))}
    first = "base-narrow base-wide vdm-0 videofusion-0 vdm-1 videofusion-1 vdm-2 videofusion-2"
    for seed in range(3):
        first += f" share-0-{seed} share-0.5-{seed} vdm-narrow-{seed} published-{seed} image-first-{seed}"
    rest = "share-0.1 share-0.25 share-0.75 share-0.9 corrected framewise no-stop-gradient fixed-base"
    last = ["vdm-numbered"]
    systems = ["vdm", "videofusion", "share-0", "vdm-narrow"]
    for scale in (1, 2):
        last += [f"{system}-guidance-{scale}-{seed}" for system in systems for seed in range(3)]
    assert list(runs) == [*f"{first} {rest}".split(), *last]
    near = {
        "log.sample_interval": 0,
        "batch.reach": 1,
        "batch.reach_share": 0.03,
        "network.patch": 4,
        "network.attention": "none,transformer",
    }
    assert runs["vdm-1"].overrides == {**near, "network.channels": "56,88", "seed": 1}
    narrow = {"network.channels": "32,64", "system.residual_channels": "32,64"}
    own = {
        **near,
        **narrow,
        "system.adaptive": 0.0,
        "network.temporal": "residual",
        "diffusion.time_logit": "1.5,1.5",
        "system.base_rate_ratio": 1.0,
    }
    assert runs["share-0.1"].overrides == {**own, "system.base_frames": "all", "system.share": 0.1}
    assert runs["vdm-numbered"].overrides == {
        **near,
        "network.channels": "56,88",
        "network.temporal": "factorised_numbered",
    }
    assert runs["fixed-base"].overrides == {
        **own, "system.base_loss": "fixed", "system.base_frames": "middle"
    }  # fmt: skip
    assert runs["vdm-narrow-1"].settings(tmp_path)["start.image_model"] == str(tmp_path / "base-narrow")
    assert {run.base for run in runs.values() if run.measured and not run.of} == {"base-narrow", "base-wide"}
    less = runs["videofusion-guidance-2-1"]
    assert (less.of, less.sampling) == ("videofusion-1", {"guidance": 2.0})


def test_the_comparison_from_scratch_has_every_system_at_every_seed_with_as_many_parameters(tmp_path):
    runs = SYSTEMS.runs(Budget(seeds=2))
    systems = ["vdm", *VARIANTS]
    assert [run.name for run in runs] == [f"{system}-{seed}" for seed in range(2) for system in systems]
    assert {run.base for run in runs} == {None}
    recipes = {run.system: run_recipe(tmp_path, run) for run in runs}
    # neither generator has seen an image model
    assert not any(
        recipe.system.residual_from_base for recipe in recipes.values() if recipe.system.name == "videofusion"
    )
    for key in SHARED:
        assert len({recipe.dotted()[key] for recipe in recipes.values()}) == 1, key
    sizes = {system: parameters(recipe_parts(recipe)) for system, recipe in recipes.items()}
    sizes.pop("published")  # which has a prior and an encoder beside
    assert max(sizes.values()) < 1.07 * min(sizes.values())  # "framewise" has no temporal layers


def test_the_headline_pair_has_as_many_parameters(tmp_path):
    runs = {run.name: run for run in DECOMPOSED.runs(Budget(seeds=1))}

    def size(name):
        recipe = run_recipe(tmp_path, runs[name]).replace({"start.image_model": "none"})
        modules = build_system(recipe, MovingDigits(recipe.clips.frames, recipe.clips.size)).modules.values()
        return sum(p.numel() for module in modules for p in module.parameters())

    assert size("vdm-0") == pytest.approx(size("videofusion-0"), rel=0.05)


@pytest.mark.parametrize("name", ALL)
def test_every_run_is_a_recipe_under_what_all_share(name, tmp_path):
    runs = ALL[name].runs(Budget(seconds=60, base_seconds=10, seeds=2))
    names = [run.name for run in runs]
    assert len(set(names)) == len(names)
    trained = [run for run in runs if run.recipe and run.measured]
    recipes = [run_recipe(tmp_path, run) for run in trained]
    keys = SHARED[:4] if name == "videofusion-table-4" else SHARED  # after one step, of which the course says nothing
    for key in keys:
        assert len({recipe.dotted()[key] for recipe in recipes}) == 1, key
    # a run that goes on where another one of its own ended has what both have
    before = {run.name: run.seconds for run in runs}
    goes_on = {run.name: before[run.base] if run.start == "start.model" else 0 for run in trained}
    assert len({run.seconds + goes_on[run.name] for run in trained}) == 1
    for recipe in recipes:  # keys that do not go together are refused
        assert recipe_parts(recipe.replace({"start.model": "none", "start.image_model": "none"}))
    # What a run starts from, and what it is measured of, comes before it.
    for needed, at in ((each, i) for i, run in enumerate(runs) for each in (run.base, run.of) if each):
        assert names.index(needed) < at


@pytest.mark.parametrize("name", ALL)
def test_what_a_paper_says_is_of_systems_that_are_there(name):
    plan = ALL[name]
    systems = {run.group for run in plan.runs(Budget(seeds=1)) if run.measured} | {REAL}
    assert {system for claim in plan.claims for system in (claim.better, claim.than)} <= systems
    assert set(plan.sweep) <= systems
    assert all(claim.theirs for claim in plan.claims)
    assert (plan.source and plan.lost) or plan in (DECOMPOSED, SYSTEMS, NOISES)  # no paper has these
    assert not plan.protocol or plan.protocol in PRESETS


@pytest.mark.parametrize("name", [name for name, plan in ALL.items() if plan.full])
def test_the_full_size_is_of_recipes(name, tmp_path):
    runs = ALL[name].full()
    for run in runs:
        assert run.of in {None, *(other.name for other in runs)}
        if run.recipe:
            recipe = run_recipe(tmp_path, run, "clips")
            assert (recipe.clips.kind, recipe.clips.frames, recipe.clips.size) == ("folder", 16, 64)


def test_one_base_generator_and_the_papers_proportion_in_table_4(tmp_path):
    vdm, fusion = (recipe_parts(run_recipe(tmp_path, run)) for run in ALL["videofusion-table-4"].runs(Budget()))
    of = {part.name: part.trained + part.frozen for part in fusion}
    # 0.59 billion to 2.00; the baseline is the base generator with temporal attention
    assert of["residual"] / of["base"] == pytest.approx(0.295, rel=0.1)
    assert of["base"] < parameters(vdm) < 1.2 * of["base"]


def test_an_unknown_plan_lists_those_there_are():
    with pytest.raises(
        InputError, match=r'plan is "table"; it must be one of decomposed, systems, videofusion-table-1'
    ):
        find_plan("table")
    assert [line.split()[0] for line in plan_list().splitlines()] == list(ALL)


def test_some_systems_of_a_plan_come_with_what_they_start_from():
    runs = DECOMPOSED.runs(Budget(seeds=2))
    some = [run.name for run in some_systems(runs, ["videofusion", "vdm-guidance-1"])]
    assert some == [
        "base-narrow", "base-wide", "vdm-0", "videofusion-0", "vdm-1", "videofusion-1", "vdm-guidance-1-0",
        "vdm-guidance-1-1",
    ]  # fmt: skip
    assert some_systems(runs, [run.group for run in runs if run.measured]) == runs
    sampled = ALL["vdm-extension"].runs(Budget(seeds=1))  # one trained model, and lines that sample from it
    last = sampled[-1]
    assert last.of is not None
    assert {last.name, last.of} <= {run.name for run in some_systems(sampled, [last.group])}


def test_a_system_that_the_plan_lacks_is_named():
    with pytest.raises(InputError, match='no system "nothing"; it has vdm, joint'):
        some_systems(SYSTEMS.runs(Budget()), ["nothing"])
