"""Rows on the disk: whole, resumable, and only of the same settings, files and inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from videofusion.curation.pool import DIED
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job, Row, Stage, chunks_of, told
from videofusion.curation.store import Store
from videofusion.curation.work import bad_row, rows_of
from videofusion.errors import InputError
from videofusion.video.footage import Unreadable

pytest.importorskip("pyarrow")


@dataclass(frozen=True, kw_only=True)
class Count(Stage):
    """The length of a span's name times a setting."""

    name: ClassVar[str] = "count"
    columns: ClassVar[dict[str, str]] = {"size": "double", "list": "list<float>"}
    unmarked: ClassVar[tuple[str, ...]] = ("place",)

    times: float = 1.0
    place: str = ""

    def look(self, job: Job) -> Row:
        if job.span.source == "broken":
            raise Unreadable("it is")
        return {"size": self.times * len(job.span.source), "list": [0.5, 0.25]}


JOBS = [Job(Span(source=name, path=name, stamp="1", first=3, count=5), {}) for name in ("a", "bb", "broken", "dddd")]


def test_rows_come_back_as_they_were_and_in_order(tmp_path):
    rows = rows_of(Count(), JOBS)
    with Store(tmp_path, Count()) as store:
        assert [store.row(job) for job in JOBS] == [None] * 4
        store.add(JOBS[::-1], rows[::-1])
        store.finish(JOBS)
    assert [path.name for path in tmp_path.iterdir()] == ["count.parquet"]
    again = Store(tmp_path, Count())
    found = [again.row(job) for job in JOBS]
    assert [row["size"] for row in found] == [1, 2, None, 4]
    assert [row["bad"] for row in found] == [None, None, "it is", None]
    assert found[0]["list"] == [0.5, 0.25]
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(tmp_path / "count.parquet")["source"].to_pylist() == ["a", "bb", "broken", "dddd"]


def test_what_a_row_depends_on_decides_whether_it_counts(tmp_path):
    job = Job(JOBS[0].span, {"said": "x"})
    with Store(tmp_path, Count()) as store:
        store.add([job], rows_of(Count(), [job]))
        store.finish([job])
    assert Store(tmp_path, Count(place="elsewhere")).row(job) is not None
    assert Store(tmp_path, Count(times=2)).row(job) is None  # another setting
    store = Store(tmp_path, Count())
    assert store.row(Job(job.span, {"said": "y"})) is None  # another input
    for change in ({"stamp": "2"}, {"first": 4}, {"count": 6}, {"source": "b"}):  # another file, or part of it
        assert store.row(Job(replace(job.span, **change), job.known)) is None
    assert told({"b": 1, "a": 2}) == told({"a": 2, "b": 1}) != told({}) == ""


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_after_a_kill_all_but_a_line_that_was_cut_is_there(tmp_path, cut):
    rows = rows_of(Count(), JOBS)
    with Store(tmp_path, Count()) as store:
        store.add(JOBS[:2], rows[:2])
    journal = tmp_path / "count.partial.jsonl"
    journal.write_bytes(journal.read_bytes()[: -cut or None])
    with Store(tmp_path, Count()) as store:
        assert store.row(JOBS[0]) == {**rows[0], "told": ""}
        assert (store.row(JOBS[1]) is not None) == (cut == 0)
        store.add(JOBS[1:], rows[1:])
        store.finish(JOBS)
    assert [Store(tmp_path, Count()).row(job)["size"] for job in JOBS] == [1, 2, None, 4]
    assert not journal.exists()


def test_a_job_whose_process_died_is_tried_again(tmp_path):
    with Store(tmp_path, Count()) as store:
        store.add(JOBS[:1], [bad_row(Count(), JOBS[0], DIED)])
        assert store.finish(JOBS[:1])[0]["bad"] == DIED
    assert Store(tmp_path, Count()).row(JOBS[0]) is None


def test_a_row_that_no_longer_stands_is_made_again(tmp_path):
    class Fleeting(Count):
        def stands(self, row: Row) -> bool:
            return row["size"] != 1

    with Store(tmp_path, Fleeting()) as store:
        store.add(JOBS[:2], rows_of(Count(), JOBS[:2]))
        assert store.row(JOBS[0]) is None
        assert store.row(JOBS[1]) is not None


@pytest.mark.parametrize("name", ["count.parquet", "count.partial.jsonl"])
def test_another_file_of_that_name_is_not_overwritten(tmp_path, name):
    (tmp_path / name).write_text("something else\n")
    with pytest.raises(InputError, match=name):
        Store(tmp_path, Count())
    assert (tmp_path / name).read_text() == "something else\n"


def test_spans_of_one_file_go_together():
    jobs = [Job(Span(source=name, path=name, stamp=""), {}) for name in "aaabccc"]
    assert [[job.span.path for job in group] for group in chunks_of(jobs, 2)] == [
        ["a", "a"],
        ["a"],
        ["b"],
        ["c", "c"],
        ["c"],
    ]
