"""Where a stage runs: in this process, a pool of processes, or on Ray; the rows are the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from videofusion.curation.pool import Done, run_here, run_pool
from videofusion.curation.stage import Job, Stage, chunks_of
from videofusion.curation.store import Store
from videofusion.errors import InputError

ENGINES = ("pool", "ray")
_TOGETHER = 8  # spans of one file that go to a process at once

Progress = Callable[[str, int, int], None]  # stage, jobs done, jobs in all


def run_stage(
    stage: Stage, jobs: Sequence[Job], store: Store, *, workers: int, engine: str, progress: Progress | None = None
) -> list[dict[str, object]]:
    """The rows of a stage for all jobs: those that are known, and those that are now made and written down.

    Args:
        stage: which.
        jobs: in the order of the rows that come back; no two of the same span.
        store: where rows are kept.
        workers: processes; 0 for this one, as for a stage that is `alone`.
        engine: one of `ENGINES`.
        progress: called after each group of jobs.

    Raises:
        RunError: the disk is full.
    """
    todo = [job for job in jobs if store.row(job) is None]
    groups = chunks_of(todo, _TOGETHER)
    done = len(jobs) - len(todo)
    with store:
        for number, rows in _run(stage, groups, workers, engine):
            store.add(groups[number], rows)
            done += len(rows)
            if progress is not None:
                progress(stage.name, done, len(jobs))
        return store.finish(jobs)


def check_engine(engine: str, workers: int) -> None:
    """Refuse an engine that there is not.

    Raises:
        InputError: so, or too few workers.
    """
    if engine not in ENGINES:
        raise InputError(f'engine is "{engine}"; it must be one of {", ".join(ENGINES)}')
    if not 0 <= workers <= 1024:
        raise InputError(f"workers is {workers}; it must be from 0 (this process alone) to 1024")
    if engine == "ray":
        from videofusion.on_ray import check_ray

        check_ray(workers)


def _run(stage: Stage, groups: Sequence[Sequence[Job]], workers: int, engine: str) -> Iterator[Done]:
    if not groups:
        return iter(())
    if engine == "ray":
        from videofusion.curation.ray_stages import run_ray

        return run_ray(stage, groups, workers)
    if workers == 0 or stage.alone:
        return run_here(stage, groups)
    return run_pool(stage, groups, min(workers, len(groups)))
