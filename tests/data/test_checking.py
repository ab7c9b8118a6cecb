"""A folder's bad files, each with its reason, and what else is in it."""

from __future__ import annotations

import pytest

from videofusion.data.checking import check_folder
from videofusion.data.folder import VideoFolder
from videofusion.data.loader import Loader
from videofusion.data.statistics import folder_report
from videofusion.errors import InputError


@pytest.fixture
def mixed(video, tmp_path):
    video(tmp_path / "good.mp4")
    video(tmp_path / "sub" / "good.webm", 12, height=32, width=32)
    data = video(tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    data = bytearray(video(tmp_path / "flipped.mp4").read_bytes())
    data[len(data) // 3 : len(data) // 3 + 200] = b"\xa5" * 200
    (tmp_path / "flipped.mp4").write_bytes(data)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.gif").touch()
    video(tmp_path / "brief.mkv", 3)
    video(tmp_path / "silent.mp4")
    rows = ["good.mp4", "sub/good.webm", "cut.mp4", "flipped.mp4", "text.mp4", "empty.gif", "brief.mkv", "gone.mp4"]
    (tmp_path / "metadata.csv").write_text("file_name,text\n" + "".join(f"{name},a clip of {name}\n" for name in rows))
    return tmp_path


REASONS = {
    "brief.mkv": "too short",
    "cut.mp4": "truncated",
    "empty.gif": "empty",
    "flipped.mp4": "damaged",
    "gone.mp4": "no such file",
    "silent.mp4": "no caption",
    "text.mp4": "not a video",
}


def test_each_bad_file_has_one_line_with_its_reason(mixed):
    seen = []
    found = check_folder(mixed, frames=8, progress=lambda done, total: seen.append((done, total)))
    assert [name for name, _ in found] == sorted(REASONS)
    for name, reason in found:
        assert REASONS[name] in reason
        assert "\n" not in reason
    assert seen == [(number, 8) for number in range(1, 9)]


def test_training_leaves_out_what_the_check_finds(mixed):
    loader = Loader(VideoFolder(mixed, frames=8, size=16), 4)
    for number in range(8):
        loader.batch(number)
    assert set(loader.report) <= set(REASONS)
    # A damaged video may be good where the clip lies; all else is bad for good.
    assert set(REASONS) - set(loader.report) <= {"flipped.mp4"}


def test_a_good_folder_has_nothing_to_say(video, tmp_path):
    video(tmp_path / "a" / "1.mp4")
    video(tmp_path / "b" / "1.webp")
    assert check_folder(tmp_path) == []


def test_too_short_is_up_to_the_caller(video, tmp_path):
    video(tmp_path / "a.mp4", 5)
    assert check_folder(tmp_path, frames=5) == []
    assert len(check_folder(tmp_path, frames=6)) == 1
    with pytest.raises(InputError, match="frames is 0"):
        check_folder(tmp_path, frames=0)


def test_the_report_counts(mixed):
    text = folder_report(mixed)
    assert "8 videos" in text
    assert "1  32x32" in text
    assert "4  h264" in text
    assert "1  vp9" in text
    assert "from metadata.csv" in text
    assert "gone.mp4: there is no such file" in text
    lines = text.splitlines()
    assert "3 to 24 frames, median 24" in lines[1]


def test_real_folders_are_good(shared_data):
    assert check_folder(shared_data / "weizmann64", frames=16) == []
    assert "20  640x480" in folder_report(shared_data / "asl_gestures")
