"""`videofusion compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from videofusion.errors import InputError
from videofusion.models import trained_model

if TYPE_CHECKING:
    from videofusion.comparison.compare import Budget, Run
    from videofusion.comparison.plan import Plan

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
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False,
    report_only: tyro.conf.FlagCreatePairsOff[bool] = False,
) -> int:
    """Train systems under one budget, or load them, and measure their clips side by side.

    SYSTEM is a recipe (a name, or the path of a recipe.json) or a model folder, which is only measured. You can stop at
    any time: the same command resumes, and may add systems. Writes DIR/table.md, table.csv, plot.png and clips-0.png,
    ... of what is finished.

    A checkout of the repository has plans, lists of systems such as a paper's table: `python -m studies.compare` is
    this command with them. `--plan NAME` runs one, or with SYSTEM some of its systems; `--plan list` lists them.

    Args:
        folder: for all runs and results
        systems: what to compare; with --plan, all of it by default
        plan: the name of a list of systems, or "list"
        full: run the plan at the paper's size, on the paper's data (--data); --dry-run says what it needs
        budget: training of each run: 90s, 30m, 1h30m, or arithmetic such as 20PFLOP; replaces --seconds
        seconds: training seconds of each run
        base_seconds: training seconds of the image models that a plan's runs start from
        minutes: stop after that many and keep everything; no limit by default
        seeds: runs of each recipe
        data: your folder of clips; or built-in clips, moving-digits or digits-over-photos, in place of the recipes'
        clips: clips generated and measured per run; 256 by default, or as many as --protocol takes
        steps: sampler steps; with several, each run is measured with each
        sampler: ddim, ddpm, dpm++, dpm++sde, heun, langevin or angular
        looks: measure each run that often on its way; with more than one, learning rates stay constant
        protocol: a protocol of `videofusion evaluate`, for a folder of clips; "embedded" by default
        weights: files of the protocol's feature networks
        sha256: checksums that the weights must have
        allow_few: measure fewer than 256 clips; such numbers do not compare with others
        jobs: runs side by side, each with its share of the cores
        dry_run: list what would be trained, check that it can be built, and write nothing
        report_only: write the report again and train nothing
    """
    for name in systems if plan is None else ():
        trained_model(name)  # refuses what is none, nor a recipe

    from videofusion.comparison.plan import find_plan, plan_list
    from videofusion.domains import domains

    if plan == "list":
        print(plan_list())
        return 0
    if folder is None:
        raise InputError("DIR is not given; it is the folder for all runs and results")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"DIR is {folder}, which is a file; it must be a folder")
    if full and plan is None:
        raise InputError("full is given without --plan, but recipes are at their own size; --plan list names the plans")
    if data not in (None, *domains()) and plan is not None and not full:
        raise InputError(
            f"data is {data}, but plans make their own, {' or '.join(domains())}; --full, or recipes without --plan, "
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
    code = 0
    if not report_only:
        if not systems and plan is None:
            raise InputError("SYSTEM is not given; it is a recipe or a model, or --plan names several")
        named = None if plan is None else find_plan(plan)
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
    from videofusion.comparison.plan import some_systems
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
    from videofusion.comparison.plot import pictures, plot
    from videofusion.comparison.report import report, table_csv
    from videofusion.files import write_whole

    table = report(folder)
    print(table)
    write_whole(folder / "table.md", (table + "\n").encode())
    write_whole(folder / "table.csv", table_csv(folder).encode())
    plot(folder, folder / "plot.png")
    pictures(folder)
    print(f"\nwritten to {folder}")
