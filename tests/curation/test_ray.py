"""Ray on a local cluster of two workers: the same rows as the pool, also when an actor is killed."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from videofusion.curation.curate import curate
from videofusion.curation.cuts import Cuts
from videofusion.curation.duplicates import Duplicates
from videofusion.curation.embeddings import Embeddings, Similarity
from videofusion.curation.engines import check_engine
from videofusion.curation.flow import Motion
from videofusion.curation.ocr import Text
from videofusion.curation.pool import DIED, run_here
from videofusion.curation.ray_stages import _read, _written, run_ray
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job, chunks_of
from videofusion.curation.thresholds import parse
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


@contextmanager
def cluster(ray: Any) -> Iterator[None]:
    """Two workers that import what this process can."""
    paths = [path for path in sys.path if path]
    ray.init(
        num_cpus=2, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": ":".join(paths)}},
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


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
    with cluster(ray):
        done = dict(run_ray(stage, groups, 2))
    sys.modules.pop("deadly_on_ray")
    assert (tmp_path / "once").exists()
    assert [row["bad"] for row in done[3]] == [DIED]
    others = [number for number in range(len(groups)) if number != 3]
    expected = dict(run_here(stage, [groups[number] for number in others]))
    assert [done[number] for number in others] == [expected[place] for place in range(len(others))]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_real_videos_are_curated_alike_by_ray_and_the_pool(tmp_path, shared_data, clip_folder):
    """Every stage but the captioners, which are models as CLIP is."""
    ray = pytest.importorskip("ray")
    for needed in ("pandas", "scenedetect", "cv2", "rapidocr_onnxruntime"):
        pytest.importorskip(needed)
    videos = tmp_path / "videos"
    videos.mkdir()
    found = [*sorted(shared_data.glob("asl_gestures/*.mkv"))[:4], shared_data / "scenes" / "bikes.mp4"]
    for path in found:
        shutil.copy(path, videos)
    shutil.copy(found[0], videos / "copy.mkv")
    (videos / "text.mp4").write_text("no video")
    rows = [{"file_name": path.name, "text": "ab"} for path in (*found, videos / "copy.mkv", videos / "text.mp4")]
    (videos / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    clip = [Embeddings.of(clip_folder), Similarity.of(clip_folder)]
    bounds = [parse("seconds=1", least=True), parse("motion=p25", least=True)]

    def curated(engine: str) -> tuple[list[dict], dict[str, str], dict[str, list]]:
        import pyarrow.parquet

        out = tmp_path / engine
        stages = [Motion(), Text(), *clip, Duplicates()]
        made = curate(
            videos, out, stages, cuts=Cuts(), bounds=bounds, write_clips=True, workers=2, engine=engine,
        )  # fmt: skip
        tables = {path.name: pyarrow.parquet.read_table(path).to_pylist() for path in (out / "rows").glob("*.parquet")}
        return made.clips, made.bad, tables

    pool = curated("pool")
    with cluster(ray):
        other = curated("ray")
    for one, two in zip(pool, other, strict=True):
        assert one == two
    clips, bad, tables = pool
    assert len(tables) == 7  # with the cuts and the files
    assert len(clips) > 6  # bikes.mp4 has cuts
    assert 0 < sum(clip["kept"] for clip in clips) < len(clips)
    assert list(bad) == ["text.mp4"]
    written = [sorted(path.name for path in (tmp_path / engine / "clips").iterdir()) for engine in ("pool", "ray")]
    assert written[0] == written[1] != []
