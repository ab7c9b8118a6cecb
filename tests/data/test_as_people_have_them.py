"""Files as people have them, after reports of other tools: cousins that are made here, and those of ../shared."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from videofusion.cli import main
from videofusion.clip import read_clip
from videofusion.data.statistics import folder_report
from videofusion.video.decode import Unreadable, decode_all, open_video
from videofusion.video.stills import Pictures

HEIGHT, WIDTH = 48, 64


def corners(number: int = 0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A grey that tells the number, with red, green and blue in three corners."""
    picture = np.full((height, width, 3), 20 + 8 * number, np.uint8)
    for (top, left), colour in {(0, 0): (220, 0, 0), (0, 1): (0, 200, 0), (1, 0): (0, 0, 240)}.items():
        picture[top * (height - 12) :][:12, left * (width - 12) :][:, :12] = colour
    return picture


def greys(frames) -> list[int]:
    return [round((float(frame[20:28, 20:28].mean()) - 20) / 8) for frame in frames]


def write(path: Path, pictures, codec="libx264", rate=10, stamps=None, aspect=None, setup=None, options=None, fmt=None):
    """A film; `stamps` in thousandths of a second."""
    with av.open(str(path.absolute()), "w", format=fmt) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = {"ffv1": "bgr0", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
        stream.options = options or {}
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if setup:
            setup(stream)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def remux(source: Path, target: Path, moved) -> Path:
    """Copy a film's packets; `moved` gives the decoding time of number n."""
    with av.open(str(source)) as read, av.open(str(target), "w") as file:
        stream = file.add_stream_from_template(read.streams.video[0])
        packets = [packet for packet in read.demux(video=0) if packet.size]
        for number, packet in enumerate(packets):
            packet.stream, packet.pts = stream, moved(number)
            packet.dts = packet.pts
            file.mux(packet)
    return target


def read(path: Path) -> list[np.ndarray]:
    video = open_video(path)
    frames = list(video.decode(range(len(video))))
    assert [frame.shape[:2] for frame in frames] == [(video.height, video.width)] * len(video)
    for number in (0, len(video) // 2, len(video) - 1):
        assert np.array_equal(next(iter(video.decode([number]))), frames[number])
    decode_all(video)
    return frames


MATRICES = {(a, b, c, d) for a in (-1, 0, 1) for b in (-1, 0, 1) for c in (-1, 0, 1) for d in (-1, 0, 1)}
MATRICES = sorted(each for each in MATRICES if abs(each[0] * each[3] - each[1] * each[2]) == 1 and 0 in each[:2])
MATRICES = [each for each in MATRICES if sum(map(abs, each)) == 2]


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("cover", [None, (24, 24)])
def test_all_eight_display_matrices(tmp_path, matrix, cover):
    a, b, c, d = matrix
    path = write(tmp_path / "a.mp4", [corners()] * 3)
    (plain,) = open_video(path).decode([1])
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    for offset, value in ((0, a), (4, b), (12, c), (16, d)):
        data[place + offset : place + offset + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    # Each pixel goes to (a x + c y, b x + d y), shifted into the picture.
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    across, down = a * columns + c * rows, b * columns + d * rows
    across, down = across - across.min(), down - down.min()
    expected = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    expected[down, across] = plain
    video = open_video(path)
    assert (video.height, video.width) == expected.shape[:2]
    (shown,) = video.decode([1], cover)
    if cover is None:
        assert np.array_equal(shown, expected)
    else:
        small = np.asarray(Image.fromarray(expected).resize(shown.shape[1::-1], Image.Resampling.BICUBIC), float)
        assert min(shown.shape[:2]) == 24
        assert np.abs(small - shown).mean() < 4
    assert len(MATRICES) == 8


def disc(height: int, width: int) -> np.ndarray:
    """Round where it is shown, whatever its pixels are."""
    rows, columns = np.mgrid[:height, :width]
    inside = ((rows + 0.5) / height - 0.5) ** 2 + (((columns + 0.5) / width - 0.5) * 4 / 3) ** 2 < 0.3**2
    return np.where(inside[..., None], 230, 20).astype(np.uint8).repeat(3, 2)


@pytest.mark.parametrize(
    ("size", "aspect"), [((96, 64), (2, 1)), ((48, 128), (1, 2)), ((72, 80), (6, 5)), ((96, 128), (1, 1))]
)
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_pixels_that_are_not_square(tmp_path, size, aspect, ending):
    path = write(tmp_path / f"a.{ending}", [disc(*size)] * 2, aspect=Fraction(*aspect))
    for frame in read(path):
        assert frame.shape[1] / frame.shape[0] == pytest.approx(4 / 3, abs=0.01)
        light = frame[..., 0] > 125
        assert light.any(0).sum() / light.any(1).sum() == pytest.approx(1, abs=0.08)


def test_a_pixel_aspect_that_would_take_all_memory_is_refused(tmp_path):
    path = write(tmp_path / "a.mkv", [np.zeros((2048, 2048, 3), np.uint8)], codec="mpeg4", aspect=Fraction(200, 1))
    with pytest.raises(Unreadable, match="at most"):
        open_video(path)


@pytest.mark.parametrize(("first", "ending"), [("mjpeg", "mkv"), ("png", "mov"), ("mjpeg", "avi")])
def test_a_track_of_pictures_before_the_film(tmp_path, first, ending):
    path = tmp_path / f"a.{ending}"
    with av.open(str(path), "w") as file:
        cover = file.add_stream(first, rate=1)
        film = file.add_stream("mpeg4", rate=10)
        cover.height, cover.width, cover.pix_fmt = 120, 120, "yuvj420p" if first == "mjpeg" else "rgb24"
        film.height, film.width, film.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.full((120, 120, 3), 250, np.uint8), format="rgb24")
        file.mux(cover.encode(picture))
        for number in range(10):
            file.mux(film.encode(av.VideoFrame.from_ndarray(corners(number), format="rgb24")))
        for stream in (cover, film):
            file.mux(stream.encode(None))
    assert greys(read(path)) == list(range(10))


def test_an_avi_with_b_frames_and_with_empty_chunks_is_whole(tmp_path):
    avi = write(tmp_path / "b.avi", [corners(number) for number in range(12)], options={"bf": "2"})
    assert greys(read(avi)) == list(range(12))
    assert open_video(avi).times == pytest.approx(np.arange(12) / 10, abs=0.03)
    plain = write(tmp_path / "c.avi", [corners(number) for number in range(8)], codec="mpeg4", options={"bf": "0"})
    gaps = [0, 1, 2, 6, 7, 12, 13, 14]
    holes = remux(plain, tmp_path / "d.avi", lambda number: gaps[number])
    assert greys(read(holes)) == list(range(8))
    assert open_video(holes).times == pytest.approx(np.array(gaps) / 10)
    cut = tmp_path / "e.avi"
    data = holes.read_bytes()
    cut.write_bytes(data[: data.rindex(b"idx1") - 300])
    with pytest.raises(Unreadable, match="truncated"):
        decode_all(open_video(cut))


@pytest.mark.parametrize("stamps", [[0, 100, 100, 200, 300, 300, 300, 400], [0, 0, 100, 200, 300, 400, 500, 500]])
def test_equal_time_stamps_lose_no_frame(tmp_path, stamps):
    film = write(tmp_path / "a.mkv", [corners(number) for number in range(8)], codec="ffv1")
    path = remux(film, tmp_path / "b.mkv", lambda number: stamps[number])
    assert greys(read(path)) == list(range(8))
    times = open_video(path).times
    assert (np.diff(times) > 0).all()
    told = (np.array(stamps) - stamps[0]) / 1000
    assert ((times - told) >= -1e-9).all()
    firsts = [told.tolist().index(stamp) for stamp in sorted(set(told.tolist()))]
    assert times[firsts] == pytest.approx(told[firsts])


def test_decoding_times_that_go_back_are_put_one_after_the_other():
    from videofusion.video.packets import Packet, timeline

    stamps = [0, 2, 1, 3, 0, 2, 1, 3]  # two parts, each with its own begin
    packets = [Packet(pts, number % 4, pts + 1, False, False, False) for number, pts in enumerate(stamps)]
    assert timeline(packets, 10.0, 0.1) == pytest.approx(np.arange(8) / 10)


def test_a_size_that_changes_on_the_way_loses_no_frame_in_silence(tmp_path):
    path, parts = tmp_path / "a.mkv", []
    for number, (height, width) in enumerate(((48, 64), (96, 128), (48, 64), (40, 64))):
        pictures = [corners(4 * number + each, height, width) for each in range(4)]
        parts.append(write(tmp_path / f"{number}.mkv", pictures, codec="libvpx-vp9"))
    with av.open(str(path), "w") as file:
        stream, begin = None, 0
        for part in parts:
            with av.open(str(part)) as source:
                stream = stream or file.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.stream = stream
                        packet.pts = packet.dts = begin
                        begin += 100
                        file.mux(packet)
    video = open_video(path)
    frames = list(video.decode(range(16)))
    assert [round((float(frame[20:28, 20:28].mean()) - 20) / 8) for frame in frames] == list(range(16))
    decode_all(video)
    assert read_clip(path, frames=12, size=(24, 32)).shape == (12, 3, 24, 32)
    with pytest.raises(ValueError, match="differ in size"):
        read_clip(path)


def test_counted_frames_whose_size_changes_are_named(tmp_path):
    film = write(tmp_path / "a.mkv", [corners(number) for number in range(6)], codec="mpeg2video", options={"bf": "0"})
    big = write(tmp_path / "b.mkv", [corners(number, 96, 128) for number in range(6)], codec="mpeg2video")
    path = tmp_path / "c.mkv"
    with av.open(str(path), "w") as file:
        stream, number = None, 0
        for part in (film, big):
            with av.open(str(part)) as source:
                stream = stream or file.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.stream = stream
                        packet.pts = packet.dts = 100 * max(1, number)  # two are equal
                        number += 1
                        file.mux(packet)
    with pytest.raises(Unreadable, match="size changes"):
        list(open_video(path).decode([9]))


@pytest.mark.parametrize(
    "delays", [[20, 30] * 10, [40, 100, 70, 30, 250, 60], [30, 60, 90, 120, 30, 60], [100] * 5, [70, 20, 110]]
)
@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_animations_have_their_own_times(tmp_path, delays, ending):
    pictures = [Image.fromarray(corners(number % 25)) for number in range(len(delays))]
    path = tmp_path / f"a.{ending}"
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=delays, lossless=True)
    video = open_video(path)
    assert len(video) == len(delays)
    assert video.times == pytest.approx(np.cumsum([0, *delays[:-1]]) / 1000)
    assert video.seconds == pytest.approx(sum(delays) / 1000, abs=1e-6)


def test_what_is_transparent_is_white_in_every_frame(tmp_path):
    """Whatever colour is stored there, and wherever the clip comes from."""
    draw = np.random.default_rng(0)
    pictures = []
    for number in range(4):
        rgba = np.concatenate([draw.integers(0, 256, (48, 64, 3)), np.zeros((48, 64, 1))], 2).astype(np.uint8)
        rgba[10:30, 10 + number : 30 + number] = (200, 30, 40, 255)
        pictures.append(Image.fromarray(rgba))
        (tmp_path / "clip").mkdir(exist_ok=True)
        pictures[-1].save(tmp_path / "clip" / f"{number}.png")
    pictures[0].save(tmp_path / "a.webp", save_all=True, append_images=pictures[1:], lossless=True, exact=True)
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], disposal=2, duration=100)
    with av.open(str(tmp_path / "a.mov"), "w") as file:
        stream = file.add_stream("png", rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "rgba"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format="rgba")))
        file.mux(stream.encode(None))
    sources = [open_video(tmp_path / name) for name in ("a.webp", "a.gif", "a.mov")]
    for source in (*sources, Pictures(tmp_path / "clip").open()):
        for number, frame in enumerate(source.decode(range(4))):
            assert (frame[40:] == 255).all()
            assert (frame[:, 50:] == 255).all()
            assert np.abs(frame[15:25, 12 + number : 25 + number].astype(int) - (200, 30, 40)).max() < 8


