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
from videofusion.errors import InputError, require


def check_ray(workers: int) -> None:
    """Refuse before work what Ray cannot do.

    Raises:
        InputError: Ray is not installed, or no worker is asked for.
    """
    require("ray", "ray")
    if workers < 1:
        raise InputError(f'workers is {workers}; engine "ray" takes at least 1')


def run_ray(stage: Stage, groups: Sequence[Sequence[Job]], workers: int) -> Iterator[Done]:
    """Groups of jobs on so many actors, as they are done.

    The cluster is the one that this process is connected to (`ray.init`, or the address in RAY_ADDRESS), else a local
    one. An actor that dies is started again, and its group done again; a file that kills the process that reads it
    is a row that says so, as in the pool. On several machines the paths have to be the same on all.
    """
    ray = require("ray", "ray")
    data = require("ray.data", "ray")
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    data.DataContext.get_current().enable_progress_bars = False
    items = [{"number": number, "jobs": _written(group)} for number, group in enumerate(groups)]
    on_gpu = str(getattr(stage, "device", "cpu")).startswith("cuda")
    found = data.from_items(items, override_num_blocks=len(items)).map(
        _Worker,
        fn_constructor_args=(stage,),
        compute=data.ActorPoolStrategy(size=min(workers, len(items))),
        num_gpus=1 if on_gpu else None,
    )
    for row in found.iter_rows():
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
