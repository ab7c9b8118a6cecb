"""Frames by number: the right ones out of every container, and none out of damage."""

from __future__ import annotations

import numpy as np
import pytest

from videofusion.video import decode as decoding
from videofusion.video.decode import Unreadable, decode, decode_all, open_video

ENDINGS = [".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".webp"]


@pytest.fixture(scope="module", params=ENDINGS)
def coded(request, video, tmp_path_factory):
    return video(tmp_path_factory.mktemp("coded") / f"a{request.param}")


def test_each_frame_alone_is_the_one_that_was_asked_for(coded, which):
    opened = open_video(coded)
    assert len(opened) == 24
    together = list(decode(opened, range(24)))
    assert [which(frame) for frame in together] == list(range(24))
    for number in range(24):
        (alone,) = decode(opened, [number])
        assert np.array_equal(alone, together[number])


def test_frames_come_in_order_and_as_often_as_asked_for(coded, which):
    assert [which(frame) for frame in decode(open_video(coded), [20, 3, 3, 11])] == [3, 3, 11, 20]


@pytest.mark.parametrize("step", [2, 3, 5])
def test_every_nth_frame_is_the_same_to_the_bit_as_with_all_between(coded, step):
    opened = open_video(coded)
    together = list(decode(opened, range(24)))
    for start in (0, 1, 9):
        some = range(start, 24, step)
        assert all(map(np.array_equal, decode(opened, some), (together[number] for number in some)))


def test_what_a_decoder_wrongly_skips_is_read_again_without_skipping(video, which, tmp_path, monkeypatch):
    opened = open_video(video(tmp_path / "a.mp4"))
    read, begun = decoding._frames, []

    def forgetful(opened, seek_to, wanted=None):
        begun.append(seek_to)
        frames = read(opened, seek_to, wanted)
        return (
            frames if wanted is None else (frame for frame in frames if which(frame.to_ndarray(format="rgb24")) != 14)
        )

    monkeypatch.setattr(decoding, "_frames", forgetful)
    assert [which(frame) for frame in decode(opened, [12, 14, 16])] == [12, 14, 16]
    assert len(begun) == 2


def test_length_and_rate(coded):
    opened = open_video(coded)
    assert opened.fps == pytest.approx(10, rel=0.01)
    assert opened.seconds == pytest.approx(2.4, rel=0.01)


def test_a_number_outside_is_refused(coded):
    with pytest.raises(IndexError):
        list(decode(open_video(coded), [24]))


@pytest.mark.parametrize("kept", [0.03, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_never_read_as_a_whole_one(coded, kept, tmp_path):
    data = coded.read_bytes()
    short = tmp_path / f"short{coded.suffix}"
    short.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(Unreadable) as caught:
        decode_all(open_video(short))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(6))
def test_flipped_bits_give_a_reason_or_as_many_frames_as_before(coded, seed, tmp_path):
    data = bytearray(coded.read_bytes())
    generator = np.random.default_rng(seed)
    for place in generator.integers(len(data) // 8, len(data), 30):
        data[place] ^= 1 << int(generator.integers(8))
    damaged = tmp_path / f"damaged{coded.suffix}"
    damaged.write_bytes(data)
    try:
        opened = open_video(damaged)
        count = sum(1 for _ in decode(opened, range(len(opened))))
    except Unreadable as error:
        reason = str(error)
    else:
        reason = "" if count == len(opened) else f"{count} frames without a reason\n"
    # Nothing but `Unreadable` has come out, and it is one line.
    assert "\n" not in reason


@pytest.mark.parametrize(("ending", "count"), [(".mp4", 4000), (".avi", 400)])
def test_damage_that_ffmpeg_would_paint_over_is_an_error(video, ending, count, tmp_path):
    path = video(tmp_path / f"a{ending}")
    data = bytearray(path.read_bytes())
    # of an mp4 several frames: what one of them holds depends on how the encoder's threads went
    data[len(data) // 3 : len(data) // 3 + count] = b"\xa5" * count
    path.write_bytes(data)
    opened = open_video(path)
    with pytest.raises(Unreadable, match="damaged"):
        decode_all(opened)


@pytest.mark.parametrize(
    "options", [{"x264-params": "open-gop=1:bframes=3"}, {"bf": "0"}, {"x264-params": "intra-refresh=1"}]
)
@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_seeking_into_difficult_streams(video, which, options, ending, tmp_path):
    opened = open_video(video(tmp_path / f"a{ending}", options=options))
    for number in (0, 5, 7, 8, 9, 15, 16, 17, 23):
        assert [which(frame) for frame in decode(opened, [number])] == [number]


def test_uneven_frame_times_are_kept(video, which, tmp_path):
    stamps = [0, 40, 80, 500, 540, 1300, 1310, 2000]
    opened = open_video(video(tmp_path / "a.mkv", 8, stamps=stamps))
    assert opened.times.tolist() == pytest.approx([stamp / 1000 for stamp in stamps])
    assert [which(frame) for frame in decode(opened, [3, 5])] == [3, 5]


# The display matrix of a track: what a phone writes that was held upright, or upside down.
ROTATIONS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


@pytest.mark.parametrize("clockwise", ROTATIONS)
def test_the_rotation_flag_is_obeyed(video, clockwise, tmp_path):
    path = video(tmp_path / "a.mp4", 3)
    (upright,) = decode(open_video(path), [1])
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # after version, times, id, duration, layer, volume
    a, b, c, d = ROTATIONS[clockwise]
    for place, value in ((0, a), (4, b), (12, c), (16, d)):
        data[matrix + place : matrix + place + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    (turned,) = decode(open_video(path), [1])
    assert np.array_equal(turned, np.rot90(upright, -clockwise // 90))


def test_what_is_no_video_is_named(tmp_path):
    text = tmp_path / "text.mp4"
    text.write_text("not a film\n" * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    picture = tmp_path / "text.webp"
    picture.write_text("not a film\n" * 100)
    for path, reason in (
        (text, "not a video"),
        (empty, "is empty"),
        (tmp_path / "none.mp4", "no such file"),
        (picture, "not a video"),
    ):
        with pytest.raises(Unreadable, match=reason):
            open_video(path)


def test_an_mp4_without_its_index_says_so(video, tmp_path):
    path = video(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes().replace(b"moov", b"xxxx"))
    with pytest.raises(Unreadable, match="index"):
        open_video(path)


def test_sound_alone_is_no_video(tmp_path):
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(Unreadable, match="no video stream"):
        open_video(path)


def test_a_still_animation_keeps_its_length(tmp_path):
    from PIL import Image

    frames = [Image.new("RGB", (16, 16), (9, 9, 9))] * 7 + [Image.new("RGB", (16, 16), (90, 9, 9))]
    for ending in (".gif", ".webp"):  # both writers merge equal frames into long ones
        path = tmp_path / f"still{ending}"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
        assert len(open_video(path)) == 8


def test_real_codecs_seek_to_the_frame(shared_data):
    for path in sorted((shared_data / "codecs").iterdir()):
        opened = open_video(path)
        numbers = sorted({0, 1, len(opened) // 3, len(opened) // 2, len(opened) - 1})
        wanted = [frame for number, frame in enumerate(decode(opened, range(len(opened)))) if number in numbers]
        for number, frame in zip(numbers, wanted, strict=True):
            assert np.array_equal(next(iter(decode(opened, [number]))), frame), (path.name, number)
