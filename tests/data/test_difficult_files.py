"""Files as cameras and downloads leave them: each frame is still the one that was asked for."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from videofusion.data.folder import VideoFolder
from videofusion.video.decode import Unreadable, decode, decode_all, open_video
from videofusion.video.footage import Excerpt


def with_sound(path, picture_of, count=24, sound_first=0.0, rate=10):
    """A video with a stereo sound track that begins earlier and ends later than the picture."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=rate, options={"bf": "2"})
        stream.height, stream.width, stream.pix_fmt, stream.gop_size = 48, 64, "yuv420p", 8
        sound = file.add_stream("aac", rate=16000, layout="stereo")
        for number in range(40):
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = 16000, number * 1024
            file.mux(sound.encode(frame))
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture_of(number), format="rgb24")
            frame.pts, frame.time_base = number + round(sound_first * rate), Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        file.mux(sound.encode(None))
    return path


def grey(number):
    return np.full((48, 64, 3), 5 + 10 * number, np.uint8)


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
@pytest.mark.parametrize("sound_first", [0.0, 0.7])
def test_sound_beside_the_picture_moves_no_frame(which, ending, sound_first, tmp_path):
    opened = open_video(with_sound(tmp_path / f"a{ending}", grey, sound_first=sound_first))
    assert len(opened) == 24
    assert opened.times[0] == 0
    assert opened.seconds == pytest.approx(2.4, abs=0.02)
    for number in (0, 7, 8, 9, 23):
        assert [which(frame) for frame in decode(opened, [number])] == [number]
    decode_all(opened)


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "3", "x264-params": "b-adapt=0"}])
def test_a_variable_rate_with_and_without_b_frames(video, which, ending, options, tmp_path):
    gaps = np.random.default_rng(1).integers(10, 400, 23)
    stamps = [0, *np.cumsum(gaps).tolist()]
    opened = open_video(video(tmp_path / f"a{ending}", 24, stamps=stamps, options=options))
    assert opened.times.tolist() == pytest.approx([stamp / 1000 for stamp in stamps], abs=0.001)
    for number in range(24):
        assert [which(frame) for frame in decode(opened, [number])] == [number]


def test_a_clip_of_a_variable_rate_shows_what_is_on_screen(video, tmp_path):
    video(tmp_path / "a.mkv", 8, stamps=[0, 100, 200, 300, 1000, 1100, 1200, 1300])
    clip = VideoFolder(tmp_path, frames=13, size=16, fps=10).sample(0).clip  # one window only, 1.2 of 1.5 s
    numbers = (((clip[:, :, :, :4].mean((1, 2, 3)) + 1) * 127.5 - 5) / 10).round().int().tolist()
    assert numbers in (
        [0, 1, 2, 3, 3, 3, 3, 3, 3, 3, 4, 5, 6],
        [1, 2, 3, 3, 3, 3, 3, 3, 3, 4, 5, 6, 7],
        [2, 3, 3, 3, 3, 3, 3, 3, 4, 5, 6, 7, 7],
    )


@pytest.mark.parametrize("size", [(37, 53), (1, 1), (3, 64), (48, 65)])
@pytest.mark.parametrize("ending", [".mkv", ".mp4"])
def test_odd_sizes(tmp_path, size, ending):
    path = tmp_path / f"a{ending}"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4" if ending == ".mp4" else "ffv1", rate=10)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p" if ending == ".mp4" else "bgr0"
        for number in range(4):
            picture = np.full((*size, 3), 40 * number, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        file.mux(stream.encode(None))
    frames = list(decode(open_video(path), range(4)))
    assert [frame.shape for frame in frames] == [(*size, 3)] * 4
    assert [round(float(frame.mean()) / 40) for frame in frames] == [0, 1, 2, 3]
    assert VideoFolder(tmp_path, frames=2, size=(24, 32)).sample(0).clip.shape == (2, 3, 24, 32)


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".webp"])
def test_a_single_frame_is_a_video_of_one(video, which, ending, tmp_path):
    opened = open_video(video(tmp_path / f"a{ending}", 1))
    assert len(opened) == 1
    assert opened.seconds > 0
    assert [which(frame) for frame in decode(opened, [0])] == [0]
    decode_all(opened)
    data = VideoFolder(tmp_path, frames=1, size=16)
    assert data.sample(0).clip.shape[0] == 1
    with pytest.raises(Exception, match="too short: 1 frames, needed are 2"):
        VideoFolder(tmp_path, frames=2, size=16).sample(0)


@pytest.mark.parametrize(
    ("true", "told"), [(".mp4", ".gif"), (".mp4", ".webp"), (".gif", ".mp4"), (".webp", ".avi"), (".webm", ".mov")]
)
def test_a_wrong_ending_changes_nothing(video, which, true, told, tmp_path):
    path = video(tmp_path / f"a{true}", 9)
    opened = open_video(path.rename(path.with_suffix(told)))
    assert len(opened) == 9
    assert [which(frame) for frame in decode(opened, [2, 8])] == [2, 8]
    decode_all(opened)


def test_a_title_that_is_no_text_is_no_damage(video, tmp_path):
    path = video(tmp_path / "a.mkv", 3)
    data = path.read_bytes()
    assert b"Lavf" in data
    path.write_bytes(data.replace(b"Lavf", b"\xff\xfe\xb2\xb3"))
    decode_all(open_video(path))


def test_only_an_index_that_is_cut_off_costs_no_frame(video, tmp_path):
    path = video(tmp_path / "a.mkv", 12)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex(b"\x1c\x53\xbb\x6b") + 9])  # in the middle of the cues
    opened = open_video(path)
    assert len(opened) == 12
    decode_all(opened)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".gif"])
def test_an_empty_file_is_named(ending, tmp_path):
    (tmp_path / f"a{ending}").touch()
    with pytest.raises(Unreadable, match="is empty"):
        open_video(tmp_path / f"a{ending}")


def test_a_part_by_time_is_its_frames(video, which, tmp_path):
    opened = open_video(video(tmp_path / "a.mp4", 24))
    part = Excerpt.between(opened, 0.8, 1.6)
    assert len(part) == 8
    assert part.seconds == pytest.approx(0.8)
    assert part.times[0] == 0
    assert [which(frame) for frame in part.decode([0, 3, 7])] == [8, 11, 15]
    with pytest.raises(Unreadable, match=r"no frame from 5 to 6 s; it has 2\.40 s"):
        Excerpt.between(opened, 5, 6)
