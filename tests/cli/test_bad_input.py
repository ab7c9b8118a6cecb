"""Bad input through the whole command: one sentence on stderr, exit code 2, and nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from videofusion.cli import main
from videofusion.clip import read_provenance


def generate(model: Path, prompt: str, out: Path, *options: str) -> int:
    return main(
        ["generate", prompt, "--model", str(model), "-o", str(out), "--device", "cpu", "--steps", "2", *options]
    )


def test_a_prompt_becomes_a_file_and_unknown_words_are_named(
    saved_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(saved_model, "red zebra", tmp_path / "a.mp4", "--sheet") == 0
    err = capsys.readouterr().err
    assert "does not know 'zebra'; the words it knows are: red three" in err
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "a.png"]
    assert read_provenance(tmp_path / "a.mp4")["prompt"] == "red zebra"


def test_options_of_sampling_reach_the_clip_and_its_file(saved_model: Path, tmp_path: Path) -> None:
    assert generate(saved_model, "red", tmp_path / "a.mp4", "--sampler", "ddim") == 0
    assert generate(saved_model, "red", tmp_path / "b.mp4", "--sampler", "ddim", "--spacing", "flow", "--eta", "1") == 0
    told = read_provenance(tmp_path / "b.mp4")
    assert (told["spacing"], told["eta"]) == ("flow", 1.0)
    assert "spacing" not in read_provenance(tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() != (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize(
    ("prompt", "options", "sentence"),
    [
        ("", (), "it must have at least one word"),
        (" ", (), "it must have at least one word"),
        ("red " * 40, (), "PROMPT has 40 words; this model takes at most 32"),
        ("red", ("--frames", "0"), "frames is 0"),
        ("red", ("--frames", "1"), "frames is 1"),
        ("red", ("--size", "9"), "9"),
        ("red", ("--size", "0"), "0"),
        ("red", ("--sampler", "euler"), "euler"),
        ("red", ("--steps", "0"), "steps is 0"),
        ("red", ("--guidance", "-1"), "guidance is -1"),
        ("red", ("--motion", "0.5"), "motion is 0.5"),
        ("red", ("--device", "warp"), "warp"),
        ("red", ("--spacing", "even"), "spacing is 'even'; it must be one of trailing"),
        ("red", ("--spacing", "sd"), "spacing is 'sd', which is for schedules with training steps"),
        (
            "red",
            ("--sampler", "dpm++", "--eta", "0.5"),
            "eta is 0.5, which the sampler 'dpm++' does not read; ddim would",
        ),
        ("red", ("--sampler", "ddim", "--eta", "nan"), "eta is nan; it must be a number in [0, 1]"),
        ("red", ("--sampler", "heun", "--gamma", "0.3"), "does not read; ddpm and langevin would"),
        ("red", ("--sampler", "ddpm", "--gamma", "-1"), "gamma is -1.0"),
        ("red", ("--sampler", "ddpm", "--delta", "0.3"), "does not read; langevin would"),
        ("red", ("--sampler", "langevin", "--delta", "3"), "delta is 3.0"),
        ("red", ("--rescale", "1.5"), "rescale is 1.5"),
        ("red", ("--threshold", "-0.1"), "threshold is -0.1"),
    ],
)
def test_generate(
    prompt: str,
    options: tuple[str, ...],
    sentence: str,
    saved_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert generate(saved_model, prompt, tmp_path / "a.mp4", *options) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_train_on_a_folder_without_a_readable_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "text.mp4").write_text("no video at all")
    assert main(["train", "tiny", "--data", str(folder), "--run", str(tmp_path / "run"), "--device", "cpu"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("videofusion: ")
    assert "text.mp4: not a video" in last
    assert not (tmp_path / "run" / "model").exists()


def test_train_on_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "tiny", "--data", str(tmp_path / "none"), "--run", str(tmp_path / "run")]) == 2
    err = capsys.readouterr().err
    assert "none" in err
    assert err.count("\n") == 1
