"""What a comparison says: a table for people, one for programs, and what may be claimed."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videofusion.errors import InputError
from videofusion.evaluation.comparison.compare import REAL, Budget
from videofusion.evaluation.comparison.plans import Claim, Plan, find_plan
from videofusion.evaluation.comparison.runs import claimed, results
from videofusion.evaluation.comparison.systems import FULL, SYSTEMS
from videofusion.evaluation.record import markdown_table
from videofusion.training.memory import human

MEASURES = ("quality", "consistency")
WANTED = 0.6  # of independent noise's distance
_RATES = ("digit", "colour", "direction", "same ends")
_HIGHER = ("precision", "recall", "density", "coverage", "is", "clip-similarity")  # of a protocol's measures

Row = dict[str, Any]

# Columns of the table that are there where any run has them: head, and what stands in it.
_COSTS = (
    ("training clips/s", lambda row: _number(row.get("training_clips_per_second"))),
    ("GFLOP a call", lambda row: _number(_cost(row, "gflops"))),
    ("sampling s/clip", lambda row: _number(_cost(row, "sampling_seconds"))),
    ("peak memory", lambda row: "–" if _cost(row, "peak_bytes") is None else human(_cost(row, "peak_bytes"))),
)


def plan_of(folder: Path) -> Plan | None:
    """The plan that a folder belongs to; None where it has systems that a user named.

    Raises:
        InputError: this version has no such plan.
    """
    name = str(claimed(folder)["plan"]).removesuffix(FULL)
    return None if name == SYSTEMS else find_plan(name)


def any_finished(folder: Path) -> bool:
    """Whether there is anything to tell of yet."""
    return any(row["name"] != REAL for row in _measured(folder))


def _measured(folder: Path) -> list[Row]:
    return [row for row in results(folder) if "quality" in row or "measures" in row or "cost" in row]


def finished(folder: Path) -> list[Row]:
    """The measured runs of a folder, each with its system.

    Raises:
        InputError: no run is finished.
    """
    rows = _measured(folder)
    if not any_finished(folder):
        raise InputError(f"{folder} holds no finished run yet")
    plan, found = plan_of(folder), claimed(folder)
    systems: dict[str, str] = {}
    if plan is not None:  # older rows do not say it themselves
        systems = {run.name: run.group for run in plan.runs(Budget(seeds=found.get("seeds", 3)))}
    return [
        {"measures": list(MEASURES) if "quality" in row else [], "system": systems.get(row["name"], row["name"]), **row}
        for row in sorted(rows, key=lambda row: (row["name"] == REAL, row["name"]))
    ]


def report(folder: Path) -> str:
    """The table of the finished runs, and what may be claimed from it.

    Raises:
        InputError: no run is finished.
    """
    rows, plan = finished(folder), plan_of(folder)
    measures = [name for name in _measures(rows, plan) if any(name in row for row in rows)]
    rates = _RATES if any("rates" in row for row in rows) else ()
    costs = [(head, text) for head, text in _COSTS if any(text(row) != "–" for row in rows)]
    header = ["run", "parameters", "clips seen", *(name.replace("_", " ") for name in measures), *rates]
    header += [*(["place kept"] if rates else []), *(head for head, _ in costs)]
    body = []
    for row in rows:
        cells: list[object] = [row["name"], _millions(row.get("parameters")), row.get("clips", "–")]
        cells += [_value(row.get(name)) for name in measures]
        cells += [_percent(row["rates"][each]["value"]) if "rates" in row else "–" for each in rates]
        cells += [_percent(row["place_kept"]) if "place_kept" in row else "–"] if rates else []
        body.append([*cells, *(text(row) for _, text in costs)])
    said = [markdown_table(header, body), *_notes(folder, rows)]
    if plan is None:
        said += orders(rows, measures)
    else:
        said += claims(rows, *plan.headline) if plan.headline else []
        said += beside_paper(rows, plan)
    return "\n\n".join(said)


def table_csv(folder: Path) -> str:
    """All numbers of the finished runs, unrounded, a line for each run."""
    flat = []
    for row in finished(folder):
        cells: dict[str, Any] = {
            key: row[key] for key in ("name", "system", "parameters", "clips", "steps", "seconds") if key in row
        }
        for name in row["measures"] + [name for name in ("colour_shift", "colour_drift") if name in row]:
            cells |= {name: row[name]["value"], f"{name}_deviation": row[name]["deviation"]}
        cells |= {f"right_{name}": rate["value"] for name, rate in row.get("rates", {}).items()}
        cells |= {key: row[key] for key in ("place_kept", "training_clips_per_second") if key in row}
        flat.append(cells | {name: _cost(row, name) for name in ("gflops", "sampling_seconds", "peak_bytes")})
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(key for cells in flat for key in cells)), restval="")
    writer.writeheader()
    writer.writerows(flat)
    return file.getvalue()


def claims(rows: Sequence[Row], first: str = "videofusion", second: str = "vdm") -> list[str]:
    """Sentences on a headline pair: a difference counts only where it exceeds the spread over seeds."""
    said = []
    for measure in MEASURES:
        fusion, vdm = (over_seeds(rows, system, measure) for system in (first, second))
        if not fusion.size or not vdm.size:
            said.append(f"{measure}: the headline pair is not finished.")
            continue
        ratio = fusion.mean() / vdm.mean()
        both = f"{measure}: decomposed {_pm(fusion)}, independent {_pm(vdm)}, ratio {ratio:.2f} (wanted <= {WANTED})"
        if min(fusion.size, vdm.size) < 2:
            said.append(f"{both}; one seed has no spread, so nothing is claimed.")
            continue
        better = "decomposed" if fusion.mean() < vdm.mean() else "independent"
        verdict = f"{better} is nearer to real clips" if _apart(fusion, vdm) else "no claim"
        said.append(f"{both}; {_gap(fusion, vdm)}: {verdict}.")
    return said


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


def over_seeds(rows: Sequence[Row], system: str, measure: str) -> np.ndarray:
    """A measure of a system at each seed."""
    return np.array([row[measure]["value"] for row in rows if _system(row) == system and measure in row])


def _ours(rows: Sequence[Row], system: str, measure: str) -> np.ndarray:
    """A claim's measure of a system at each seed."""
    kind, _, name = measure.partition(":")
    if not name:
        return over_seeds(rows, system, measure)
    own = [row for row in rows if _system(row) == system]
    if kind == "rate":
        return np.array([row["rates"][name]["value"] for row in own if "rates" in row])
    found = [_cost(row, name) for row in own]
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


