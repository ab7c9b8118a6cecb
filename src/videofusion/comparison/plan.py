"""Plans: named lists of runs, and what a paper reports about each. The library has none; studies add to `PLANS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from videofusion.comparison.compare import Budget, Run
from videofusion.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a paper says of two of a plan's systems.

    Args:
        better: the one that is said to be better.
        than: the other.
        measure: of ours, that stands beside theirs: a distance or another measure of the results (lower is better), a
            rate as "rate:colour" (higher is better), or a cost as "cost:gflops" (lower is better).
        theirs: what the paper reports, in words; its numbers where the seed still has them.
    """

    better: str
    than: str
    measure: str = "quality"
    theirs: str = ""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A named list of runs.

    Args:
        name: what `--plan` takes.
        shows: in a few words.
        runs: at the size that runs here; the most important ones first.
        full: at the paper's size, for one who has the data and GPUs; None where there is none.
        protocol: by which the full size is measured.
        data: that the full size trains on, in words.
        source: the table, and the seed whose text was read.
        claims: what the paper says, in its order.
        lost: what of it the seed's text has lost, or what is other here.
        pairs: of systems whose ratio of distances is told; the first is the headline.
        sweep: number by system, for a curve.
        sweep_label: of that number.
        measures: of the table, where it is not quality and consistency alone.
    """

    name: str
    shows: str
    runs: Callable[[Budget], list[Run]]
    full: Callable[[], list[Run]] | None = None
    protocol: str = ""
    data: str = ""
    source: str = ""
    claims: Sequence[Claim] = ()
    lost: str = ""
    pairs: tuple[tuple[str, str], ...] = ()
    sweep: Mapping[str, float] = field(default_factory=dict)
    sweep_label: str = ""
    measures: tuple[str, ...] = ()


PLANS: dict[str, Plan] = {}  # by name; those of the papers are in `studies/`, outside the package


def find_plan(name: str) -> Plan:
    """The plan of a name.

    Raises:
        InputError: there is none.
    """
    if name not in PLANS:
        known = f"it must be one of {', '.join(PLANS)}"
        allowed = known if PLANS else "`python -m studies.compare` runs the papers' plans"
        raise InputError(f'plan is "{name}"; {allowed}')
    return PLANS[name]


def plan_list() -> str:
    """The plans, a line each."""
    width = max(map(len, PLANS), default=0)
    return "\n".join(f"{name:<{width}}  {plan.shows}" for name, plan in PLANS.items())


def some_systems(runs: Sequence[Run], names: Sequence[str]) -> list[Run]:
    """The runs of some of a plan's systems, and those that they start from.

    Args:
        runs: of the plan.
        names: of systems in it.

    Raises:
        InputError: the plan has no system of a name.
    """
    known = dict.fromkeys(run.group for run in runs if run.measured)
    for name in names:
        if name not in known:
            raise InputError(f'the plan has no system "{name}"; it has {", ".join(known)}')
    by_name = {run.name: run for run in runs}
    needed: set[str] = set()
    waiting = [run.name for run in runs if run.measured and run.group in names]
    while waiting:
        run = by_name[waiting.pop()]
        needed.add(run.name)
        waiting += [name for name in (run.base, run.of) if name is not None]
    return [run for run in runs if run.name in needed]
