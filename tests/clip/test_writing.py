"""What is written is what is read, and it says where it comes from."""

from __future__ import annotations

import av
import pytest
import torch

from videofusion.clip import read_clip, read_provenance, save_sheet, watchable_scale, write_clip
from videofusion.clip.writing import _durations
from videofusion.errors import InputError

PROVENANCE = {"model": "moving-digits", "prompt": 'eine "rote" Drei ☺\nlinks', "seed": 7, "motion": None}


def moving_square(frames=12, height=32, width=48):
    clip = torch.full((frames, 3, height, width), -0.9)
    for number in range(frames):
        clip[number, 0, 8:20, number : number + 12] = 0.95
        clip[number, 1, 12:16, number + 4 : number + 8] = 0.7
    clip[:, 2] += torch.linspace(0, 1, height)[:, None]
    return clip


def psnr(one, other):
    return float(10 * torch.log10(4 / (one - other).square().mean()))


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_images_keep_each_pixel(tmp_path, ending):
    clip = moving_square()
    write_clip(clip, tmp_path / f"a.{ending}", 8)
    back = read_clip(tmp_path / f"a.{ending}")
    assert back.shape == clip.shape
    assert (back - clip).abs().max() <= 1 / 255 + 1e-6


def test_mp4_is_close_and_closer_when_magnified(tmp_path):
    clip = moving_square()
    write_clip(clip, tmp_path / "a.mp4")
    plain = read_clip(tmp_path / "a.mp4")
    assert plain.shape == clip.shape
    write_clip(clip, tmp_path / "b.mp4", scale=4)
    magnified = read_clip(tmp_path / "b.mp4")
    assert magnified.shape == (12, 3, 128, 192)
    scores = psnr(plain, clip), psnr(magnified[:, :, 1::4, 1::4], clip)
    assert scores[0] > 24
    assert scores[1] > 36


def test_mp4_keeps_colours_where_they_are_even(tmp_path):
    """BT.709, and its range: what is wrong by a table shifts the primaries by tens."""
    colours = [(1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1), (0.6, -0.1, -0.7), (0, 0, 0)]
    clip = torch.tensor(colours, dtype=torch.float32)[:, :, None, None].expand(6, 3, 32, 32)
    write_clip(clip, tmp_path / "a.mp4")
    assert (read_clip(tmp_path / "a.mp4") - clip).abs().max() < 0.03


def test_mp4_plays_everywhere_and_from_its_first_byte(tmp_path):
    write_clip(moving_square(), tmp_path / "a.mp4", 12.5, PROVENANCE)
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == 12.5
        assert stream.frames == 12
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (3, 3, 7, 9), (2, 1, 5, 4), (300, 3, 8, 8)])
@pytest.mark.parametrize("ending", ["mp4", "gif", "webp", "png"])
def test_any_size_and_length(tmp_path, shape, ending):
    clip = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 2 - 1).expand(-1, 3, -1, -1)
    write_clip(clip[:, : shape[1]], tmp_path / f"a.{ending}", provenance=PROVENANCE)
    if ending != "png":
        even = 2 if ending == "mp4" else 1
        expected = (shape[0], 3, -(-shape[2] // even) * even, -(-shape[3] // even) * even)
        assert read_clip(tmp_path / f"a.{ending}").shape == expected


@pytest.mark.parametrize("ending", ["mp4", "gif", "webp", "png"])
def test_provenance_comes_back_from_each_container(tmp_path, ending):
    write_clip(moving_square(), tmp_path / f"a.{ending}", provenance=PROVENANCE)
    found = read_provenance(tmp_path / f"a.{ending}")
    assert {key: found[key] for key in PROVENANCE} == PROVENANCE
    assert "AI-generated" in found["statement"]
    assert found["software"].startswith("videofusion ")
    assert found["digital_source_type"].endswith("trainedAlgorithmicMedia")


@pytest.mark.parametrize("ending", ["mp4", "gif", "webp", "png"])
def test_real_clips_say_nothing(tmp_path, ending):
    write_clip(moving_square(), tmp_path / f"a.{ending}")
    assert read_provenance(tmp_path / f"a.{ending}") is None


def test_provenance_of_sheets_and_of_what_is_none(tmp_path):
    save_sheet(moving_square()[None], tmp_path / "a.png", provenance=PROVENANCE)
    assert read_provenance(tmp_path / "a.png")["seed"] == 7
    (tmp_path / "b.png").write_text("no picture")
    for name in ("b.png", "none.mp4"):
        with pytest.raises(InputError, match=name):
            read_provenance(tmp_path / name)
    with pytest.raises(InputError, match="JSON"):
        write_clip(moving_square(), tmp_path / "c.mp4", provenance={"seed": torch.zeros(1)})
    assert not (tmp_path / "c.mp4").exists()


@pytest.mark.parametrize("fps", [1, 7.5, 8, 12, 24, 30, 60])
@pytest.mark.parametrize("unit", [1, 10])
def test_rounding_keeps_the_pace(fps, unit):
    durations = _durations(50, fps, unit)
    assert abs(sum(durations) - 50_000 / fps) <= unit / 2
    assert all(duration % unit == 0 for duration in durations)
    assert max(durations) - min(durations) <= unit


def test_bad_settings_are_sentences(tmp_path):
    clip = moving_square()
    for settings, named in (({"fps": 0}, "fps is 0"), ({"fps": 1000}, "fps is 1000"), ({"scale": 0}, "scale is 0")):
        with pytest.raises(InputError, match=named):
            write_clip(clip, tmp_path / "a.mp4", **settings)
    with pytest.raises(InputError, match="t c h w"):
        write_clip(clip[None], tmp_path / "a.mp4")


def test_small_clips_become_watchable():
    assert [watchable_scale(*size) for size in ((32, 32), (64, 48), (200, 300), (720, 1280))] == [8, 5, 1, 1]
