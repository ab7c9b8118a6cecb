"""`videofusion edit` with the model that ships, and its sentences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from videofusion.cli import main
from videofusion.clip import read_clip, read_provenance, write_clip

FEW = ["--steps", "2"]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty frames of another size than the model's."""
    path = tmp_path_factory.mktemp("made") / "video.mp4"
    ramp = torch.linspace(-1, 1, 96).expand(20, 3, 96, 96)
    write_clip(ramp, path, 10.0, {}, scale=1)
    return path


def test_a_video_is_edited_and_says_how(video: Path, capsys: pytest.CaptureFixture) -> None:
    out = video.with_name("edited.mp4")
    command = ["edit", str(video), "a blue seven", "-o", str(out), "--strength", "0.5", "--seed", "3", "--sheet"]
    assert main([*command, *FEW]) == 0
    assert "(16 of 20 frames, seed 3" in capsys.readouterr().out
    told = read_provenance(out)
    assert told is not None
    assert (told["prompt"], told["method"], told["strength"], told["edited"]) == (
        "a blue seven",
        "sdedit",
        0.5,
        "video.mp4",
    )
    assert len(read_clip(out)) == 16
    assert out.with_suffix(".png").is_file()
    assert main([*command, *FEW]) == 2
    assert "exists; name another file, or add --force" in capsys.readouterr().err


def test_what_is_black_in_the_mask_is_kept(video: Path) -> None:
    mask, out = video.with_name("mask.png"), video.with_name("masked.webp")
    white = np.zeros((96, 96), np.uint8)
    white[30:60, 30:60] = 255
    Image.fromarray(white).save(mask)
    command = ["edit", str(video), "a red three", "-o", str(out), "--mask", str(mask), "--scale", "1", *FEW]
    assert main([*command, "--method", "sdedit", "--strength", "1"]) == 0
    before, after = read_clip(video, frames=16, size=(32, 32)), read_clip(out)
    assert (after - before)[..., :9, :].abs().max() <= 1.01 / 127.5  # as bytes
    assert (after - before)[..., 10:20, 10:20].abs().max() > 0.1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--method", "vari"], 'method "vari" is unknown (did you mean "vary"?)'),
        (["--strength", "1.5"], "--strength is 1.5; it must be above 0 and at most 1"),
        (["--frames", "20"], "this model edits at most 16 at once"),
        (["--start", "9"], "has 0 frames from 9 s on; at least 2 are edited"),
        (["--start", "9", "--frames", "8"], "too short"),
        (["--mask", "nothing.png"], 'the mask "nothing.png" cannot be read'),
        (["--sampler", "euler"], "sampler is 'euler'"),
        (["--weight", "nan"], "--weight is nan; it is of what a mask keeps"),
    ],
)
def test_refusals(video: Path, options: list[str], says: str, capsys: pytest.CaptureFixture) -> None:
    out = video.with_name("refused.mp4")
    assert main(["edit", str(video), "a red three", "-o", str(out), *options, *FEW]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in said
    assert not out.exists()


def test_a_mask_of_another_size_is_named(video: Path, capsys: pytest.CaptureFixture) -> None:
    mask = video.with_name("small.png")
    Image.fromarray(np.zeros((48, 96), np.uint8)).save(mask)
    out = video.with_name("refused.mp4")
    assert main(["edit", str(video), "a red three", "-o", str(out), "--mask", str(mask), *FEW]) == 2
    assert f'mask "{mask}" is 96x48; it must be of the size of "{video}", 96x96' in capsys.readouterr().err
    Image.fromarray(np.zeros((96, 96), np.uint8)).save(mask)
    assert main(["edit", str(video), "a red three", "-o", str(out), "--mask", str(mask), *FEW]) == 2
    assert f'mask "{mask}" is black everywhere; what is white in it is edited' in capsys.readouterr().err
