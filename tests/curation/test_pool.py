"""Processes: the same rows as without them, also when one is killed."""

from __future__ import annotations

import importlib
import sys

import pytest

from videofusion.curation.pool import DIED, run_here, run_pool
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job, chunks_of

MODULE = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from videofusion.curation.stage import Stage

@dataclass(frozen=True, kw_only=True)
class Deadly(Stage):
    name: ClassVar[str] = "deadly"
    columns: ClassVar[dict] = {"value": "int64"}
    once: str

    def look(self, job):
        if job.span.source == "always":
            os.kill(os.getpid(), signal.SIGKILL)
        if job.span.source == "once" and not Path(self.once).exists():
            Path(self.once).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"value": len(job.span.source)}
"""


@pytest.fixture
def deadly(tmp_path, monkeypatch):
    (tmp_path / "deadly_stage.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)  # the processes look there as well
    module = importlib.import_module("deadly_stage")
    yield module.Deadly(once=str(tmp_path / "once"))
    sys.modules.pop("deadly_stage")


def test_a_job_that_kills_its_process_is_a_row_and_the_others_are_made(deadly):
    for killer, outcome in (("always", (None, DIED)), ("once", (4, None))):
        groups = chunks_of([Job(Span(source=name, path=name, stamp=""), {}) for name in ("a", killer, "bb")], 1)
        done = dict(run_pool(deadly, groups, 1))
        assert [(row["value"], row["bad"]) for number in range(3) for row in done[number]] == [
            (1, None),
            outcome,
            (2, None),
        ]


def test_the_pool_makes_the_same_rows(deadly):
    jobs = [Job(Span(source="x" * n, path=str(n // 2), stamp=""), {}) for n in range(7)]
    groups = chunks_of(jobs, 2)
    assert sorted(run_pool(deadly, groups, 2)) == list(run_here(deadly, groups))