def _system(row: Row) -> str:
    name = str(row["name"])
    head, _, seed = name.rpartition("-")
    return str(row.get("system", head if seed.isdigit() else name))


def _apart(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two systems' means are further apart than the spread over seeds."""
    return min(one.size, other.size) > 1 and abs(one.mean() - other.mean()) > _spread(one, other)


def _spread(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.hypot(one.std(ddof=1), other.std(ddof=1)))


def _gap(one: np.ndarray, other: np.ndarray) -> str:
    gap = abs(one.mean() - other.mean())
    return f"the gap {gap:.3g} against a spread over seeds of {_spread(one, other):.3g}"


def _measures(rows: Sequence[Row], plan: Plan | None) -> list[str]:
    if plan is not None and plan.measures:
        return list(plan.measures)
    return list(dict.fromkeys(name for row in rows for name in row["measures"]))


def _notes(folder: Path, rows: Sequence[Row]) -> list[str]:
    found = claimed(folder)
    said = list(dict.fromkeys(str(row["note"]) for row in rows if row.get("note")))
    trained = sorted({row["seconds"] for row in rows if row.get("seconds")})
    clocks = {row["recipe"].get("clock", "wall") for row in rows if "recipe" in row}
    if trained:
        own = ", which are those that its own threads compute" if "processor" in clocks else ""
        each = " or ".join(f"{seconds:g}" for seconds in trained)
        said.append(f"Each run was trained for {each} seconds{own}.")
    flops = sorted({row["flops"] for row in rows if row.get("flops")})
    if flops:
        said.append(f"Each run was trained for {flops[0]:.3g} FLOP, forward and backward passes of its networks.")
    if any("cost" in row for row in rows):
        said.append(
            "A call is of the denoiser, for one clip, without guidance; sampling is as the distances were measured, "
            "guidance included."
        )
    drift = next((row["colour_drift_of_real"] for row in rows if "colour_drift_of_real" in row), None)
    if drift is not None and any("colour_drift" in row for row in rows) and "shift" in str(found["plan"]):
        said.append(f"Colour drift of the real clips: {drift:.3g}.")
    return said


def _cost(row: Row, name: str) -> Any:
    return row.get("cost", {}).get(name)


def _value(spread: dict[str, Any] | None) -> str:
    if spread is None:
        return "–"
    more = "" if spread["deviation"] is None else f" ± {_one_digit(spread['deviation'])}"
    return f"{spread['value']:.3g}{more}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def _millions(count: int | None) -> str:
    return "–" if count is None else f"{count / 1e6:.2f} M"


def _pm(values: np.ndarray) -> str:
    return f"{values.mean():.3g} ± {_one_digit(values.std(ddof=1))}" if values.size > 1 else f"{values[0]:.3g}"


def _one_digit(value: float) -> str:
    """Rounded to one digit that counts, as in 0.03, 4 or 20."""
    return f"{float(f'{value:.1g}'):g}"
