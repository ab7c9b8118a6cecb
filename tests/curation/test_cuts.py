"""Cuts, dissolves and fades at known frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from videofusion.curation.cuts import Cuts, Uncut, clips_of
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job
from videofusion.errors import InputError
from videofusion.video.footage import Unreadable

pytest.importorskip("scenedetect")
pytest.importorskip("cv2")


def shots(path: Path, stage: Cuts | None = None) -> list[tuple[int, int]]:
    row = (stage or Cuts()).look(Job(Span(source="a", path=str(path), stamp=""), {}))
    return list(zip(row["begins"], row["ends"], strict=True))


def mixed(before: np.ndarray, after: np.ndarray, frames: int) -> list[np.ndarray]:
    shares = np.arange(1, frames + 1) / (frames + 1)
    return [((1 - share) * before + share * after).astype(np.uint8) for share in shares]


def test_cuts_are_found_to_the_frame(tmp_path, make_scene, write_video):
    frames = [frame for number, count in ((0, 30), (1, 25), (2, 40)) for frame in make_scene(number, count, moves=1)]
    assert shots(write_video(tmp_path / "a.mp4", frames)) == [(0, 30), (30, 55), (55, 95)]


def test_one_shot_that_moves_has_no_cut(tmp_path, make_scene, write_video):
    assert shots(write_video(tmp_path / "a.mp4", make_scene(0, 60, moves=2))) == [(0, 60)]


def test_a_dissolve_is_found_and_in_no_clip(tmp_path, make_scene, write_video):
    before, after = make_scene(0, 40), make_scene(1, 40)
    path = write_video(tmp_path / "a.mp4", [*before, *mixed(before[0], after[0], 10), *after])
    (first, second), (third, fourth) = shots(path)
    assert (first, fourth) == (0, 90)
    assert second <= 41  # a frame of it cannot be told from what it comes from
    assert third >= 49
    assert third - second < 22  # and not much more is lost
    # the file's own rate alone does not see it
    assert shots(path, Cuts(rates=())) == [(0, 90)]


def test_a_dissolve_between_cuts_is_found(tmp_path, make_scene, write_video):
    parts = [make_scene(number, 20) for number in range(6)]
    slow = mixed(parts[2][0], parts[3][0], 8)
    shown = [frame for part in (*parts[:3], slow, *parts[3:]) for frame in part]
    found = shots(write_video(tmp_path / "a.mp4", shown))
    assert [first for first, _ in found[:3]] == [0, 20, 40]
    assert [end for _, end in found[3:]] == [88, 108, 128]
    assert 50 < found[2][1] <= 61
    assert 67 <= found[3][0] < 78


def test_a_fade_through_black_is_found_and_black_is_in_no_clip(tmp_path, make_scene, write_video):
    before, after = make_scene(0, 40), make_scene(1, 40)
    black = np.zeros_like(before[0])
    fade = [*mixed(before[0], black, 6), *[black] * 8, *mixed(black, after[0], 6)]
    path = write_video(tmp_path / "a.mp4", [*[black] * 5, *before, *fade, *after, *[black] * 5])
    (first, second), (third, fourth) = shots(path)
    assert (first, fourth) == (5, 105)
    assert 40 <= second <= 51
    assert 59 <= third <= 70


def test_a_lamp_at_night_is_not_black(tmp_path, write_video):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[20:26, 30:36] = 200  # 1.2 % of the picture: its mean is 2
    assert shots(write_video(tmp_path / "a.mp4", [frame] * 20)) == [(0, 20)]


def test_only_black_is_no_clip(tmp_path, write_video):
    path = write_video(tmp_path / "a.mp4", [np.zeros((48, 64, 3), np.uint8)] * 20)
    with pytest.raises(Unreadable, match="nothing in it but black"):
        shots(path)


def test_a_span_of_a_file_is_cut_where_the_file_is(tmp_path, make_scene, write_video):
    path = write_video(tmp_path / "a.mp4", [*make_scene(0, 30), *make_scene(1, 30), *make_scene(2, 30)])
    video = Span(source="a", path=str(path), stamp="", start=1.0, end=5.0, captions=("said",))
    clips = clips_of(video, Cuts().look(Job(video, {})))
    assert [(clip.first, clip.count) for clip in clips] == [(10, 20), (30, 20)]
    assert [(clip.start, clip.end) for clip in clips] == [(1.0, 3.0), (3.0, 5.0)]
    assert [len(clip.open()) for clip in clips] == [20, 20]
    assert clips[0].captions == ("said",)
    (whole,) = clips_of(video, Uncut().look(Job(video, {})))
    assert (whole.first, whole.count) == (10, 40)


@pytest.mark.parametrize("setting", [{"rates": (0,)}, {"ratio": 0}, {"least": 300}, {"black": -1}, {"side": 1}])
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        Cuts(**setting).check()
