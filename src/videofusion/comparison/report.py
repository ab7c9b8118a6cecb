"""The report of a comparison: tables for people and programs, and what they support."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from videofusion.comparison.claims import (
    MEASURES,
    Row,
    beside_paper,
    claims,
    cost_of,
    one_digit,
    orders,
    over_seeds,
    system_of,
)
from videofusion.comparison.compare import REAL, Budget
from videofusion.comparison.plan import Plan, find_plan
from videofusion.comparison.runs import claimed, results
from videofusion.comparison.systems import FULL, SYSTEMS
from videofusion.domains import domains
from videofusion.errors import InputError
from videofusion.evaluation.metrics.base_frame import WANTED
from videofusion.evaluation.record import markdown_table
from videofusion.recipes.recipe import Recipe
from videofusion.training.estimate.memory import human

# Columns of the table that are there where any run has them: head, and what stands in it.
_COSTS = (
    ("training clips/s", lambda row: _number(row.get("training_clips_per_second"))),
    ("GFLOP a call", lambda row: _number(cost_of(row, "gflops"))),
    ("sampling s/clip", lambda row: _number(cost_of(row, "sampling_seconds"))),
    ("peak memory", lambda row: "–" if cost_of(row, "peak_bytes") is None else human(cost_of(row, "peak_bytes"))),
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
    rates, shares = _rates(rows), _shares(rows)
    costs = [(head, text) for head, text in _COSTS if any(text(row) != "–" for row in rows)]
    header = ["run", "parameters", "clips seen", *(name.replace("_", " ") for name in measures), *rates]
    at_base = ["base frame"] if any(row.get("change_at_base_frame") for row in rows) else []
    header += [*(name.replace("_", " ") for name in shares), *at_base, *(head for head, _ in costs)]
    body = []
    for row in rows:
        cells: list[object] = [row["name"], _millions(row.get("parameters")), row.get("clips", "–")]
        cells += [_value(row.get(name)) for name in measures]
        cells += [_percent(row["rates"][each]["value"]) if "rates" in row else "–" for each in rates]
        cells += [_percent(row[each]) if each in row else "–" for each in shares]
        cells += [_at_base(row) for _ in at_base]
        body.append([*cells, *(text(row) for _, text in costs)])
    said = [markdown_table(header, body), *_notes(folder, rows), *_means(rows, measures)]
    if plan is None:
        said += orders(rows, measures)
    else:
        said += claims(rows, plan.pairs)
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
        if row.get("change_at_base_frame"):
            found = row["change_at_base_frame"]
            low, high = found["median_interval"]
            cells |= {"base_frame": found["median"], "base_frame_low": low, "base_frame_high": high}
        cells |= {key: row[key] for key in (*_shares([row]), "training_clips_per_second") if key in row}
        flat.append(cells | {name: cost_of(row, name) for name in ("gflops", "sampling_seconds", "peak_bytes")})
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(key for cells in flat for key in cells)), restval="")
    writer.writeheader()
    writer.writerows(flat)
    return file.getvalue()


def _rates(rows: Sequence[Row]) -> list[str]:
    """The right answers that have columns, of those that any run has."""
    known = dict.fromkeys(rate for domain in domains().values() for rate in domain.rates)
    return [rate for rate in known if any(rate in row.get("rates", ()) for row in rows)]


def _shares(rows: Sequence[Row]) -> list[str]:
    """The shares of clips that have columns, of those that any run has."""
    known = dict.fromkeys(share for domain in domains().values() for share in domain.shares)
    return [share for share in known if any(share in row for row in rows)]


def _means(rows: Sequence[Row], measures: Sequence[str]) -> list[str]:
    """A table of means over seeds, with the lowest and the highest; none where no system has two."""
    body = []
    for system in dict.fromkeys(map(system_of, rows)):
        own = [row for row in rows if system_of(row) == system]
        if len(own) < 2:
            continue
        cells: list[object] = [system, len(own)]
        for name in measures:
            values = over_seeds(rows, system, name)
            cells.append(f"{values.mean():.3g} ({values.min():.3g} to {values.max():.3g})" if values.size else "–")
        if "rates" in own[0]:
            cells += [_percent(mean(row["rates"][each]["value"] for row in own)) for each in _rates(rows)]
            cells += [_percent(mean(row[each] for row in own)) for each in _shares(rows)]
        body.append(cells)
    rates = (*_rates(rows), *(each.replace("_", " ") for each in _shares(rows)))
    header = ["over seeds", "runs", *(name.replace("_", " ") for name in measures), *rates]
    return [markdown_table(header, body)] if body else []


def _measures(rows: Sequence[Row], plan: Plan | None) -> list[str]:
    if plan is not None and plan.measures:
        return list(plan.measures)
    return list(dict.fromkeys(name for row in rows for name in row["measures"]))


def _notes(folder: Path, rows: Sequence[Row]) -> list[str]:
    found = claimed(folder)
    said = list(dict.fromkeys(str(row["note"]) for row in rows if row.get("note")))
    trained = sorted({row["seconds"] for row in rows if row.get("seconds")})
    clocks = {Recipe.from_json(row["recipe"]).budget.clock for row in rows if "recipe" in row}
    if trained:
        own = ", which are those that its own threads compute" if "processor" in clocks else ""
        each = " or ".join(f"{seconds:g}" for seconds in trained)
        said.append(f"Each run was trained for {each} seconds{own}.")
    flops = sorted({row["flops"] for row in rows if row.get("flops")})
    if flops:
        said.append(f"Each run was trained for {flops[0]:.3g} FLOP, forward and backward passes of its networks.")
    real = [row["change_at_base_frame"]["of_real"] for row in rows if row.get("change_at_base_frame")]
    if real:
        beside = "" if real[0] is None else f", of real clips {real[0]:.2f}"
        said.append(
            "Base frame: change into and out of the middle frame over the median change of the other steps, median of "
            f"the clips and its 95 % interval{beside}; wanted <= {WANTED}."
        )
    if any("cost" in row for row in rows):
        said.append(
            "A call is of the denoiser, for one clip, without guidance; sampling is as the distances were measured, "
            "guidance included."
        )
    drift = next((row["colour_drift_of_real"] for row in rows if "colour_drift_of_real" in row), None)
    if drift is not None and any("colour_drift" in row for row in rows) and "shift" in str(found["plan"]):
        said.append(f"Colour drift of the real clips: {drift:.3g}.")
    return said


def _value(spread: dict[str, Any] | None) -> str:
    if spread is None:
        return "–"
    more = "" if spread["deviation"] is None else f" ± {one_digit(spread['deviation'])}"
    return f"{spread['value']:.3g}{more}"


def _at_base(row: Row) -> str:
    found = row.get("change_at_base_frame")
    if not found:
        return "–"
    low, high = found["median_interval"]
    return f"{found['median']:.2f} ({low:.2f}-{high:.2f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"


def _millions(count: int | None) -> str:
    return "–" if count is None else f"{count / 1e6:.2f} M"
