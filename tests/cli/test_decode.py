"""`videofusion decode`: what was kept becomes a video, and outputs are replaced with --force only."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import videofusion as vf
from videofusion.cli import main
from videofusion.clip import read_clip, read_provenance
from videofusion.generation.keeping import kept_bytes, read_kept
from videofusion.video.decode import open_video

SHADES = torch.linspace(-1, 1, 3).reshape(3, 1, 1, 1).expand(3, 3, 8, 8)


def test_latents_become_the_video_that_they_should_have_been(
    saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "red three", "--model", str(saved_model), "--steps", "2", "--fps", "12", "--device", "cpu"]
    assert main([*words, "-o", str(tmp_path / "whole.webp")]) == 0

    def fail(*_: object) -> None:
        raise RuntimeError("not enough memory")

    with monkeypatch.context() as broken:
        broken.setattr(vf.VideoPipeline, "decode", fail)
        assert main([*words, "-o", str(tmp_path / "late.webp")]) == 1
        kept = str(tmp_path / "late.safetensors")
        assert f"kept in {kept}, for `videofusion decode`" in capsys.readouterr().err
        decode = ["decode", kept, "-o", str(tmp_path / "late.webp"), "--model", str(saved_model), "--device", "cpu"]
        assert main(decode) == 1
        assert "could not be decoded: not enough memory" in capsys.readouterr().err
    assert main(decode[:4]) == 2  # a file may name any folder
    assert "name it with --model" in capsys.readouterr().err
    assert main(decode) == 0
    assert torch.equal(read_clip(tmp_path / "late.webp"), read_clip(tmp_path / "whole.webp"))
    assert open_video(tmp_path / "late.webp").fps == pytest.approx(12, rel=0.02)
    assert read_provenance(tmp_path / "late.webp")["prompt"] == "red three"
    assert main(decode) == 2
    assert "add --force to replace it" in capsys.readouterr().err
    assert main([*decode, "--force"]) == 0


def test_a_clip_needs_no_model(tmp_path: Path) -> None:
    file, out = tmp_path / "a.safetensors", tmp_path / "a.webp"
    file.write_bytes(kept_bytes("clip", SHADES, 5.0, {"prompt": "x", "model": "elsewhere", "seed": 3}))
    assert main(["decode", str(file), "-o", str(out), "--scale", "1", "--sheet"]) == 0
    assert (read_clip(out) - SHADES).abs().max() < 0.01
    assert out.with_suffix(".png").is_file()
    assert read_kept(file).provenance["seed"] == 3


@pytest.mark.parametrize("kind", ["missing", "text", "cut", "other", "shape", "notes"])
def test_a_file_that_is_nothing_that_was_kept(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.safetensors"
    whole = kept_bytes("clip", SHADES, 5.0, {})
    if kind == "text":
        file.write_text("no tensors")
    elif kind == "cut":
        file.write_bytes(whole[:-100])
    elif kind == "other":
        save_file({"weights": torch.zeros(2)}, file)
    elif kind == "shape":
        file.write_bytes(kept_bytes("latents", torch.zeros(3), 5.0, {}))
    elif kind == "notes":
        save_file({"clip": SHADES.contiguous()}, file, {"fps": "many", "provenance": "{"})
    assert main(["decode", str(file), "-o", str(tmp_path / "a.mp4")]) == 2
    err = capsys.readouterr().err
    assert str(file) in err
    assert err.count("\n") == 1
    assert not (tmp_path / "a.mp4").exists()
