"""Stages on Ray Data: the same rows on one machine or many. Paths and spans travel as text, never frames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from videofusion.curation.pool import Done, Isolated
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job, Stage
from videofusion.curation.work import rows_of
from videofusion.on_ray import on_actors


def run_ray(stage: Stage, groups: Sequence[Sequence[Job]], workers: int) -> Iterator[Done]:
    """Groups of jobs on so many actors, as they are done.

    See `on_actors`; a file that kills the process that reads it is a row that says so, as in the pool.
    """
    items = [{"number": number, "jobs": _written(group)} for number, group in enumerate(groups)]
    device = getattr(stage, "device", None)
    for row in on_actors(_Worker, (stage,), items, workers=workers, device=device):
        yield int(row["number"]), json.loads(row["rows"])


class _Worker:
    """An actor: a stage, and for what is not a model a process of its own beside it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._isolated = None if stage.alone else Isolated(stage)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        jobs = _read(item["jobs"])
        rows = rows_of(self._stage, jobs) if self._isolated is None else self._isolated.rows(jobs)
        return {"number": item["number"], "rows": json.dumps(rows)}


def _written(jobs: Sequence[Job]) -> str:
    return json.dumps([[asdict(job.span), dict(job.known)] for job in jobs])


def _read(text: str) -> list[Job]:
    return [Job(Span(**{**span, "captions": tuple(span["captions"])}), known) for span, known in json.loads(text)]
