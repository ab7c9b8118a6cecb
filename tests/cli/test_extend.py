"""`videofusion extend` with the model that ships, and its sentences."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videofusion.cli import main
from videofusion.clip import read_clip, read_provenance, write_clip

FEW = ["--steps", "1"]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "three.mp4"
    assert main(["generate", "a red three moving left", "-o", str(path), "--seed", "5", *FEW]) == 0
    return path


def test_a_generated_video_goes_on_with_its_own_prompt_and_seed(three: Path, capsys: pytest.CaptureFixture) -> None:
    out = three.with_name("long.mp4")
    assert main(["extend", str(three), "-o", str(out), "--frames", "20", "--sheet", *FEW]) == 0
    assert "16 frames given, 20 in all" in capsys.readouterr().out
    told = read_provenance(out)
    assert told is not None
    assert (told["prompt"], told["seed"], told["model"]) == ("a red three moving left", 5, "moving-digits")
    assert told["extended_from"] == 16
    assert out.with_suffix(".png").is_file()
    before, after = read_clip(three), read_clip(out)
    assert len(after) == 20
    assert (after[:16] - before).abs().mean() < 0.03  # through H.264 once more


def test_a_video_does_not_replace_what_it_goes_on_from(three: Path, capsys: pytest.CaptureFixture) -> None:
    before = three.read_bytes()
    assert main(["extend", str(three), "-o", str(three), "--frames", "20", *FEW]) == 2
    assert "exists; name another file, or add --force" in capsys.readouterr().err
    assert three.read_bytes() == before


def test_any_other_video_needs_a_prompt(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    video, out = tmp_path / "any.mp4", tmp_path / "out.mp4"
    write_clip(torch.linspace(-1, 1, 12).reshape(12, 1, 1, 1).expand(12, 3, 48, 64), video, 8.0, {})
    assert main(["extend", str(video), "-o", str(out), "--frames", "14", *FEW]) == 2
    assert "prompt is not given" in capsys.readouterr().err
    assert main(["extend", str(video), "-o", str(out), "--frames", "14", "--prompt", "a red three", *FEW]) == 0
    assert read_clip(out).shape[0] == 14


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--frames", "16"], "frames is 16; the clip has 16, it must be more"),
        (["--frames", "20", "--overlap", "4"], "the variant 'image-first'"),
        (["--frames", "20", "--fps", "0"], "--fps is 0, but must be above 0"),
        (["--frames", "20", "--scale", "99"], "--scale is 99, but must be from 1 to 64"),
        (["--frames", "20", "--model", "nothing"], "nothing"),
        (["--frames", "20", "--sampler", "euler"], "sampler is 'euler'"),
        (["--frames", "20", "--sampler", "heun", "--eta", "1"], "the sampler 'heun' does not read; ddim would"),
        (["--frames", "20", "--spacing", "even"], "spacing is 'even'"),
    ],
)
def test_refusals(three: Path, options: list[str], says: str, capsys: pytest.CaptureFixture) -> None:
    out = three.with_name("refused.mp4")
    assert main(["extend", str(three), "-o", str(out), *options]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]  # what stands before it is the bar's
    assert said.startswith("videofusion: ")
    assert says in said
    assert not out.exists()


def test_a_video_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    video = tmp_path / "no.mp4"
    for make in (lambda: None, lambda: video.write_text("words")):
        make()
        assert main(["extend", str(video), "-o", str(tmp_path / "out.mp4"), "--frames", "20"]) == 2
        assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("key", ["model", "lora"])
@pytest.mark.parametrize("value", ["PLACE", ["PLACE"], {"a": 1}, 3, "\x1b[2J\x1b]0;x\x07", "moving-digits/../x"])
def test_a_folder_that_a_file_names_is_not_believed(
    key: str, value: object, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    video, out = tmp_path / "any.mp4", tmp_path / "out.mp4"
    (tmp_path / "evil").mkdir()
    told = str(tmp_path / "evil") if value == "PLACE" else value
    clip = torch.linspace(-1, 1, 12).reshape(12, 1, 1, 1).expand(12, 3, 32, 32)
    write_clip(clip, video, 8.0, {"prompt": "a red three", key: told})
    assert main(["extend", str(video), "-o", str(out), "--frames", "14", *FEW]) == 2
    said = capsys.readouterr().err
    assert f"name it with --{key}" in said
    assert not set("\x1b\x07") & set(said)
    assert not out.exists()


def test_what_is_no_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    for name, reason in (("pipe.mp4", "a named pipe"), ("zero.mp4", "a device")):
        assert main(["extend", str(tmp_path / name), "-o", str(tmp_path / "out.mp4"), "--frames", "20"]) == 2
        assert f"it is {reason}, not a regular file" in capsys.readouterr().err
