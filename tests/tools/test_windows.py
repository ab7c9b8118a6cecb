"""Windows of videos: the frames and pixels that they say, and those where something moves."""

import numpy as np
import pytest
import torch

from tools.windows import STRIDES, Crop, Windows, read_videos
from videofusion.digits.clip_files import write_folder
from videofusion.errors import InputError


def numbered(frames=40, height=24, width=32):
    """A video whose values say the frame."""
    return np.broadcast_to(np.arange(frames, dtype=np.uint8)[:, None, None, None], (frames, height, width, 3))


def ramp(frames=9, height=24, width=32):
    """A video whose values grow to the right."""
    return np.broadcast_to(np.arange(width, dtype=np.uint8)[:, None] * 4, (frames, height, width, 3))


def test_frames_are_a_stride_apart():
    windows, random = Windows([[numbered()], [numbered(70)]], 8, 16), np.random.default_rng(0)
    for _ in range(20):
        clip, stride = windows.window(random, 8)
        assert stride in STRIDES
        assert (np.diff(clip[:, 0, 0, 0].astype(int)) == stride).all()
        assert len(clip) == 8


def test_a_crop_lies_within_the_frame_where_something_moves():
    video = np.zeros((16, 96, 96, 3), np.uint8)
    video[8:, 70:, 70:] = 255
    windows, random = Windows([[video]], 16, 32), np.random.default_rng(0)
    crops = [windows.crop(video, random, pan=0.5) for _ in range(60)]
    for crop in crops:
        for time in (0, 15):
            corner = [crop.top + time * crop.shift[0], crop.left + time * crop.shift[1]]
            assert min(corner) >= -1e-6
            assert max(corner) + crop.side <= 96 + 1e-6
    moves = np.mean([windows.cut(video, crop).amax().item() > 0 for crop in crops])
    assert moves > 0.6  # of crops at random, about a third
    assert any(crop.shift != (0.0, 0.0) for crop in crops)
    assert any(crop.shift == (0.0, 0.0) for crop in crops)


def test_pixels_are_those_of_the_crop_and_of_the_camera():
    windows = Windows([[ramp()]], 9, 8)
    still = windows.cut(ramp(), Crop(4, 8, 16))
    assert still.shape == (9, 3, 8, 8)
    # Eight pixels of two each, from column 8 on; column n has the value 4 n.
    assert torch.allclose(still[0, 0, 0, 1:-1], (4 * (8.5 + 2 * torch.arange(1, 7))) / 127.5 - 1, atol=1e-5)
    moving = windows.cut(ramp(), Crop(4, 8, 16, (0.0, 0.5)))
    assert torch.allclose(moving[0, 0, 0, 1:-1], still[0, 0, 0, 1:-1], atol=1e-5)
    assert torch.allclose(moving[8, 0, 0] - moving[0, 0, 0], torch.full((8,), 4 * 0.5 * 8 / 127.5), atol=1e-5)


def test_seeds_decide():
    windows = Windows([[numbered()]], 8, 16)
    assert torch.equal(windows.clips(3, 8, seed=1), windows.clips(3, 8, seed=1))
    assert not torch.equal(windows.clips(3, 8, seed=1), windows.clips(3, 8, seed=2))


def test_a_folder_and_a_file_of_it(tmp_path):
    write_folder(tmp_path / "a", 2, seed=1, size=32, frames=9)
    videos = read_videos(tmp_path / "a")
    assert [video.shape for video in videos] == [(9, 32, 32, 3)] * 2
    file = min((tmp_path / "a").rglob("*.mp4"))
    assert np.array_equal(read_videos(file)[0], videos[0])
    (tmp_path / "broken.mp4").write_bytes(b"none")
    with pytest.raises(InputError, match=r"broken\.mp4.* cannot be read"):
        read_videos(tmp_path / "broken.mp4")
    with pytest.raises(InputError, match=r"have \[40, 9\] frames, but each needs one of 16 or more"):
        Windows([[numbered()], videos], 16, 16)
