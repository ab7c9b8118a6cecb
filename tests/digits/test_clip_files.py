from __future__ import annotations

import json
from pathlib import Path

import pytest

from videofusion.clip import read_clip
from videofusion.digits.clip_files import write_folder
from videofusion.digits.moving_digits import MovingDigits, render
from videofusion.errors import InputError


def test_folder_has_the_clips_and_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "digits"
    settings = {"frames": 4, "size": 32, "two_digits": 0.5}
    metadata = write_folder(folder, 2, **settings)
    first = (folder / "clip-000000.mp4").stat().st_mtime_ns
    write_folder(folder, 4, **settings)
    assert (folder / "clip-000000.mp4").stat().st_mtime_ns == first
    lines = [json.loads(line) for line in metadata.read_text().splitlines()]
    specs = MovingDigits(4, 32, two_digits=0.5).specs(range(4))
    assert [line["text"] for line in lines] == [spec.caption for spec in specs]
    assert [line["objects"][0]["digit"] for line in lines] == [spec.objects[0].digit for spec in specs]
    for line, spec in zip(lines, specs, strict=True):
        stored = read_clip(folder / line["file_name"])
        assert stored.shape == (4, 3, 32, 32)
        assert (stored - render([spec], 4, 32)[0]).abs().mean() < 0.15  # mp4 is lossy
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ["metadata.jsonl", "moving-digits.json", *(line["file_name"] for line in lines)]
    )


def test_folder_refuses_what_would_mix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="count is 0"):
        write_folder(tmp_path / "new", 0)
    assert not (tmp_path / "new").exists()
    write_folder(tmp_path / "ours", 2, frames=2)
    with pytest.raises(InputError, match="other settings"):
        write_folder(tmp_path / "ours", 2, frames=3)
    with pytest.raises(InputError, match="already holds more"):
        write_folder(tmp_path / "ours", 1, frames=2)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "metadata.jsonl").write_text("mine\n")
    with pytest.raises(InputError, match="other files"):
        write_folder(tmp_path / "theirs", 1)
    assert (tmp_path / "theirs" / "metadata.jsonl").read_text() == "mine\n"
    with pytest.raises(InputError, match="a file"):
        write_folder(tmp_path / "theirs" / "metadata.jsonl", 1)
    with pytest.raises(InputError, match="even"):
        write_folder(tmp_path / "odd", 1, size=33)


def test_a_stopped_call_goes_on(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(done: int, count: int) -> None:
        if done == 2:
            raise Stopped

    with pytest.raises(Stopped):
        write_folder(tmp_path, 3, frames=2, progress=stop)
    assert not (tmp_path / "metadata.jsonl").exists()
    write_folder(tmp_path, 3, frames=2)
    whole = tmp_path / "whole"
    write_folder(whole, 3, frames=2)
    for file in whole.iterdir():
        assert file.read_bytes() == (tmp_path / file.name).read_bytes()