@pytest.mark.parametrize(
    "name", ["12:30.mp4", "100%03d.mp4", "http:/x.mp4", "file:a.mp4", "concat:a|b.mp4", "-a.mp4", "a?b#c.mp4"]
)
def test_a_colon_or_a_percent_sign_in_a_name_is_no_protocol(video, which, tmp_path, monkeypatch, name):
    made = video(tmp_path / "plain.mp4", 3)
    monkeypatch.chdir(tmp_path)
    place = Path(name)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(made, tmp_path / name)
    assert [which(frame) for frame in open_video(place).decode(range(3))] == [0, 1, 2]
    assert read_clip(place).shape[0] == 3
    from videofusion.clip import read_provenance

    assert read_provenance(place) is None


@pytest.mark.parametrize(
    ("ending", "codec", "fmt"),
    [
        (".ts", "mpeg2video", "mpegts"),
        (".m2ts", "libx264", "mpegts"),
        (".mpg", "mpeg2video", "mpeg"),
        (".vob", "mpeg2video", "vob"),
        (".wmv", "wmv2", "asf"),
        (".asf", "wmv2", "asf"),
        (".mov", "libx264", "mov"),
        (".m4v", "libx264", "mp4"),
        (".flv", "flv", "flv"),
        (".3gp", "libx264", "3gp"),
        (".ogv", "libvpx", "ogg"),
        (".mxf", "mpeg2video", "mxf"),
    ],
)
def test_other_endings_are_read(tmp_path, ending, codec, fmt):
    pictures = [corners(number) for number in range(8)]
    path = write(tmp_path / f"a{ending.upper()}", pictures, codec=codec, fmt=fmt, rate=25)
    assert greys(read(path)) == list(range(8))
    assert "1 videos" in folder_report(tmp_path)


