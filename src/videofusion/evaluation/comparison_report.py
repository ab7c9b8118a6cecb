"""Table and plot of a comparison's results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videofusion.errors import InputError, require
from videofusion.evaluation.comparison import SHARES, results
from videofusion.evaluation.record import markdown_table
from videofusion.training.recipes import get_recipe

MEASURES = ("quality", "consistency")
WANTED = 0.6  # of independent noise's distance

Row = dict[str, Any]


def report(folder: Path) -> str:
    """The table of the finished runs, and what may be claimed from it.

    Raises:
        InputError: no run is finished.
    """
    rows = [row for row in results(folder) if "quality" in row]
    if not rows:
        raise InputError(f"{folder} holds no finished run yet")
    header = ["run", "parameters", "clips seen", *MEASURES, "digit", "colour", "direction", "same ends", "place kept"]
    body = []
    for row in sorted(rows, key=lambda row: row["name"]):
        distances = [f"{row[m]['value']:.3g} ± {row[m]['deviation']:.1g}" for m in MEASURES]
        rates = [f"{100 * row['rates'][q]['value']:.0f} %" for q in ("digit", "colour", "direction", "same ends")]
        size = f"{row['parameters'] / 1e6:.2f} M"
        body.append([row["name"], size, row["clips"], *distances, *rates, f"{100 * row['place_kept']:.0f} %"])
    return "\n\n".join([markdown_table(header, body), *claims(rows)])


def claims(rows: Sequence[Row]) -> list[str]:
    """Sentences on the headline pair: a difference counts only where it exceeds the spread over seeds."""
    said = []
    for measure in MEASURES:
        fusion, vdm = (_over_seeds(rows, kind, measure) for kind in ("videofusion", "vdm"))
        if not fusion.size or not vdm.size:
            said.append(f"{measure}: the headline pair is not finished.")
            continue
        ratio = fusion.mean() / vdm.mean()
        both = f"{measure}: decomposed {_pm(fusion)}, independent {_pm(vdm)}, ratio {ratio:.2f} (wanted <= {WANTED})"
        if min(fusion.size, vdm.size) < 2:
            said.append(f"{both}; one seed has no spread, so nothing is claimed.")
            continue
        gap, spread = abs(fusion.mean() - vdm.mean()), np.hypot(fusion.std(ddof=1), vdm.std(ddof=1))
        better = "decomposed" if fusion.mean() < vdm.mean() else "independent"
        verdict = f"{better} is nearer to real clips" if gap > spread else "no claim"
        said.append(f"{both}; the gap {gap:.3g} against a spread over seeds of {spread:.3g}: {verdict}.")
    return said


def _over_seeds(rows: Sequence[Row], kind: str, measure: str) -> np.ndarray:
    chosen = [row for row in rows if row["name"].startswith(f"{kind}-") and row["name"].split("-")[-1].isdigit()]
    return np.array([row[measure]["value"] for row in chosen])


def _pm(values: np.ndarray) -> str:
    return f"{values.mean():.3g} ± {values.std(ddof=1):.1g}" if values.size > 1 else f"{values[0]:.3g}"


def plot(folder: Path, path: Path) -> None:
    """Draw both distances of all runs, and against the share.

    Raises:
        InputError: no run is finished, or matplotlib is not installed.
    """
    require("matplotlib", extra="bench")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = sorted((row for row in results(folder) if "quality" in row), key=lambda row: row["name"])
    if not rows:
        raise InputError(f"{folder} holds no finished run yet")
    figure = Figure(figsize=(11, 3 + 0.25 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2, width_ratios=(3, 2))
    for (bars, sweep), measure in zip(axes, MEASURES, strict=True):
        names = [row["name"] for row in rows]
        values = [row[measure]["value"] for row in rows]
        colours = ["tab:orange" if name.startswith("vdm") else "tab:blue" for name in names]
        bars.barh(names, values, xerr=[row[measure]["deviation"] for row in rows], color=colours)
        bars.invert_yaxis()
        bars.tick_params(axis="y", labelsize=7)
        bars.set_xlabel(f"{measure}: Fréchet distance to real clips")
        points = share_points(rows, measure)
        sweep.errorbar([p[0] for p in points], [p[1] for p in points], [p[2] for p in points], marker="o", capsize=3)
        independent = _over_seeds(rows, "vdm", measure)
        if independent.size:
            sweep.axhline(independent.mean(), color="tab:orange", label="independent noise (VDM)")
            sweep.legend(fontsize=7)
        sweep.set_xlabel("share λ of the frames other than the middle one")
        sweep.set_ylabel(measure)
        sweep.set_ylim(bottom=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def share_points(rows: Sequence[Row], measure: str) -> list[tuple[float, float, float]]:
    """Share, distance and its deviation, of the finished runs of the sweep."""
    default = get_recipe("moving-digits").share
    by_name = {row["name"]: row[measure] for row in rows}
    points = []
    for share in SHARES:
        found = by_name.get("videofusion-0" if share == default else f"share-{share:g}")
        if found is not None:
            points.append((share, found["value"], found["deviation"]))
    return points
