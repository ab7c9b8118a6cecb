"""The record: whole lines, the last of a row counts, and nothing of others is touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from videofusion.errors import InputError
from videofusion.generation.results import NAME, open_results

DONE = {"row": 1, "id": "a", "state": "done", "files": ["a.mp4"], "prompt": "é\ud800", "seed": 1}
SETTINGS = {"prompt": "é\ud800", "seed": 1}


def test_a_row_is_done_when_line_and_file_are_there_and_settings_are_equal(tmp_path: Path) -> None:
    with open_results(tmp_path) as results:
        assert not results.is_done("a", ["a.mp4"], SETTINGS)
        results.add({"row": 1, "id": "a", "state": "failed", "reason": "none"})
        results.add(DONE)
    for _ in range(2):
        with open_results(tmp_path) as results:
            assert not results.is_done("a", ["a.mp4"], SETTINGS)
    (tmp_path / "a.mp4").touch()
    with open_results(tmp_path) as results:
        assert results.is_done("a", ["a.mp4"], SETTINGS)
        assert not results.is_done("a", ["a.webp"], SETTINGS)
        with pytest.raises(InputError, match=r"other settings: seed \(1 there, 2 now\); use another folder, or delete"):
            results.is_done("a", ["a.mp4"], {**SETTINGS, "seed": 2})
        results.add({"row": 1, "id": "a", "state": "failed", "reason": "none"})
        assert not results.is_done("a", ["a.mp4"], SETTINGS)


def test_cut_anywhere_the_whole_lines_stay_and_more_can_follow(tmp_path: Path) -> None:
    path = tmp_path / NAME
    with open_results(tmp_path) as results:
        results.add(DONE)
        first = path.stat().st_size
        results.add({**DONE, "id": "b"})
    data = path.read_bytes()
    for size in sorted({*range(0, len(data), 17), *range(12), first - 1, first, first + 1, len(data) - 1, len(data)}):
        path.write_bytes(data[:size])
        with open_results(tmp_path) as results:
            assert list(results.lines) == ["a", "b"][: (size >= first) + (size == len(data))]
            results.add({**DONE, "id": "c"})
        assert all(json.loads(line)["id"] in "abc" for line in path.read_text("utf-8").splitlines())


@pytest.mark.parametrize("text", ["something else", "[]\n", '{"id": 3, "state": "done"}\n', '{"id": "a"}\n'])
def test_a_file_that_is_no_record_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(InputError, match="not a row"), open_results(tmp_path):
        pass
    assert (tmp_path / NAME).read_text() == text


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        open_results(tmp_path),
        pytest.raises(InputError, match="is in use by process"),
        open_results(tmp_path),
    ):
        pass
    with open_results(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be used"), open_results(tmp_path / "file"):
        pass