def test_the_report_counts_what_it_passes_over(video, tmp_path, capsys):
    video(tmp_path / "a.mp4", 3)
    for name in ("b.psd", "c.psd", "song.mp3", "README", "a.txt"):
        (tmp_path / name).write_text("x")
    assert main(["data", "report", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "not read  4 files of other kinds: 2 .psd, 1 no ending, 1 .mp3" in said


def test_the_report_tells_interlaced_and_hdr_sources_and_shown_sizes(tmp_path):
    def hdr(stream):
        stream.codec_context.color_trc = 16

    def hlg(stream):
        stream.codec_context.color_trc = 18

    pictures = [corners(number) for number in range(3)]
    write(tmp_path / "pq.mp4", pictures, setup=hdr)
    write(tmp_path / "hlg.mkv", pictures, setup=hlg)
    write(tmp_path / "tff.mkv", pictures, options={"x264-params": "tff=1"})
    write(tmp_path / "plain.mp4", pictures, aspect=Fraction(2, 1))
    said = folder_report(tmp_path)
    for line in ("1  HDR (PQ)", "1  HDR (HLG)", "1  interlaced", "1  128x48", "3  64x48"):
        assert line in said, said


def test_the_reported_files(shared_data, tmp_path):
    """Each right value of ../shared/data/reports/README.md but the captions', which are tested with the listings."""
    place = shared_data / "reports"
    plain, mirrored, turned = (read(place / "matrix" / f"{name}.mp4") for name in ("plain", "hflip", "rot90"))
    assert all(np.array_equal(one[:, ::-1], other) for one, other in zip(plain, mirrored, strict=True))
    assert turned[0].shape == (96, 64, 3)
    said = folder_report(place / "matrix")
    assert "2  96x64" in said
    assert "1  64x96" in said
    for name in ("sar2", "ntsc", "square"):
        light = read(place / "pixel_aspect" / f"{name}.mp4")[0][..., 0] > 125
        assert light.any(0).sum() / light.any(1).sum() == pytest.approx(1, abs=0.03)
    with pytest.raises(Unreadable, match="no video in it, only a cover"):
        open_video(place / "streams" / "audio_with_cover.mp4")
    for name in ("cover_first.mp4", "second_default.mkv"):
        assert greys(read(place / "streams" / name)) == list(range(10))
    for name, count in (("copy_bf2.avi", 24), ("empty_chunks.avi", 10), ("dup.mkv", 8)):
        assert greys(read(place / "stamps" / name)) == list(range(count))
    assert open_video(place / "stamps" / "copy_bf2.avi").times == pytest.approx(np.arange(24) / 25)
    told = [0, 2, 4, 6, 12, 14, 16, 18, 24, 26]
    assert open_video(place / "stamps" / "empty_chunks.avi").times == pytest.approx(np.array(told) / 20)
    delays = open_video(place / "animation" / "delays_20_30.gif")
    assert len(delays) == 30
    assert np.diff(delays.times).round(3).tolist() == ([0.02, 0.03] * 15)[:29]
    # Where no frame has anything, all are alike.
    sources = [open_video(place / "animation" / name) for name in ("alpha_vp9.webm", "transparent_keep.gif")]
    sources.append(Pictures(place / "animation" / "frames" / "clip").open())
    for source in sources:
        frames = np.stack(list(source.decode(range(len(source)))))
        assert (frames.reshape(-1, 3) == 255).all(1).mean() > 0.4
        assert np.abs(np.diff(frames[:, :4, :4].astype(int), axis=0)).max() <= 1
    for path in sorted((place / "endings").iterdir()):
        assert len(read(path)) in (8, 20)
    assert "3 videos" in folder_report(place / "endings")
