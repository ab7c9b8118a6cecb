"""Pictures of a comparison: bars and curves of its distances, and the systems' clips side by side."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from videofusion.clip.check import from_uint8
from videofusion.clip.sheet import save_sheet
from videofusion.comparison.claims import Row, over_seeds
from videofusion.comparison.compare import SHOWN
from videofusion.comparison.plan import Plan
from videofusion.comparison.report import finished, plan_of
from videofusion.errors import require

_MOST_MEASURES = 4  # rows of the plot


def plot(folder: Path, path: Path) -> None:
    """Draw the first measures of all runs as bars, and as curves over the plan's sweep, steps and seconds of training.

    Raises:
        InputError: no run is finished, or matplotlib is not installed.
    """
    rows, plan = finished(folder), plan_of(folder)
    require("matplotlib", extra="bench")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measures = list(dict.fromkeys(name for row in rows for name in row["measures"]))[:_MOST_MEASURES]
    if plan is not None and plan.measures:
        measures = list(plan.measures)
    if not measures:  # of a plan that measures what a call costs, and nothing else
        rows = [row for row in rows if "cost" in row]
        rows = [row | {key: {"value": row["cost"][key], "deviation": 0.0} for key in _costs(row)} for row in rows]
        measures = list(dict.fromkeys(key for row in rows for key in _costs(row)))
    curves = [
        label
        for label, there in (
            # a curve has two points at least; most of a sweep's runs come late
            ("sweep", plan is not None and measures and len(sweep_points(rows, plan, measures[0])) > 1),
            ("steps", any("by_steps" in row for row in rows)),
            ("seconds", any("looks" in row for row in rows)),
        )
        if there
    ]
    size = (5 + 4 * len(curves), len(measures) * (1.5 + 0.16 * len(rows)) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(measures), 1 + len(curves), width_ratios=(3, *(2 for _ in curves)), squeeze=False)
    for axes, measure in zip(grid, measures, strict=True):
        _bars(axes[0], [row for row in rows if measure in row], measure)
        for each, kind in zip(axes[1:], curves, strict=True):
            if kind == "sweep" and plan is not None:
                _sweep(each, rows, plan, measure)
            else:
                _curves(each, rows, measure, kind)
            each.set_ylabel(measure.replace("_", " "))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def pictures(folder: Path) -> list[Path]:
    """The systems' clips side by side, a picture for each prompt and a row for each run; returns what was written."""
    shown: list[tuple[str, torch.Tensor, list[str]]] = list(_shown(folder))
    written = []
    for number in range(min((len(clips) for _, clips, _ in shown), default=0)):
        path = folder / f"clips-{number}.png"
        captions = [f"{name}: {said[number]}" for name, _, said in shown]
        save_sheet(torch.stack([clips[number] for _, clips, _ in shown]), path, captions)
        written.append(path)
    return written


def sweep_points(rows: Sequence[Row], plan: Plan, measure: str) -> list[tuple[float, float, float]]:
    """Number, measure and its deviation of the finished runs of a plan's sweep, those of the first seed."""
    points = []
    for system, number in plan.sweep.items():
        own = [row for row in rows if row["name"] in (system, f"{system}-0") and measure in row]
        if own:
            points.append((number, own[0][measure]["value"], own[0][measure]["deviation"]))
    return points


def _shown(folder: Path) -> Iterator[tuple[str, torch.Tensor, list[str]]]:
    from safetensors import safe_open

    for row in finished(folder):
        path = folder / row["name"] / SHOWN
        if path.exists():
            with safe_open(path, "pt") as file:
                captions = json.loads(file.metadata()["captions"])
                yield row["name"], from_uint8(file.get_tensor("clips")), captions


def _bars(axes: Any, rows: Sequence[Row], measure: str) -> None:
    systems = list(dict.fromkeys(row["system"] for row in rows))
    axes.barh(
        [row["name"] for row in rows],
        [row[measure]["value"] for row in rows],
        xerr=[row[measure]["deviation"] or 0.0 for row in rows],
        color=[f"C{systems.index(row['system']) % 10}" for row in rows],
    )
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlabel(_label(measure))


def _sweep(axes: Any, rows: Sequence[Row], plan: Plan, measure: str) -> None:
    points = sweep_points(rows, plan, measure)
    axes.errorbar([p[0] for p in points], [p[1] for p in points], [p[2] for p in points], marker="o", capsize=3)
    # the headline pair is no point of the sweep where one has no such number, and the other its own for every frame
    for i, system in enumerate(plan.pairs[0] if plan.pairs else (), start=1):
        level = over_seeds(rows, system, measure)
        if level.size and system not in plan.sweep:
            axes.axhline(level.mean(), color=f"C{i}", linestyle="--", label=system)
            axes.legend(fontsize=7)
    axes.set_xlabel(plan.sweep_label, fontsize=8)
    axes.set_ylim(bottom=0)


def _curves(axes: Any, rows: Sequence[Row], measure: str, kind: str) -> None:
    """Each system's mean over its seeds, by sampler steps or by seconds of training."""
    key, number = ("by_steps", "steps") if kind == "steps" else ("looks", "at")
    for system in dict.fromkeys(row["system"] for row in rows if key in row):
        points: dict[float, list[float]] = {}
        for row in rows:
            if row["system"] == system:
                for each in row.get(key, ()):
                    points.setdefault(each[number], []).append(each[measure]["value"])
        places = sorted(points)
        axes.plot(places, [np.mean(points[place]) for place in places], marker="o", label=system)
    axes.set_xlabel("sampler steps" if kind == "steps" else "seconds of training")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7)


def _costs(row: Row) -> list[str]:
    return [key for key in ("gflops", "sampling_seconds", "peak_bytes") if row["cost"].get(key) is not None]


def _label(measure: str) -> str:
    if measure in ("quality", "consistency"):
        return f"{measure}: Fréchet distance to real clips"
    return measure.replace("_", " ")
