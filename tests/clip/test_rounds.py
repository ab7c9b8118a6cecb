"""Written and read again and again, a clip stays what it is: colours have no bias, enlargements are undone."""

from __future__ import annotations

from itertools import pairwise

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor

from videofusion.clip import read_clip, write_clip, write_frames
from videofusion.clip.writing import _EXACT as WRITTEN
from videofusion.errors import RunError
from videofusion.video.decode import open_video
from videofusion.video.frames import resize
from videofusion.video.upright import upright

SIDE = 32


def clips() -> dict[str, Tensor]:
    """Greys of all levels, smooth colours of all kinds, and bright ones."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(6, 3, 8, 8, generator=draw) * 2 - 1
    colours = torch.nn.functional.interpolate(coarse, (SIDE, SIDE), mode="bicubic").clamp(-1, 1)
    greys = torch.linspace(-1, 1, SIDE * SIDE).reshape(1, 1, SIDE, SIDE).expand(6, 3, SIDE, SIDE)
    return {"greys": greys, "colours": colours, "bright": 0.8 + 0.2 * colours.abs()}


@pytest.mark.parametrize("kind", ["greys", "colours", "bright"])
@pytest.mark.parametrize("scale", [1, 2, 8])
def test_six_rounds_move_no_colour(tmp_path, kind, scale):
    clip = now = clips()[kind]
    path = tmp_path / "a.mp4"
    for _ in range(6):
        write_clip(now, path, scale=scale)
        now = read_clip(path, size=(SIDE, SIDE))
    moved = (now - clip) * 127.5
    assert moved.mean((0, 2, 3)).abs().max() <= 0.5
    if scale == 8:  # what is left is the rounding of H.264's bytes, and its loss
        assert moved.abs().mean() <= 1.0


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("ending", ["mp4", "webp", "gif"])
def test_an_enlargement_is_undone(tmp_path, scale, ending):
    clip = clips()["greys"]
    path = tmp_path / f"a.{ending}"
    write_clip(clip, path, scale=scale)
    back = read_clip(path, size=(SIDE, SIDE))
    assert (back - clip).abs().max() * 127.5 <= (2.5 if ending == "mp4" else 0.51)


def test_resizing_arrays_undoes_an_enlargement_exactly():
    frames = torch.randint(256, (3, 16, 20, 3), dtype=torch.uint8)
    for times in (2, 3, 7):
        large = frames.repeat_interleave(times, 1).repeat_interleave(times, 2)
        assert torch.equal(resize(large, (16, 20)), frames)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", ["601", "709"])
@pytest.mark.parametrize("cover", [None, (12, 12), (21, 21), (64, 64)])
def test_reading_has_no_bias(full, matrix, cover):
    """At most 0.06 levels on average over colours, against the formulas of BT.601 and BT.709."""
    draw = np.random.default_rng(0)
    red, blue = (0.299, 0.114) if matrix == "601" else (0.2126, 0.0722)
    scale_y, scale_c, black = (1.0, 1.0, 0) if full else (255 / 219, 255 / 224, 16)
    errors = []
    for _ in range(400):
        y, u, v = int(draw.integers(70, 190)), *(int(each) for each in draw.integers(110, 147, 2))
        frame = av.VideoFrame(24, 24, "yuv420p")
        for plane, value in zip(frame.planes, (y, u, v), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        frame.colorspace, frame.color_range = (1 if matrix == "709" else 6), 2 if full else 1
        light, cb, cr = (y - black) * scale_y, (u - 128) * scale_c, (v - 128) * scale_c
        r, b = light + 2 * (1 - red) * cr, light + 2 * (1 - blue) * cb
        g = (light - red * r - blue * b) / (1 - red - blue)
        errors.append(upright(frame, VideoReformatter(), cover=cover).mean((0, 1)) - (r, g, b))
    assert np.abs(np.mean(errors, 0)).max() <= 0.06
    assert np.abs(errors).max() <= 0.75


def test_writing_has_no_bias():
    draw = np.random.default_rng(0)
    errors = []
    for _ in range(400):
        colour = draw.integers(20, 235, 3)
        frame = av.VideoFrame.from_ndarray(np.full((16, 16, 3), colour, np.uint8), format="rgb24")
        made = frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1, interpolation=int(WRITTEN))
        planes = made.to_ndarray().reshape(-1)
        light = colour @ (0.2126, 0.7152, 0.0722)
        u, v = ((colour[place] - light) / size * 224 / 255 + 128 for place, size in ((2, 1.8556), (0, 1.5748)))
        told = (16 + light * 219 / 255, u, v)
        errors.append([each.mean() for each in np.split(planes, [256, 320])] - np.array(told))
    assert np.abs(np.mean(errors, 0)).max() <= 0.06


@pytest.mark.parametrize("ending", ["gif", "webp"])
@pytest.mark.parametrize("fps", [8, 12.5, 30])
def test_equal_frames_keep_their_number_and_their_length(tmp_path, ending, fps):
    frame = torch.rand(1, 3, 10, 12) * 2 - 1
    for count in (1, 2, 20):
        path = tmp_path / f"{count}.{ending}"
        write_clip(frame.expand(count, 3, 10, 12), path, fps)
        video = open_video(path)
        assert len(video) == count
        assert video.seconds == pytest.approx(count / fps, abs=0.006)
    moving = torch.cat([frame, frame, -frame, -frame, -frame, frame])
    write_clip(moving, tmp_path / f"pause.{ending}", fps)
    back = read_clip(tmp_path / f"pause.{ending}")
    assert (back - moving).abs().max() < 0.06
    assert [bool((one == other).all()) for one, other in pairwise(back)] == [True, False, True, True, False]


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_a_single_pixel_that_changes_is_seen(tmp_path, ending):
    clip = torch.full((3, 3, 9, 11), -1.0)
    clip[1, :, 5, 7] = 1
    write_clip(clip, tmp_path / f"a.{ending}")
    assert torch.equal(read_clip(tmp_path / f"a.{ending}"), clip)


@pytest.mark.parametrize("ending", ["mp4", "gif", "webp"])
def test_frames_that_end_in_an_error_are_kept_once_there_are_new_ones(tmp_path, ending):
    def frames(count):
        for number in range(count):
            yield np.full((16, 16, 3), 20 * number, np.uint8)
        raise RuntimeError("out of memory\nand more")

    path = tmp_path / f"long.{ending}"
    with pytest.raises(RunError, match=r"^out of memory; the 5 frames before it are kept in .*long\.partial"):
        write_frames(frames(5), path, 8, count=9, given=3)
    assert not path.exists()
    assert len(open_video(tmp_path / f"long.partial.{ending}")) == 5
    (tmp_path / f"long.partial.{ending}").unlink()
    with pytest.raises(RuntimeError):
        write_frames(frames(3), path, 8, count=9, given=3)
    assert list(tmp_path.iterdir()) == []
