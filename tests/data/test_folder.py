"""Clips from a folder: decided by their number, whatever is cached, and never from a broken file."""

from __future__ import annotations

import json
import pickle

import pytest
import torch

from videofusion.data.batch import BadClip, Dataset
from videofusion.data.folder import VideoFolder
from videofusion.errors import InputError

SOUND = {"a.mp4": 24, "b.mkv": 18, "c.gif": 12, "d.avi": 24, "e.webm": 9}


@pytest.fixture(scope="module")
def folder(video, tmp_path_factory):
    root = tmp_path_factory.mktemp("folder")
    for number, (name, count) in enumerate(SOUND.items()):
        video(root / name, count, height=40 + 8 * number, width=64 + 16 * number)
    (root / "metadata.jsonl").write_text(
        "".join(json.dumps({"file_name": name, "text": f"clip {name}"}) + "\n" for name in SOUND)
    )
    return root


@pytest.fixture
def broken(video, tmp_path):
    video(tmp_path / "good.mp4")
    data = video(tmp_path / "short.mkv").read_bytes()
    (tmp_path / "short.mkv").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.avi").touch()
    video(tmp_path / "brief.mp4", 3)
    return tmp_path


def frame_numbers(clip):
    """Which frames a clip holds, by the grey of its left part."""
    grey = (clip[:, :, :, : clip.shape[-1] // 4].mean((1, 2, 3)) + 1) * 127.5
    return ((grey - 5) / 10).round().int().tolist()


def test_is_a_dataset_of_clips(folder):
    data = VideoFolder(folder, frames=8, size=(24, 32))
    assert isinstance(data, Dataset)
    assert len(data) == 5
    for index, name in enumerate(SOUND):
        sample = data.sample(index, 0, 0)
        assert sample.clip.shape == (8, 3, 24, 32)
        assert sample.clip.dtype == torch.float32
        assert sample.clip.abs().max() <= 1
        assert (sample.name, sample.caption) == (name, f"clip {name}")
        numbers = frame_numbers(sample.clip)
        assert numbers == list(range(numbers[0], numbers[0] + 8))


@pytest.mark.parametrize("settings", [{}, {"fps": 5, "frames": 4}, {"stride": 2, "frames": 4}, {"crop": "random"}])
def test_a_clip_depends_on_its_numbers_only(folder, settings):
    settings = {"frames": 8, "size": 24, **settings}
    kept, read = VideoFolder(folder, **settings), VideoFolder(folder, cache_bytes=0, **settings)
    clips = [kept.sample(index, epoch, seed).clip for index in range(5) for epoch in range(3) for seed in range(2)]
    again = [read.sample(index, epoch, seed).clip for index in range(5) for epoch in range(3) for seed in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(clips, again, strict=True))
    assert len({clip.numpy().tobytes() for clip in clips}) > 15  # and on each of them


def test_stride_and_rate(folder):
    numbers = frame_numbers(VideoFolder(folder, frames=4, size=24, stride=3).sample(0, 0, 0).clip)
    assert numbers == list(range(numbers[0], numbers[0] + 10, 3))
    numbers = frame_numbers(VideoFolder(folder, frames=4, size=24, fps=5).sample(0, 0, 0).clip)
    assert numbers == list(range(numbers[0], numbers[0] + 7, 2))


def test_memory_is_bounded(folder):
    data = VideoFolder(folder, frames=8, size=16, cache_bytes=8 * 24 * 16 * 16 * 3)
    for index in range(5):
        data.sample(index, 0, 0)
    assert 0 < data._cached_bytes <= data.cache_bytes
    assert sum(kept.numel() for kept in data._cache.values()) == data._cached_bytes


def test_broken_files_are_named_with_a_reason(broken):
    data = VideoFolder(broken, frames=8, size=16)
    reasons = {}
    for index in range(len(data)):
        for _ in range(2):  # the second answer comes from memory
            try:
                data.sample(index, 0, 0)
            except BadClip as bad:
                reasons.setdefault(bad.name, set()).add(bad.reason)
    assert {name: len(each) for name, each in reasons.items()} == dict.fromkeys(
        ["brief.mp4", "empty.avi", "short.mkv", "text.mp4"], 1
    )
    assert reasons["brief.mp4"] == {"too short: 3 frames, needed are 8"}


def test_damage_counts_where_a_clip_meets_it_whatever_is_cached(video, tmp_path):
    path = video(tmp_path / "a.avi")  # no seeking: all frames up to the window are decoded
    data = bytearray(path.read_bytes())
    middle = data.index(b"idx1") * 3 // 4
    data[middle : middle + 300] = b"\xa5" * 300
    path.write_bytes(data)
    outcomes = []
    for cache_bytes in (0, 2**29):
        folder = VideoFolder(tmp_path, frames=4, size=16, cache_bytes=cache_bytes)
        outcomes.append([])
        for epoch in range(20):
            try:
                outcomes[-1].append(folder.sample(0, epoch, 0).clip.numpy().tobytes())
            except BadClip as bad:
                outcomes[-1].append(bad.reason)
    assert outcomes[0] == outcomes[1]
    assert {type(outcome) for outcome in outcomes[0]} == {bytes, str}


def test_parts_share_no_file_and_leave_none_out(folder):
    train, val = (VideoFolder(folder, split=split, holdout=0.4) for split in ("train", "val"))
    assert len(val) == 2
    assert sorted(train.names + val.names) == sorted(SOUND)


def test_travels_to_another_process_without_its_pictures(folder):
    data = VideoFolder(folder, frames=8, size=24)
    before = data.sample(0, 0, 0).clip
    sent = pickle.dumps(data)
    assert len(sent) < 5000
    assert torch.equal(pickle.loads(sent).sample(0, 0, 0).clip, before)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"frames": 0}, "frames is 0"),
        ({"size": 0}, "size is 0"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": 5, "stride": 2}, "not both"),
        ({"stride": 0}, "stride is 0"),
        ({"crop": "left"}, "center, random"),
        ({"split": "dev"}, "all, train, val, test"),
        ({"holdout": 1}, "holdout is 1"),
    ],
)
def test_bad_settings_are_sentences(folder, settings, named):
    with pytest.raises(InputError, match=named):
        VideoFolder(folder, **settings)


