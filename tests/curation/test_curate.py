"""From a folder of videos to clips to train on."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import ClassVar

import pytest

from videofusion.curation import curate as module
from videofusion.curation.curate import curate
from videofusion.curation.duplicates import Duplicates
from videofusion.curation.flow import Motion
from videofusion.curation.stage import Job, Row, Stage
from videofusion.curation.thresholds import parse
from videofusion.data.folder import VideoFolder
from videofusion.errors import InputError

for needed in ("scenedetect", "cv2", "pyarrow"):
    pytest.importorskip(needed)

BOUNDS = [parse("seconds=1", least=True), parse("motion=1", least=True)]


@dataclass(frozen=True, kw_only=True)
class Said(Stage):
    """What the captioners would say."""

    name: ClassVar[str] = "captions"
    columns: ClassVar[dict[str, str]] = {"caption": "string", "caption_middle": "string", "caption_video": "string"}

    def look(self, job: Job) -> Row:
        return {"caption": f"clip at {job.span.first}", "caption_middle": "a", "caption_video": "b"}


@pytest.fixture(scope="module")
def videos(tmp_path_factory, make_scene, write_video):
    """Three shots (one still, one too short), a copy of the file, and a file that is none."""
    root = tmp_path_factory.mktemp("videos")
    shots = [*make_scene(0, 20, moves=1), *make_scene(1, 20), *make_scene(2, 8, moves=1), *make_scene(3, 15, moves=-1)]
    path = write_video(root / "a" / "long.mp4", shots)
    (root / "b.mp4").write_bytes(path.read_bytes())
    (root / "text.mp4").write_text("no video")
    rows = [{"file_name": name, "text": f"text of {name}"} for name in ("a/long.mp4", "b.mp4", "text.mp4")]
    (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_what_is_kept_what_is_dropped_and_why(videos, tmp_path):
    out = tmp_path / "out"
    found = curate(videos, out, [Motion(), Duplicates()], bounds=BOUNDS)
    assert [(clip["source"], clip["first"], clip["count"], clip["kept"]) for clip in found.clips] == [
        ("a/long.mp4", 0, 20, True),
        ("a/long.mp4", 20, 20, False),
        ("a/long.mp4", 40, 8, False),
        ("a/long.mp4", 48, 15, True),
        *(("b.mp4", first, count, False) for first, count in ((0, 20), (20, 20), (40, 8), (48, 15))),
    ]
    why = [clip["why"] for clip in found.clips]
    assert re.fullmatch(r"motion 0\S* is below 1", why[1][0])
    assert why[2] == ["seconds 0.8 is below 1"]
    assert why[4] == ["the same frames as a/long.mp4 (0.00-2.00 s)"]
    assert list(found.bad) == ["text.mp4"]
    assert "not a video" in found.bad["text.mp4"]

    import pyarrow.parquet

    table = pyarrow.parquet.read_table(out / "clips.parquet").to_pylist()
    assert [(row["source"], row["first"], row["kept"], row["why"]) for row in table] == [
        (clip["source"], clip["first"], clip["kept"], clip["why"]) for clip in found.clips
    ]
    rows = sorted(path.name for path in (out / "rows").glob("*.[pj]*"))
    assert rows == ["cuts.parquet", "duplicates.parquet", "motion.parquet"]


def test_the_folder_of_spans_is_trained_on(videos, tmp_path, make_scene):
    out = tmp_path / "out"
    curate(videos, out, [Motion(), Duplicates(), Said()], bounds=BOUNDS)
    clips = VideoFolder(out, frames=15, size=(48, 64))
    assert len(clips) == 2
    assert clips.items[1].captions == ("text of a/long.mp4", "clip at 48", "b", "a")
    sample = clips.sample(1)  # all of its 15 frames
    for shown, frame in zip(sample.clip, make_scene(3, 15, moves=-1), strict=True):
        assert ((shown.permute(1, 2, 0).numpy() + 1) * 127.5 - frame).__abs__().mean() < 6


def test_clips_are_written_and_written_again_when_one_is_gone(videos, tmp_path, make_scene):
    out = tmp_path / "out"
    found = curate(videos, out, [Motion(), Duplicates()], bounds=BOUNDS, write_clips=True)
    files = sorted((out / "clips").iterdir())
    assert [f"clips/{clip['written']}" for clip in found.kept] == [
        json.loads(line)["file_name"] for line in (out / "metadata.jsonl").read_text().splitlines()
    ]
    assert len(files) == 2
    before = files[1].read_bytes()
    files[0].unlink()
    files[1].write_bytes(before + b"more")
    curate(videos, out, [Motion(), Duplicates()], bounds=BOUNDS, write_clips=True)
    assert files[0].is_file()
    assert files[1].read_bytes() == before + b"more"  # not made twice
    files[1].write_bytes(before)
    clips = VideoFolder(out, frames=15, size=(48, 64))
    assert [item.caption for item in clips.items] == ["text of a/long.mp4"] * 2
    assert sorted(len(item.open()) for item in clips.items) == [15, 20]
    # what is not kept any more goes, and what is not ours stays
    (out / "clips" / "mine.mp4").touch()
    fewer = [*BOUNDS, parse("frames=20", least=True)]
    (kept,) = curate(videos, out, [Motion(), Duplicates()], bounds=fewer, write_clips=True).kept
    assert sorted(path.name for path in (out / "clips").iterdir()) == sorted([kept["written"], "mine.mp4"])
    (out / "clips" / "mine.mp4").unlink()
    curate(videos, out, [Motion(), Duplicates()], bounds=fewer)
    assert [len(item.open()) for item in VideoFolder(out, frames=15).items] == [20]


def test_a_file_whose_name_is_no_text_is_named(tmp_path, make_scene, write_video):
    path = write_video(tmp_path / "in" / "a.mp4", make_scene(0, 12, moves=1))
    try:
        path.with_name(b"\xff.mp4".decode("utf-8", "surrogateescape")).write_bytes(path.read_bytes())
    except OSError:
        pytest.skip("this file system takes no such name")
    found = curate(tmp_path / "in", tmp_path / "out", [])
    assert [clip["source"] for clip in found.clips] == ["a.mp4"]
    assert found.problems == {r"'\udcff.mp4'": "its name is no text (not UTF-8)"}


def test_a_second_call_looks_at_nothing_twice(videos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    first = curate(videos, out, [Motion()], bounds=BOUNDS)
    tables = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    looked: list[str] = []
    for stage in (module.Cuts, Motion):
        look = stage.look

        def counted(self, job, look=look):
            looked.append(f"{self.name} {job.span.name}")
            return look(self, job)

        monkeypatch.setattr(stage, "look", counted)
    again = curate(videos, out, [Motion()], bounds=BOUNDS)
    assert looked == []
    assert again == first
    assert {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()} == tables
    # other bounds choose anew; another setting looks anew, at what it is of
    assert len(curate(videos, out, [Motion()]).kept) == 8
    assert looked == []
    curate(videos, out, [Motion(side=64)])
    assert len(looked) == 8
    assert all(line.startswith("motion ") for line in looked)


def test_a_run_that_broke_off_goes_on(videos, tmp_path, monkeypatch):
    out = tmp_path / "out"
    looked: list[str] = []
    look = Motion.look

    def breaks(self, job):
        looked.append(job.span.name)
        if len(looked) == 6:
            raise KeyboardInterrupt
        return look(self, job)

    monkeypatch.setattr(Motion, "look", breaks)
    monkeypatch.setattr("videofusion.curation.engines._TOGETHER", 1)
    with pytest.raises(KeyboardInterrupt):
        curate(videos, out, [Motion()])
    assert not (out / "clips.parquet").exists()
    found = curate(videos, out, [Motion()])
    assert len(looked) == 6 + 3  # the one in work, and the two after it
    monkeypatch.undo()
    assert found.clips == curate(videos, tmp_path / "other", [Motion()]).clips


def test_the_report_is_one_file_that_needs_no_other(videos, tmp_path):
    out = tmp_path / "out"
    curate(videos, out, [Motion(), Duplicates()], bounds=BOUNDS)
    report = (out / "report.html").read_text()
    assert "8 clips" in report
    assert report.count("<svg") == 2  # seconds and motion
    assert report.count("data:image/jpeg") == 3 * (2 + 2 + 2 + 2)  # kept, still, short, copies
    for said in ("Dropped: the same frames (2)", "Dropped: motion below 1 (2)", "text.mp4"):
        assert said in report
    assert "http" not in report.replace("http://www.w3.org", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bounds": [parse("beauty=1", least=True)]}, "beauty=1"),
        ({"near": 2}, "near is 2"),
        ({"engine": "spark"}, 'engine is "spark"'),
        ({"workers": -1}, "workers is -1"),
        ({"stages": [Motion(rate=0)]}, "rate is 0"),
    ],
)
def test_bad_settings_are_refused_before_work(videos, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        curate(videos, tmp_path / "out", **{"stages": [Motion()], **change})
    assert not (tmp_path / "out").exists()


def test_out_is_outside_of_the_data_and_used_by_one(videos, tmp_path):
    with pytest.raises(InputError, match="inside of the data"):
        curate(videos, videos / "out", [])
    with module._own(tmp_path / "out"), pytest.raises(InputError, match="in use"):
        curate(videos, tmp_path / "out", [])
