"""Stages on a pool of processes. A file that kills the process that reads it is a row with that reason."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from videofusion.curation.stage import Job, Row, Stage
from videofusion.curation.work import bad_row, one_thread, rows_of

DIED = "the process that worked on it died"
_AHEAD = 3  # groups handed out per process, so that none waits for the next

Done = tuple[int, list[Row]]  # number of a group, and its rows


def run_here(stage: Stage, groups: Sequence[Sequence[Job]]) -> Iterator[Done]:
    """Groups of jobs in this process, in order."""
    for number, group in enumerate(groups):
        yield number, rows_of(stage, group)


def run_pool(stage: Stage, groups: Sequence[Sequence[Job]], workers: int) -> Iterator[Done]:
    """Groups of jobs on so many processes, as they are done.

    When a process dies, what was in work is tried again, one job at a time on a process of its own; a job that
    kills that one too has a row that says so.
    """
    waiting = list(range(len(groups)))[::-1]
    while waiting:
        suspects: list[int] = []
        with _executor(stage, workers) as pool:
            running: dict[Future[list[Row]], int] = {}
            try:
                while waiting or running:
                    while waiting and len(running) < _AHEAD * workers:
                        running[pool.submit(_work, groups[waiting[-1]])] = waiting[-1]
                        waiting.pop()
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        rows = future.result()
                        yield running.pop(future), rows
            except BrokenProcessPool:
                for future, number in running.items():
                    if future.done() and future.exception() is None:
                        yield number, future.result()
                    else:
                        suspects.append(number)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for number in sorted(suspects):
            yield number, [row for job in groups[number] for row in _alone(stage, job)]


class Isolated:
    """A process beside this one for a stage's jobs, started again when a job kills it.

    Args:
        stage: whose jobs.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._pool = _executor(stage, 1)

    def rows(self, jobs: Sequence[Job]) -> list[Row]:
        """A row for each job; one that kills the process twice has a row that says so."""
        try:
            return self._pool.submit(_work, jobs).result()
        except BrokenProcessPool:
            self._pool.shutdown()
            self._pool = _executor(self._stage, 1)
            return [row for job in jobs for row in _alone(self._stage, job)]


def _alone(stage: Stage, job: Job) -> list[Row]:
    with _executor(stage, 1) as pool:
        try:
            return pool.submit(_work, [job]).result()
        except BrokenProcessPool:
            return [bad_row(stage, job, DIED)]


def _executor(stage: Stage, workers: int) -> ProcessPoolExecutor:
    # Spawned: threads of FFmpeg, OpenCV and Arrow do not survive a fork.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(stage,))


_stage: Stage | None = None


def _begin(stage: Stage) -> None:
    global _stage
    _stage = stage
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word; the parent has the word
    threading.Thread(target=_end_with_parent, daemon=True).start()
    one_thread()


def _end_with_parent() -> None:
    """A parent that was killed cannot end its processes, and they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(jobs: Sequence[Job]) -> list[Row]:
    assert _stage is not None
    return rows_of(_stage, jobs)
