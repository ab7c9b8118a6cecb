"""The rules by which clips are cut, the same for every source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from videofusion.data.batch import BadClip
from videofusion.data.clips import Clips
from videofusion.data.items import Item, Source
from videofusion.data.loader import Loader
from videofusion.data.sampler import ClipSampler, Draws, mirrored
from videofusion.errors import InputError
from videofusion.video.footage import Unreadable
from videofusion.video.stills import Rows

MIDDLE = Draws(0.5, 0.5, 0.5, 0.9, 0.5, 0.0)


class Film:
    """Frames in memory, that say their number and which half is the left one."""

    def __init__(self, count, fps=10):
        frames = np.zeros((count, 8, 8, 3), np.uint8)
        frames[..., 0] = np.arange(count)[:, None, None]
        frames[:, :, :4, 1] = 200
        self.rows = Rows(frames, fps)

    def open(self):
        return self.rows


def source(*items):
    return Source(root=Path("."), files=list(items), told="none")


def red(sample):
    return ((sample.clip[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()


def test_the_new_fps_is_what_the_window_shows():
    film = Film(100, fps=24).open()
    for stride in (1, 2, 4):
        numbers, rate = ClipSampler(frames=16, stride=stride).window(film, MIDDLE)
        shown = 15 / (film.times[numbers[-1]] - film.times[numbers[0]])
        assert rate == pytest.approx(shown)  # N frames of a window of L: N · FPS / L
        assert rate == 24 / stride
    numbers, rate = ClipSampler(frames=16, fps=8).window(film, MIDDLE)
    assert (rate, np.diff(numbers).tolist()) == (8, [3] * 15)


def test_rates_of_a_range_are_drawn_evenly_in_their_logarithm_and_fit():
    sampler = ClipSampler(frames=8, fps=(2, 8))
    film = Film(400).open()
    rates = [sampler.window(film, sampler.draws(index, 0, 0))[1] for index in range(200)]
    assert 2 <= min(rates) < 2.2 < 7.5 < max(rates) <= 8
    assert np.median(rates) == pytest.approx(4, rel=0.15)
    short = Film(20).open()  # 2 s: 8 frames need 3.5 per second
    rates = [sampler.window(short, sampler.draws(index, 0, 0))[1] for index in range(50)]
    assert 3.5 <= min(rates) < 4 < 7 < max(rates) <= 8
    with pytest.raises(Unreadable, match=r"too short: 0\.80 s, needed are more than 0\.88 s"):
        sampler.window(Film(8).open(), MIDDLE)


def test_frame_skip_is_drawn_among_those_that_fit():
    sampler = ClipSampler(frames=8, stride=(1, 4))
    film = Film(60).open()
    drawn = [sampler.window(film, sampler.draws(index, 0, 0)) for index in range(100)]
    assert {rate for _, rate in drawn} == {10.0, 2.5}
    assert all(np.diff(numbers).tolist() == [10 / rate] * 7 for numbers, rate in drawn)
    assert {sampler.window(Film(20).open(), sampler.draws(index, 0, 0))[1] for index in range(20)} == {10.0}
    with pytest.raises(Unreadable, match="needed are 8"):
        sampler.window(Film(7).open(), MIDDLE)


def test_clips_of_one_video_lie_in_its_parts():
    data = Clips(source(Item("a", Film(100)), Item("b", Film(100))), ClipSampler(frames=4, size=8, clips=4))
    assert len(data) == 8
    for epoch in range(10):
        starts = [red(data.sample(index, epoch))[0] for index in range(8)]
        middles = [(number + 0.5) * 97 / 4 for number in (0, 1, 2, 3)] * 2
        assert all(abs(start + 0.5 - middle) <= 97 / 8 + 0.5 for start, middle in zip(starts, middles, strict=True))
    assert [data.sample(index).name for index in (3, 4)] == ["a", "b"]


def test_flips_mirror_the_picture_and_the_words_together():
    item = Item("a", Film(9), ("A man on the left",), label="move_left", action="left")
    data = Clips(source(item), ClipSampler(frames=9, size=8, flip=True))
    seen = set()
    for epoch in range(30):
        sample = data.sample(0, epoch)
        left_is_green = bool(sample.clip[0, 1, 0, 0] > 0)
        seen.add((left_is_green, sample.caption, sample.label, sample.action))
    assert seen == {
        (True, "A man on the left", "move_left", "left"),
        (False, "A man on the right", "move_right", "right"),
    }
    still = Clips(source(item), ClipSampler(frames=9, size=8))
    assert {bool(still.sample(0, epoch).clip[0, 1, 0, 0] > 0) for epoch in range(30)} == {True}  # off by default


@pytest.mark.parametrize(
    ("said", "other"),
    [
        ("moving left and then right", "moving right and then left"),
        ("LEFT, Right; leftmost", "RIGHT, Left; rightmost"),
        ("a left-handed player, top-left", "a right-handed player, top-right"),
        ("bright light on a cleft, leftovers", "bright light on a cleft, leftovers"),
        ("turning clockwise", "turning counterclockwise"),
        ("turning counter-clockwise", "turning clockwise"),
        ("move_left_2", "move_right_2"),
        ("ein Hund", "ein Hund"),
    ],
)
def test_words_change_sides(said, other):
    assert mirrored(said) == other
    assert mirrored(mirrored(said)).replace("counterclock", "counter-clock") == said.replace(
        "counterclock", "counter-clock"
    )


def test_each_caption_is_drawn():
    data = Clips(source(Item("a", Film(9), ("one", "two", "three"))), ClipSampler(frames=2, size=8))
    assert {data.sample(0, epoch).caption for epoch in range(40)} == {"one", "two", "three"}


def test_batches_carry_rate_and_class_across_epochs_and_ranks():
    items = [Item(str(fps), Film(30, fps), label=f"class {fps}") for fps in (5, 10, 20)]
    data = Clips(source(*items), ClipSampler(frames=4, size=8, stride=(1, 2), crop="random", flip=True, clips=2))
    alone = [Loader(data, 4).batch(number) for number in range(3)]
    for batch in alone:
        assert batch.fps is not None
        assert all(float(rate) in (int(name), int(name) / 2) for rate, name in zip(batch.fps, batch.names, strict=True))
        assert batch.labels == [f"class {name}" for name in batch.names]
    for number, batch in enumerate(alone):
        ranks = [Loader(data, 2, rank=rank, world=2).batch(number) for rank in range(2)]
        assert torch.equal(torch.cat([each.clip for each in ranks]), batch.clip)
        assert torch.equal(torch.cat([each.fps for each in ranks]), batch.fps)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"fps": (8, 2)}, "fps is"), ({"stride": ()}, "stride is"), ({"clips": 0}, "clips is 0")],
)
def test_bad_settings_are_sentences(settings, named):
    with pytest.raises(InputError, match=named):
        ClipSampler(**settings)


def test_clips_begin_where_they_are_told_to():
    clips = source(Item("a", Film(40)))
    for asked, first in ((0, 0), (1.5, 15), (3.6, 36)):
        for keys in ({}, {"fps": 5}, {"stride": 2}):
            told = {"frames": 2, "size": 8, "start": asked, **keys}
            found = {tuple(red(Clips(clips, ClipSampler(**told)).sample(0, epoch, 3))) for epoch in range(4)}
            assert found == {(first, first + (2 if keys else 1))}
    with pytest.raises(BadClip, match="there is no frame from 9 to"):
        Clips(clips, ClipSampler(frames=2, size=8, start=9)).sample(0)
    with pytest.raises(BadClip, match="too short: 5 frames, needed are 6"):
        Clips(clips, ClipSampler(frames=6, size=8, start=3.5)).sample(0)
    with pytest.raises(InputError, match="start is -1; it must be at least 0 seconds"):
        ClipSampler(start=-1)


def test_a_caption_of_ones_own_takes_the_place_of_others():
    clips = Clips(
        source(Item("a", Film(4), ("a dog",)), Item("b", Film(4))),
        ClipSampler(frames=2, size=8),
        caption="a cat",
    )
    assert [clips.sample(index).caption for index in range(2)] == ["a cat", "a cat"]
    assert clips.captions == ["a cat"]
