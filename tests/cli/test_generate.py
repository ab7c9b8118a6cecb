"""`videofusion generate` with a pipeline that only notes what it is asked for."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from videofusion import models
from videofusion.cli import main
from videofusion.clip import read_clip, read_provenance
from videofusion.errors import InputError, RunError
from videofusion.files import write_whole
from videofusion.generation.keeping import read_kept
from videofusion.video.decode import open_video


def grey(seed: int) -> Tensor:
    """A clip of three greys, which depend on the seed."""
    return torch.tensor([-0.5, 0.0, seed / 20]).reshape(3, 1, 1, 1).expand(3, 3, 8, 8).clone()


class Pipe:
    """Makes grey clips, and keeps the calls."""

    config = SimpleNamespace(guidance=2.5, sampler="ddpm", frames=3)
    takes_fps = False

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, prompt: str, **settings: Any) -> Tensor:
        if settings["frames"] == 0:
            raise InputError("frames is 0; a clip must have at least 2")
        self.calls.append((prompt, settings))
        return grey(settings["seed"])

    def decode(self, latents: Tensor) -> Tensor:
        return latents


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Pipe:
    pipe = Pipe()
    monkeypatch.setattr(models, "load", lambda name, device, precision, low_memory: pipe)
    return pipe


def run(out: Path, *options: str) -> int:
    return main(["generate", "a red three", "-o", str(out), *options])


def test_lora_is_for_the_model_and_stands_in_the_file(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(models, "load", lambda name, **options: asked.update(options) or pipe)
    out = tmp_path / "a.mp4"
    assert run(out, "--lora", "runs/mine", "--lora-scale", "0.5", "--device", "cpu") == 0
    assert asked == {
        "lora": "runs/mine",
        "lora_scale": 0.5,
        "device": "cpu",
        "precision": "float32",
        "low_memory": False,
    }
    provenance = read_provenance(out)
    assert provenance is not None
    assert (provenance["lora"], provenance["lora_scale"]) == ("runs/mine", 0.5)


def test_writes_what_was_asked_for(pipe: Pipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "a.webp"
    assert (
        run(out, "--size", "16x8", "--frames", "3", "--seed", "5", "--motion", "0.5", "--scale", "1", "--gamma", "0.3")
        == 0
    )
    ((prompt, asked),) = pipe.calls
    assert prompt == "a red three"
    assert asked.pop("output") == "latent"
    del asked["progress"]
    assert asked == {
        "seed": 5,
        "motion_seed": None,
        "frames": 3,
        "height": 8,
        "width": 16,
        "steps": 20,
        "sampler": "ddpm",  # the model's own, as is the guidance
        "sampler_options": {"gamma": 0.3},
        "guidance": 2.5,
        "motion": 0.5,
        "fps": None,
    }
    assert torch.allclose(read_clip(out), grey(5), atol=0.01)
    assert read_provenance(out)["prompt"] == "a red three"
    assert str(out) in capsys.readouterr().out
    assert [file.name for file in out.parent.iterdir()] == ["a.webp"]


def test_count_numbers_the_files_and_moves_both_seeds(pipe: Pipe, tmp_path: Path) -> None:
    assert run(tmp_path / "a.gif", "--count", "10", "--seed", "3", "--motion-seed", "7", "--sheet") == 0
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == sorted(f"a-{number:02d}.{ending}" for number in range(1, 11) for ending in ("gif", "png"))
    seeds = [(asked["seed"], asked["motion_seed"]) for _, asked in pipe.calls]
    assert seeds == [(3 + number, 7 + number) for number in range(10)]


def test_small_clips_are_enlarged_by_default(pipe: Pipe, tmp_path: Path) -> None:
    assert run(tmp_path / "a.webp") == 0
    assert read_clip(tmp_path / "a.webp").shape[-2:] == (256, 256)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--count", "0"], "--count is 0"),
        (["--fps", "0"], "--fps is 0"),
        (["--fps", "nan"], "--fps is nan"),
        (["--scale", "0"], "--scale is 0"),
        (["--size", "8x"], '--size is "8x"'),
        (["--size", "-8"], '--size is "-8"'),
        (["--frames", "0"], "frames is 0"),
    ],
)
def test_bad_values_are_one_sentence_and_leave_nothing(
    options: list[str], sentence: str, pipe: Pipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "a.mp4", *options) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
    assert not pipe.calls


def test_a_file_of_prompts_makes_a_folder_with_the_options_as_defaults(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "red", "seed": 4}\n{"prompt": " "}\n{"prompt": "three", "id": "x"}\n')
    words = [
        "generate",
        "--prompts",
        str(tmp_path / "p.jsonl"),
        "-o",
        str(tmp_path / "out"),
        "--model",
        str(saved_model),
    ]
    words += ["--steps", "1", "--format", "webp", "--scale", "1", "--frames", "2", "--sheet", "--device", "cpu"]
    assert main(words) == 1
    captured = capsys.readouterr()
    assert captured.out == f"{tmp_path / 'out'}: 2 made, 1 failed\n"
    assert "row 2: prompt is ' '; it must have at least one word" in captured.err
    names = ["000001.png", "000001.webp", "results.jsonl", "x.png", "x.webp"]
    assert sorted(file.name for file in (tmp_path / "out").glob("[!.]*")) == names
    assert read_clip(tmp_path / "out" / "x.webp").shape == (2, 3, 8, 8)
    assert main(words) == 1
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 0 made, 2 made before, 1 failed\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "PROMPT is ''; it must have at least one word, or --prompts name a file of them"),
        (["red", "--prompts", "p.jsonl"], "PROMPT and --prompts are both given"),
        (["--prompts", "p.jsonl", "--count", "2"], "--count and --prompts are both given"),
        (["--prompts", "p.jsonl", "--batch", "0"], "--batch is 0"),
        (["--prompts", "p.jsonl", "--format", "avi"], '--format is "avi", but must be mp4, gif'),
        (["--prompts", "p.jsonl", "--size", "8x"], '--size is "8x"'),
        (["--prompts", "p.jsonl"], 'prompts "p.jsonl" cannot be read'),
        (["red", "--batch", "2"], "--batch is 2, but is for --prompts only"),
    ],
)
def test_prompt_and_prompts_do_not_mix(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", *words, "-o", str(tmp_path / "out.mp4")]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_output_is_checked_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(models, "load", lambda name, **options: pytest.fail("loaded"))
    assert run(tmp_path / "a.avi") == 2
    assert 'ends in ".avi"' in capsys.readouterr().err
    (tmp_path / "b-2.mp4").mkdir()
    assert run(tmp_path / "b.mp4", "--count", "2") == 2
    assert "is a folder" in capsys.readouterr().err


def test_what_exists_is_replaced_by_force_only(pipe: Pipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_text("mine")
    assert run(tmp_path / "a.mp4", "--sheet") == 2
    assert f'"{tmp_path / "a.png"}" exists; name another file, or add --force to replace it' in capsys.readouterr().err
    assert not pipe.calls
    assert (tmp_path / "a.png").read_text() == "mine"
    assert run(tmp_path / "a.mp4", "--sheet", "--force") == 0
    assert run(tmp_path / "a.mp4") == 2
    assert run(tmp_path / "a.mp4", "--force") == 0


def test_latents_that_cannot_be_decoded_are_kept(
    pipe: Pipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(latents: Tensor) -> Tensor:
        raise RuntimeError("not enough memory: you tried to allocate 9 GB\nmore lines")

    monkeypatch.setattr(pipe, "decode", fail)
    assert run(tmp_path / "a.mp4", "--seed", "5") == 1
    err = capsys.readouterr().err
    assert f"you tried to allocate 9 GB; they are kept in {tmp_path / 'a.safetensors'}" in err
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("latents"), grey(5))
    ((_, asked),) = pipe.calls
    assert asked["output"] == "latent"
    assert not (tmp_path / "a.mp4").exists()


def test_a_clip_that_cannot_be_written_is_kept(
    pipe: Pipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here, full = tmp_path / "here", tmp_path / "full"
    here.mkdir()
    monkeypatch.chdir(here)
    whole = write_whole

    def disk_is_full(path: str | Path, data: bytes) -> None:
        if Path(path).parent == full:
            raise RunError(f"{path}: {OSError(errno.ENOSPC, 'No space left on device')}")
        whole(path, data)

    monkeypatch.setattr("videofusion.generation.keeping.write_whole", disk_is_full)
    monkeypatch.setattr("videofusion.clip.writing.write_whole", disk_is_full)
    assert run(full / "a.mp4", "--seed", "5") == 1
    err = capsys.readouterr().err
    assert "No space left on device" in err
    assert str(here / "a.safetensors") in err
    with safe_open(here / "a.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("clip"), grey(5))
    kept = read_kept(here / "a.safetensors")
    assert (kept.name, kept.fps, kept.provenance["prompt"], kept.provenance["seed"]) == ("clip", 8.0, "a red three", 5)
    assert not list(full.iterdir())


def test_frames_per_second_are_the_files_and_told_to_models_that_hear_them(pipe: Pipe, tmp_path: Path) -> None:
    assert run(tmp_path / "a.mp4", "--fps", "12") == 0
    pipe.takes_fps = True
    assert run(tmp_path / "b.mp4", "--fps", "12") == run(tmp_path / "c.mp4") == 0
    assert [settings["fps"] for _, settings in pipe.calls] == [None, 12.0, None]
    assert [open_video(tmp_path / f"{name}.mp4").fps for name in "abc"] == [12, 12, 8]
