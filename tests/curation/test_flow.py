"""Optical flow against motions that are known."""

from __future__ import annotations

import pytest

from videofusion.curation.flow import Motion
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job

pytest.importorskip("cv2")


def motion(path, **part) -> float:
    return Motion().look(Job(Span(source="a", path=str(path), stamp="", **part), {}))["motion"]


def test_a_still_clip_has_none(tmp_path, make_scene, write_video):
    assert motion(write_video(tmp_path / "a.mp4", make_scene(0, 20))) < 0.05


@pytest.mark.parametrize("speed", [0.4, 1.0])
def test_it_is_the_speed_in_per_cent_of_the_shorter_side(tmp_path, make_scene, write_video, speed):
    path = write_video(tmp_path / "a.mp4", make_scene(0, 21, moves=speed, height=96, width=128))
    assert motion(path) == pytest.approx(100 * speed * 10 / 96, rel=0.25)  # 10 frames a second; edges see less


def test_the_rate_and_the_size_of_a_file_play_no_role(tmp_path, make_scene, write_video):
    slow = write_video(tmp_path / "a.mp4", make_scene(0, 21, moves=1, height=96, width=128), fps=10)
    fast = write_video(tmp_path / "b.mp4", make_scene(0, 41, moves=0.5, height=96, width=128), fps=20)
    big = [frame.repeat(2, 0).repeat(2, 1) for frame in make_scene(0, 21, moves=1, height=96, width=128)]
    large = write_video(tmp_path / "c.mp4", big)
    assert motion(fast) == pytest.approx(motion(slow), rel=0.1)
    assert motion(large) == pytest.approx(motion(slow), rel=0.1)


def test_of_a_span_only_its_frames_count(tmp_path, make_scene, write_video):
    path = write_video(tmp_path / "a.mp4", [*make_scene(0, 20), *make_scene(1, 20, moves=1)])
    assert motion(path, first=0, count=20) < 0.05 < 5 < motion(path, first=20, count=20)


def test_clips_of_few_frames(tmp_path, make_scene, write_video):
    path = write_video(tmp_path / "a.mp4", make_scene(0, 12, moves=1, height=96, width=128))
    assert motion(path, first=0, count=1) == 0
    assert motion(path, first=2, count=3) == pytest.approx(10.4, rel=0.25)  # 2 pixels in 0.2 s
    tiny = write_video(tmp_path / "b.mp4", [frame[:2, :2] for frame in make_scene(0, 12)])
    assert motion(tiny) >= 0
