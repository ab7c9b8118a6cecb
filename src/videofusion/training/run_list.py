"""A table of run folders: state, step, loss, speed, last sample."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videofusion.errors import InputError
from videofusion.files import check_regular, parse_json
from videofusion.training import session

_SILENT = 600.0  # seconds without a sign of life, after which a run on another machine is taken for dead
_TAIL = 1 << 18  # bytes of the log's end that are read: thousands of lines
_PARTS = {"checkpoints", "samples", "model", "tensorboard", "wandb"}  # of a run folder; no runs are in there


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run folder.

    Args:
        folder: its path.
        state: "running", "finished", "stopped" (by a signal), "crashed", or "unknown" (of an older version).
        reason: why it stopped or crashed.
        step: the last that was logged.
        steps: of the recipe.
        loss: of the last logged step.
        rate: clips per second.
        sample: name of the last sample grid in samples/.
        seen: time of the last sign of life, in seconds since 1970.
    """

    folder: Path
    state: str
    reason: str | None = None
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    rate: float | None = None
    sample: str | None = None
    seen: float | None = None


def find_runs(folder: Path) -> list[Run]:
    """The run folders at and below a folder, sorted by path.

    Raises:
        InputError: there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    return [read_run(path) for path in sorted(_run_folders(folder))]


def read_run(run: Path) -> Run:
    """What a run folder says of itself; what cannot be read is None."""
    log = run / "log.jsonl"
    found = _json(run / session.FILE)
    step = _last_step(log)
    samples = sorted(path.name for path in (run / "samples").glob("step-*.png"))
    seen = max((path.stat().st_mtime for path in (log, run / session.FILE) if path.exists()), default=None)
    state, reason = _state(found, seen)
    return Run(
        folder=run,
        state=state,
        reason=reason,
        step=step.get("step", found.get("step")) if state == "running" else found.get("step", step.get("step")),
        steps=_steps(_json(run / "recipe.json")),
        loss=step.get("loss"),
        rate=step.get("clips_per_second"),
        sample=samples[-1] if samples else None,
        seen=seen,
    )


def table(runs: Sequence[Run], below: Path, now: float | None = None) -> str:
    """The runs as lines of text, under a head line; why a run stopped or crashed stands below its line.

    Args:
        runs: of `find_runs`.
        below: the folder that paths are shown relative to.
        now: seconds since 1970; the present by default.
    """
    now = time.time() if now is None else now
    rows = [("run", "state", "step", "loss", "clips/s", "last sample", "seen")]
    for run in runs:
        rows.append(
            (
                os.path.relpath(run.folder, below) if run.folder != below else str(below),
                run.state,
                "-" if run.step is None else f"{run.step}" + (f"/{run.steps}" if run.steps else ""),
                "-" if run.loss is None else f"{run.loss:.4f}",
                "-" if run.rate is None else f"{run.rate:.1f}",
                run.sample or "-",
                "-" if run.seen is None else f"{_ago(now - run.seen)} ago",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    reasons = [None, *(run.reason if run.state in ("crashed", "stopped") else None for run in runs)]
    return "\n".join(
        line if reason is None else f"{line}\n    {reason}" for line, reason in zip(lines, reasons, strict=True)
    )


def _run_folders(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        is_run = "recipe.json" in files and ("log.jsonl" in files or session.FILE in files)
        if is_run:
            yield Path(place)
        folders[:] = [name for name in folders if not name.startswith(".") and not (is_run and name in _PARTS)]


def _state(found: dict[str, Any], seen: float | None) -> tuple[str, str | None]:
    state, reason = found.get("state"), found.get("reason")
    if state in ("finished", "stopped", "crashed"):
        return str(state), reason
    if state != "running" or not isinstance(found.get("pid"), int):
        return "unknown", None
    if found.get("host") == socket.gethostname():
        if session.is_alive(found):
            return "running", None
        return "crashed", f"process {found['pid']} is gone without a word: killed, or the machine went down"
    if seen is not None and time.time() - seen < _SILENT:
        return "running", None
    return "crashed", f"no sign of life from process {found['pid']} on {found.get('host')}"


def _last_step(log: Path) -> dict[str, Any]:
    """The last whole line about a training step."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    for text in reversed(lines):
        try:
            line = parse_json(text)
        except ValueError:  # cut short, by a kill or by where the reading began
            continue
        if isinstance(line, dict) and line.get("event") == "train":
            return line
    return {}


def _steps(recipe: dict[str, Any]) -> Any:
    """The steps that a recipe.json names; those of older versions are in no group."""
    budget = recipe.get("budget", recipe)
    return budget.get("steps") if isinstance(budget, dict) else None


def _json(path: Path) -> dict[str, Any]:
    try:
        check_regular(path)
        values = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or not a file of ours: the table shows what can be known
        return {}
    return values if isinstance(values, dict) else {}


def _ago(seconds: float) -> str:
    """A span of time in its largest unit, as in "5 min"."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit == "min" and seconds >= length):
            return f"{math.floor(seconds / length)} {unit}"
    return f"{max(0, math.floor(seconds))} s"
