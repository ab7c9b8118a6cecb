"""Sheets: a row per clip, a column per frame, at the pixels where they should be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from videofusion.clip import contact_sheet, save_sheet, write_clip
from videofusion.errors import InputError


def numbered(clips, frames, size=8):
    """Each frame has a grey of its own."""
    greys = torch.arange(clips * frames, dtype=torch.float32).reshape(clips, frames, 1, 1, 1)
    return (greys / (clips * frames) * 1.8 - 0.9).expand(clips, frames, 3, size, size)


def greys(picture, size, columns):
    """The values in the middle of each cell."""
    at = [3 + (size + 3) * number + size // 2 for number in range(max(columns, picture.shape[0] // (size + 3)))]
    rows = at[: (picture.shape[0] - 3) // (size + 3)]
    return picture[np.ix_(rows, at[:columns])][..., 0]


def test_frames_lie_in_rows_and_columns():
    clips = numbered(3, 4)
    picture = contact_sheet(clips, scale=2)
    assert picture.dtype == np.uint8
    assert picture.shape == (3 + 3 * 19, 3 + 4 * 19, 3)
    expected = ((clips[:, :, 0, 0, 0] * 127.5) + 127.5).round().numpy()
    assert np.array_equal(greys(picture, 16, 4), expected)


def test_long_clips_show_their_first_and_last_frame():
    clips = numbered(1, 50)
    shown = greys(contact_sheet(clips, columns=6, scale=1), 8, 6)[0]
    every = ((clips[0, :, 0, 0, 0] * 127.5) + 127.5).round().numpy()
    assert (shown[0], shown[-1]) == (every[0], every[-1])
    assert np.all(np.diff(shown.astype(int)) > 0)


def test_small_frames_are_magnified():
    assert contact_sheet(numbered(1, 1)).shape == (3 + 67, 3 + 67, 3)
    assert contact_sheet(numbered(1, 1, 100)).shape == (106, 106, 3)


def test_captions_stand_above_and_break_into_lines():
    clips = numbered(2, 8)
    plain = contact_sheet(clips)
    short = contact_sheet(clips, ["one", "two"])
    long = contact_sheet(clips, ["one", "a caption of many words " * 8])
    assert plain.shape[1] == short.shape[1] == long.shape[1]
    assert plain.shape[0] < short.shape[0] < long.shape[0]
    assert (short[3:20] < 100).any()  # ink above the first row


def test_one_clip_as_png_shows_every_frame_in_reading_order(tmp_path):
    clip = numbered(1, 11)[0]
    write_clip(clip, tmp_path / "a.png", scale=2)
    picture = np.array(Image.open(tmp_path / "a.png"))
    shown = greys(picture, 16, 8)
    assert shown.shape == (2, 8)
    every = ((clip[:, 0, 0, 0] * 127.5) + 127.5).round().numpy()
    assert np.array_equal(shown.reshape(-1)[:11], every)
    assert np.all(shown.reshape(-1)[11:] == 255)


def test_saved_as_drawn(tmp_path):
    save_sheet(numbered(2, 3), tmp_path / "a.png", ["one", "two"])
    assert np.array_equal(np.array(Image.open(tmp_path / "a.png")), contact_sheet(numbered(2, 3), ["one", "two"]))


def test_bad_settings_are_sentences(tmp_path):
    clips = numbered(2, 3)
    for settings, named in (({"captions": ["one"]}, "1 for 2"), ({"columns": 0}, "columns"), ({"scale": 0}, "scale")):
        with pytest.raises(InputError, match=named):
            contact_sheet(clips, **settings)
    with pytest.raises(InputError, match="b t c h w"):
        contact_sheet(clips[0])
    with pytest.raises(InputError, match=r"\.png"):
        save_sheet(clips, tmp_path / "a.jpg")