def test_real_clips(shared_data):
    signs = VideoFolder(shared_data / "asl_gestures", frames=16, size=64, fps=10)
    assert len(signs) == 20
    assert "a person signing the word milk" in signs.captions
    for index in (0, 7, 19):
        clip = signs.sample(index, 0, 0).clip
        assert clip.shape == (16, 3, 64, 64)
        assert clip.std() > 0.1
        assert (clip[0] - clip[-1]).abs().mean() > 0.003  # it moves
    actions = VideoFolder(shared_data / "weizmann64", frames=16, size=64, stride=2)
    assert len(actions) == 36
    assert len(set(actions.captions)) == 4


def test_what_is_known_of_long_videos_stays_within_the_bound(monkeypatch):
    """A hundred videos of an hour each, of which the listings alone take 260 MB."""
    from dataclasses import dataclass
    from pathlib import Path

    import numpy as np

    from videofusion.data import clips
    from videofusion.data.clips import Clips
    from videofusion.data.items import Item, Source
    from videofusion.data.sampler import ClipSampler
    from videofusion.video.stills import Rows

    opened = []

    @dataclass(frozen=True)
    class Hour:
        number: int

        def open(self) -> Rows:
            opened.append(self.number)
            return Rows(np.broadcast_to(np.uint8(self.number), (108_000, 8, 8)), fps=30)

    source = Source(root=Path(), files=[Item(str(number), Hour(number)) for number in range(100)], told="none")
    for cache in (0, 32 * 2**20):
        data = Clips(source, ClipSampler(frames=2, size=8), cache_bytes=cache)
        first = [data.sample(number).clip for number in range(100)]
        held = sum(len(each) for each in data._videos.values()) * 24
        assert held <= max(cache / 4, clips._FEW_LISTINGS)
        assert len(data._videos) > 2
        again = [data.sample(number).clip for number in range(100)]
        assert all(bool((one == other).all()) for one, other in zip(first, again, strict=True))
    data = Clips(source, ClipSampler(frames=2, size=8), cache_bytes=2**30)
    opened.clear()
    for number in (3, 3, 4, 3):
        data.sample(number)
    assert opened == [3, 4]
