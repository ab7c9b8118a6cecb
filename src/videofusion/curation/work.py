"""What a process does with a group of jobs; the same in the pool, on Ray, and in the caller's own process."""

from __future__ import annotations

from collections.abc import Sequence

from videofusion.curation.stage import BAD, Job, Row, Stage, key_of
from videofusion.video.footage import Unreadable

# What a file can do to whoever reads it; anything else is a mistake of ours, and shows.
_REASONS = (Unreadable, OSError, MemoryError)


def rows_of(stage: Stage, jobs: Sequence[Job]) -> list[Row]:
    """A row for each job; the row of a bad file has the reason, and the others are unaffected."""
    return [_row(stage, job) for job in jobs]


def bad_row(stage: Stage, job: Job, reason: str) -> Row:
    """The row of a job of which nothing could be told."""
    return {**key_of(job), **dict.fromkeys(stage.columns), BAD: reason}


def one_thread() -> None:
    """Keep libraries from starting a thread for each core: the processes are the parallel part."""
    import os

    os.environ["OMP_NUM_THREADS"] = "1"  # read by those that are not loaded yet
    try:
        import cv2
    except ModuleNotFoundError:  # a stage that needs it has said so
        return
    cv2.setNumThreads(1)


def _row(stage: Stage, job: Job) -> Row:
    try:
        found = stage.look(job)
    except _REASONS as error:
        return bad_row(stage, job, str(error) or type(error).__name__)
    return {**key_of(job), **{column: found[column] for column in stage.columns}, BAD: None}
