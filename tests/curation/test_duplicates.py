"""Copies: the same frames, another encoding, another size; and what only resembles."""

from __future__ import annotations

import numpy as np
import pytest

from videofusion.curation.duplicates import Duplicates, copies, distances
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job, Row

pytest.importorskip("cv2")


def row(path, **part) -> Row:
    return Duplicates().look(Job(Span(source="a", path=str(path), stamp="", **part), {}))


def test_copies_of_each_kind(tmp_path, make_scene, write_video):
    first = make_scene(0, 12, moves=1, height=96, width=128)
    write_video(tmp_path / "a.mp4", first)
    write_video(tmp_path / "again.mkv", first)
    write_video(tmp_path / "small.mp4", [frame[::2, ::2] for frame in first])
    write_video(tmp_path / "other.mp4", make_scene(1, 12, moves=1, height=96, width=128))
    rows = [row(tmp_path / name) for name in ("a.mp4", "other.mp4", "again.mkv", "small.mp4")]
    assert copies(rows, near=0.1) == [None, None, (0, "the same frames"), (0, "nearly the same frames")]
    assert copies(rows, near=-1) == [None, None, (0, "the same frames"), None]


def test_a_part_of_a_file_is_a_copy_of_the_same_frames(tmp_path, make_scene, write_video):
    path = write_video(tmp_path / "a.mp4", make_scene(0, 12, moves=1))
    one, same, other = (row(path, first=first, count=count) for first, count in ((2, 5), (2, 5), (2, 6)))
    assert one["checksum"] == same["checksum"] != other["checksum"]


def test_one_frame_has_a_hash_too(tmp_path, make_scene, write_video):
    assert len(row(write_video(tmp_path / "a.mp4", make_scene(0, 1)))["hash"]) == 192


def test_the_frame_that_differs_most_counts():
    hashes = np.zeros((2, 12), np.uint64)
    hashes[1, 4] = 0b111
    hashes[1, 0] = 0b1
    assert distances(hashes[0], hashes).tolist() == [0, 3]


def test_a_copy_of_a_copy_is_one_of_the_first():
    rows = [{"checksum": name, "hash": "00" * 96} for name in "abca"]
    assert copies(rows, near=0) == [None, *[(0, "nearly the same frames")] * 2, (0, "the same frames")]
    assert copies([], near=0) == []
