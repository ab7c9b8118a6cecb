"""Ray on a local cluster of two workers: the same rows as the pool, also when an actor is killed."""

from __future__ import annotations

import importlib
import sys

import pytest

from videofusion.curation.engines import check_engine
from videofusion.curation.pool import DIED, run_here
from videofusion.curation.ray_engine import _read, _written, run_ray
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job, chunks_of
from videofusion.errors import InputError

MODULE = """
import os, signal
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from videofusion.curation.stage import Stage

@dataclass(frozen=True, kw_only=True)
class Deadly(Stage):
    name: ClassVar[str] = "deadly_on_ray"
    columns: ClassVar[dict] = {"value": "double"}
    once: str

    def look(self, job):
        if job.span.source == "actor" and not Path(self.once).exists():
            Path(self.once).touch()
            os.kill(os.getppid(), signal.SIGKILL)  # the actor, as a machine that fails
        if job.span.source == "always":
            os.kill(os.getpid(), signal.SIGKILL)
        return {"value": len(job.span.source) / 3}
"""


def job(source: str) -> Job:
    return Job(
        Span(source=source, path=source, stamp="1", first=2, count=3, captions=("ü",)), {"said": "x", "e": [0.1]}
    )


def test_jobs_travel_as_text():
    assert _read(_written([job("a"), job("b")])) == [job("a"), job("b")]


def test_without_ray_or_workers_it_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"videofusion\[ray\]"):
        check_engine("ray", 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_rows_are_the_same_when_an_actor_is_killed(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    pytest.importorskip("pandas")
    with pytest.raises(InputError, match="at least 1"):
        check_engine("ray", 0)
    (tmp_path / "deadly_on_ray.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    stage = importlib.import_module("deadly_on_ray").Deadly(once=str(tmp_path / "once"))
    jobs = [job(name) for name in ("a", "bb", "actor", "always", "eeeee", "ffffff")]
    groups = chunks_of(jobs, 1)
    paths = [path for path in sys.path if path]
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": ":".join(paths)}},
    )  # fmt: skip
    try:
        done = dict(run_ray(stage, groups, 2))
    finally:
        ray.shutdown()
        sys.modules.pop("deadly_on_ray")
    assert (tmp_path / "once").exists()
    assert [row["bad"] for row in done[3]] == [DIED]
    others = [number for number in range(len(groups)) if number != 3]
    expected = dict(run_here(stage, [groups[number] for number in others]))
    assert [done[number] for number in others] == [expected[place] for place in range(len(others))]
