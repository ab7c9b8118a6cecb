"""`videofusion compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from videofusion.errors import InputError
from videofusion.recipes.catalogue import trained_model

if TYPE_CHECKING:
    from studies.digit_runs import Plan
    from videofusion.comparison.compare import Budget, Run

Texts = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=FILE")]


def compare(
    folder: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[DIR]")] = None,
    systems: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[SYSTEM ...]")] = (),
    *,
    plan: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    full: tyro.conf.FlagCreatePairsOff[bool] = False,
    budget: Annotated[str | None, tyro.conf.arg(metavar="TIME")] = None,
    seconds: float = 1800.0,
    base_seconds: float = 600.0,
    minutes: Annotated[float | None, tyro.conf.arg(metavar="N")] = None,
    seeds: int = 3,
    data: Annotated[str | None, tyro.conf.arg(metavar="PATH")] = None,
    clips: Annotated[int | None, tyro.conf.arg(metavar="N")] = None,
    steps: Annotated[tuple[int, ...], tyro.conf.arg(metavar="N")] = (10,),
    sampler: str = "dpm++",
    looks: int = 1,
    protocol: Annotated[str, tyro.conf.arg(metavar="NAME")] = "",
    weights: Texts = (),
    sha256: Texts = (),
    allow_few: tyro.conf.FlagCreatePairsOff[bool] = False,
    jobs: int = 1,
    find_budget: tyro.conf.FlagCreatePairsOff[bool] = False,
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False,
    report_only: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> int:
    """Train systems under one budget, or load them, and measure their clips side by side.

    SYSTEM is a recipe's name, the path of a recipe.json, or a model's folder, which is only measured. `--plan NAME` is
    a list of systems, most of them a paper's table, and SYSTEM then takes some of them; `--plan list` names the plans.
    Without either: VideoFusion beside VDM, with variants and ablations (the plan decomposed). Can be stopped at any
    time; the same command goes on, and another SYSTEM joins. Writes DIR/table.md, table.csv, plot.png and clips-0.png,
    ... of what is finished.

    Args:
        folder: for all runs and results
        systems: what to compare; with --plan, all of it by default
        plan: a list of systems by name, or list
        full: the plan at the paper's size, for GPUs and the paper's data (--data); --dry-run says what it takes
        budget: of training, of each run: 90s, 30m, 1h30m, or arithmetic, as in 20PFLOP; instead of --seconds
        seconds: of training, of each run
        base_seconds: of training the image models that a plan's runs start from
        minutes: stop after that many, keeping everything; no limit by default
        seeds: of each recipe, and of what a plan repeats
        data: your folder of clips, for recipes and models of any; or built-in ones, moving-digits or
            digits-over-photos, whatever recipes say
        clips: made and measured per run; by default 256, or as many as --protocol takes
        steps: of the sampler; several measure each run with each
        sampler: ddim, ddpm, dpm++, dpm++sde, heun, langevin or angular
        looks: at each run on its way, evenly over its time; with more than one, learning rates stay constant
        protocol: of `videofusion evaluate`, instead of the network that ships; for a folder of clips
        weights: of the protocol's feature networks
        sha256: that the weights must have
        allow_few: let under 256 clips of a folder make numbers, which are for no comparison
        jobs: runs side by side, each with its part of the cores
        find_budget: instead, find the seconds after which VDM's samples keep a digit's place: SECONDS, or a double
        dry_run: say what would be trained, and try whether all of it can be built; write nothing
        report_only: train nothing
    """
    for name in systems if plan is None else ():
        trained_model(name)  # refuses what is none, nor a recipe

    from studies import digit_runs as plans
    from videofusion.digits.moving_digits import GROUNDS_OF

    if plan == "list":
        print(plans.plan_list())
        return 0
    if folder is None:
        raise InputError("DIR is not given; it is the folder for all runs and results")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"DIR is {folder}, which is a file; it must be a folder")
    if find_budget and (systems or plan is not None or full):
        raise InputError("find_budget is given, which trains VDM only; leave out SYSTEM, --plan and --full, or this")
    if full and plan is None:
        raise InputError("full is given without --plan, but recipes are at their own size; --plan list names the plans")
    if data not in (None, *GROUNDS_OF) and (plan is not None or not systems) and not full:
        raise InputError(
            f"data is {data}, but plans make their own, {' or '.join(GROUNDS_OF)}; --full, or recipes without --plan, "
            "take a folder"
        )
    from videofusion.comparison.compare import Budget
    from videofusion.comparison.report import any_finished
    from videofusion.comparison.systems import (
        FULL,
        SYSTEMS,
        budget_of,
        by_flops,
        check_alike,
        choose_measure,
    )

    given = Budget(
        **({"seconds": seconds} if budget is None else budget_of(budget)),
        base_seconds=base_seconds,
        seeds=seeds,
        clips=256 if clips is None else clips,
        steps=steps,
        sampler=sampler,
        looks=looks,
    )
    if find_budget and given.flops is not None:
        raise InputError(f"budget is {budget}, but --find-budget looks for seconds; give it seconds to begin with")
    if find_budget:
        from studies.budget import find_budget as find

        found = find(folder, given, 64 * given.seconds, jobs)
        print(f"--seconds {found:g} is the smallest budget tried at which VDM's samples keep a digit's place")
        return 0
    code = 0
    if not report_only:
        named = None if systems and plan is None else plans.find_plan(plan or plans.DECOMPOSED.name)
        runs = by_flops(folder, _runs(systems, named, full, given), given, data)
        if dry_run:
            _try(folder, runs, data, named if full else None)
            return 0
        from videofusion.cli.measure import protocol_networks
        from videofusion.comparison.compare import compare as work

        if full and named is not None:
            protocol = protocol or named.protocol
            if data is None:
                raise InputError(f"data is not given, but {named.name} at full size trains on {named.data}")
        alike = check_alike(folder, runs, data, same_data=named is None)
        measure = choose_measure(
            alike,
            given,
            data,
            protocol=protocol,
            clips=clips,
            allow_few=allow_few,
            extractors=lambda name: protocol_networks(name, weights, sha256),
        )
        name = SYSTEMS if named is None else named.name + FULL * full
        code = work(folder, name, runs, given, measure, data=data, protocol=protocol, minutes=minutes, jobs=jobs)
    if report_only or any_finished(folder):  # stopped early there may be nothing to tell of yet
        _report(folder)
    return code


def _runs(names: tuple[str, ...], plan: Plan | None, full: bool, budget: Budget) -> list[Run]:
    """The runs of what a user named: recipes and models, or a plan or some of its systems."""
    from studies.digit_runs import some_systems
    from videofusion.comparison.systems import system_runs

    if plan is None:
        return system_runs(names, budget)
    if not full:
        runs = plan.runs(budget)
    elif plan.full is None:
        raise InputError(f"plan is {plan.name}, which has no full size; without --full it runs on moving digits")
    else:
        runs = plan.full()
    return some_systems(runs, names) if names else runs


def _try(folder: Path, runs: list[Run], data: str | None, full: Plan | None) -> None:
    """Say what would be trained."""
    from videofusion.comparison.dry_run import dry_run

    print(dry_run(folder, runs, data))
    if full is not None:
        measured = f"measured by the protocol {full.protocol}" if full.protocol else "only its cost is measured"
        print(f"{full.source}; data: {full.data}; {measured}")


def _report(folder: Path) -> None:
    """Print the table of what is finished, and write it with the pictures."""
    from videofusion.clip import write_whole
    from videofusion.comparison.plot import pictures, plot
    from videofusion.comparison.report import report, table_csv

    table = report(folder)
    print(table)
    write_whole(folder / "table.md", (table + "\n").encode())
    write_whole(folder / "table.csv", table_csv(folder).encode())
    plot(folder, folder / "plot.png")
    pictures(folder)
    print(f"\nwritten to {folder}")
