"""What finished runs support: pairs of systems, their order, and the paper's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from videofusion.comparison.compare import REAL
from videofusion.comparison.plan import Claim, Plan
from videofusion.evaluation.record import markdown_table

MEASURES = ("quality", "consistency")
WANTED = 0.6  # of independent noise's distance
_HIGHER = ("precision", "recall", "density", "coverage", "is", "clip-similarity")  # of a protocol's measures

Row = dict[str, Any]


def claims(rows: Sequence[Row], pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Sentences on pairs of systems, the first one anyway and others once both are there.

    A difference counts only where it exceeds the spread over seeds.
    """
    there = {system_of(row) for row in rows}
    told = [pair for i, pair in enumerate(pairs) if i == 0 or there.issuperset(pair)]
    return [_claim(rows, pair, measure) for pair in told for measure in MEASURES]


def _claim(rows: Sequence[Row], pair: tuple[str, str], measure: str) -> str:
    one, other = (over_seeds(rows, system, measure) for system in pair)
    if not one.size or not other.size:
        return f"{measure}: the pair of {pair[0]} and {pair[1]} is not finished."
    ratio = one.mean() / other.mean()
    both = f"{measure}: {pair[0]} {_pm(one)}, {pair[1]} {_pm(other)}, ratio {ratio:.2f} (wanted <= {WANTED})"
    if min(one.size, other.size) < 2:
        return f"{both}; one seed has no spread, so nothing is claimed."
    nearer = pair[0] if one.mean() < other.mean() else pair[1]
    verdict = f"{nearer} is nearer to real clips" if _apart(one, other) else "no claim"
    return f"{both}; {_gap(one, other)}: {verdict}."


def orders(rows: Sequence[Row], measures: Sequence[str] = MEASURES) -> list[str]:
    """For each measure, the systems from the best on; which neighbours are apart by more than their spread."""
    said = []
    for measure in measures:
        systems = {row["system"] for row in rows if row["name"] != REAL and measure in row}
        values = {system: over_seeds(rows, system, measure) for system in sorted(systems)}
        if len(values) < 2 or measure in ("flicker", "flow-magnitude"):  # of which no amount is the best
            continue
        sign = -1 if measure.startswith(_HIGHER) else 1
        ordered = sorted(values, key=lambda system: sign * values[system].mean())
        text = ordered[0]
        for ahead, behind in itertools.pairwise(ordered):
            text += f"{' before ' if _apart(values[ahead], values[behind]) else ', then, not told apart, '}{behind}"
        said.append(f"{measure}, the best first: {text}.")
    if said:
        said.append("Told apart are systems of two seeds or more, whose gap exceeds the spread over them.")
    return said


def beside_paper(rows: Sequence[Row], plan: Plan) -> list[str]:
    """What the paper says of each pair, and what was found here."""
    if not plan.claims:
        return [f"{plan.source}: {plan.lost}."] if plan.source else []
    body = []
    for claim in plan.claims:
        better, than = (_ours(rows, system, claim.measure) for system in (claim.better, claim.than))
        said = [f"{claim.better} better than {claim.than}", claim.theirs, claim.measure.replace("_", " ")]
        body.append([*said, *_beside(better, than, claim)])
    header = ["the paper", "in its words or numbers", "measured here", "ours", "order"]
    return [f"Beside the paper ({plan.source}):", markdown_table(header, body), f"Not there: {plan.lost}."]


def system_of(row: Row) -> str:
    """The system of a run; older rows do not say it, but end on a seed."""
    name = str(row["name"])
    head, _, seed = name.rpartition("-")
    return str(row.get("system", head if seed.isdigit() else name))


def over_seeds(rows: Sequence[Row], system: str, measure: str) -> np.ndarray:
    """A measure of a system at each seed."""
    return np.array([row[measure]["value"] for row in rows if system_of(row) == system and measure in row])


def _ours(rows: Sequence[Row], system: str, measure: str) -> np.ndarray:
    """A claim's measure of a system at each seed."""
    kind, _, name = measure.partition(":")
    if not name:
        return over_seeds(rows, system, measure)
    own = [row for row in rows if system_of(row) == system]
    if kind == "rate":
        return np.array([row["rates"][name]["value"] for row in own if "rates" in row])
    found = [cost_of(row, name) for row in own]
    return np.array([value for value in found if value is not None])


def _beside(better: np.ndarray, than: np.ndarray, claim: Claim) -> list[str]:
    if not better.size or not than.size:
        return ["not finished", "–"]
    higher = claim.measure.startswith("rate:")
    same = better.mean() > than.mean() if higher else better.mean() < than.mean()
    ours = f"{_pm(better)} against {_pm(than)}"
    if claim.measure.startswith("cost:"):
        return [f"{ours} ({100 * (better.mean() / than.mean() - 1):+.1f} %)", "the same" if same else "the other way"]
    if min(better.size, than.size) < 2 and REAL not in (claim.better, claim.than):
        return [ours, f"{'the same' if same else 'the other way'} in one seed: nothing is claimed"]
    if REAL not in (claim.better, claim.than) and not _apart(better, than):
        return [ours, "not told apart"]
    return [ours, "the same" if same else "the other way"]


def _apart(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two systems' means are further apart than the spread over seeds."""
    return min(one.size, other.size) > 1 and abs(one.mean() - other.mean()) > _spread(one, other)


def _spread(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.hypot(one.std(ddof=1), other.std(ddof=1)))


def _gap(one: np.ndarray, other: np.ndarray) -> str:
    gap = abs(one.mean() - other.mean())
    return f"the gap {gap:.3g} against a spread over seeds of {_spread(one, other):.3g}"


def cost_of(row: Row, name: str) -> Any:
    """A cost of a run; None where it was not measured."""
    return row.get("cost", {}).get(name)


def _pm(values: np.ndarray) -> str:
    return f"{values.mean():.3g} ± {one_digit(values.std(ddof=1))}" if values.size > 1 else f"{values[0]:.3g}"


def one_digit(value: float) -> str:
    """Rounded to one digit that counts, as in 0.03, 4 or 20."""
    return f"{float(f'{value:.1g}'):g}"
