"""`videofusion evaluate` and `results`, from folders to a record; what they refuse is a sentence and leaves nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from videofusion.cli import main
from videofusion.digits.clip_files import write_folder
from videofusion.errors import RunError
from videofusion.evaluation import measure
from videofusion.evaluation.choose_clips import generated_clips, real_clips
from videofusion.evaluation.clip_sets import FolderClips
from videofusion.evaluation.extractors import load_extractor, video
from videofusion.evaluation.extractors.i3d import I3D
from videofusion.evaluation.metrics.frechet import feature_distance
from videofusion.evaluation.metrics.kernel import polynomial_mmd
from videofusion.evaluation.metrics.over_time import flicker
from videofusion.evaluation.metrics.reconstruction import psnr
from videofusion.evaluation.protocol_table import find_preset
from videofusion.evaluation.resize import squared
from videofusion.video.decode import VideoFile

COUNT = 8
DIGITS = ("--protocol", "digits", "--count", str(COUNT), "--allow-few", "--replicates", "3", "--device", "cpu")
PAIRED = ("--protocol", "paired", "--size", "32", "--allow-few", "--replicates", "3")
I3D_OPTIONS = ("--protocol", "tats", "--count", "2", "--allow-few", "--replicates", "2", "--device", "cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Generated and real clips of 16 frames of 32x32."""
    root = tmp_path_factory.mktemp("clips")
    for name, seed in (("made", 1), ("real", 2)):
        write_folder(root / name, COUNT, seed=seed, split="test")
    return root / "made", root / "real"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same of 128x128, two of each."""
    root = tmp_path_factory.mktemp("large")
    for name, seed in (("made", 1), ("real", 2)):
        write_folder(root / name, 2, seed=seed, size=128, split="test")
    return root / "made", root / "real"


@pytest.fixture(scope="module")
def i3d_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """I3D with random weights that keep numbers at one scale."""
    random = torch.Generator().manual_seed(0)
    weights = I3D().state_dict()
    for value in weights.values():
        if value.ndim > 1:
            value.copy_(torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5)
    path = tmp_path_factory.mktemp("weights") / "i3d.safetensors"
    save_file(weights, path)
    return path


def evaluate(folders: tuple[Path, Path], *options: str) -> int:
    return main(["evaluate", str(folders[0]), str(folders[1]), *options])


def test_digits_from_folders_to_a_record_and_a_joined_table(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(folders, *DIGITS, "-o", str(tmp_path / "a.json")) == 0
    out = capsys.readouterr().out
    assert "not comparable with published numbers" in out
    assert "unreliable: under 256 clips" in out
    assert "| quality " in out
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]  # and no state
    record = json.loads((tmp_path / "a.json").read_text())
    assert set(record["metrics"]) == {
        "quality",
        "consistency",
        "kernel",
        "precision",
        "recall",
        "density",
        "coverage",
    }
    assert record["real"]["used"] == record["generated"]["used"] == COUNT
    low, high = record["metrics"]["quality"]["interval"]
    assert low < record["metrics"]["quality"]["value"] < high

    assert evaluate(folders, *DIGITS, "-o", str(tmp_path / "b.json")) == 0
    again = json.loads((tmp_path / "b.json").read_text())
    assert again == record
    capsys.readouterr()
    assert main(["results", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 0
    assert capsys.readouterr().out.count(".json") == 2

    record["protocol"]["count"] = 9
    (tmp_path / "b.json").write_text(json.dumps(record))
    assert main(["results", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "cannot share a table: count of digits is 9" in capsys.readouterr().err


def test_embedded_takes_any_clips_and_stands_beside_no_other(
    folders: tuple[Path, Path], large: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--count", "2", "--allow-few", "--replicates", "2", "--device", "cpu", "--metrics", "quality")
    embedded = ("--protocol", "embedded", *options)
    assert evaluate(large, *embedded, "motion", "embedded-drift", "-o", str(tmp_path / "a.json")) == 0
    assert "not comparable with published numbers" in capsys.readouterr().out
    record = json.loads((tmp_path / "a.json").read_text())
    assert set(record["metrics"]) == {"quality", "motion", "embedded-drift"}
    assert record["protocol"]["size"] == 64
    assert evaluate(large, "--protocol", "digits", *options, "-o", str(tmp_path / "b.json")) == 0
    assert "not comparable with published numbers" in capsys.readouterr().out
    assert main(["results", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "they are of the protocols digits and embedded" in capsys.readouterr().err
    # What `embedded` was when its network knew moving digits only: another size and other weights.
    old = json.loads((tmp_path / "a.json").read_text())
    old["extractors"]["embedded"]["sha256"] = "0" * 64
    (tmp_path / "b.json").write_text(json.dumps(old))
    assert main(["results", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert "the weights of embedded have other checksums" in capsys.readouterr().err
    assert evaluate(folders, *embedded) == 2
    assert "is 32x32, but embedded compares clips of 64x64" in capsys.readouterr().err


def test_the_same_command_goes_on_where_it_was_stopped(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = (*DIGITS, "--batch", "2", "-o", str(tmp_path / "a.json"))
    monkeypatch.setattr(measure, "_SAVE_SECONDS", 0.0)
    whole, read, asked = FolderClips.clip, [], COUNT + 3

    def clip(self: FolderClips, number: int) -> torch.Tensor:
        if len(read) == asked:
            raise RunError("the machine went away")
        read.append(number)
        return whole(self, number)

    monkeypatch.setattr(FolderClips, "clip", clip)
    assert evaluate(folders, *options) == 1
    assert [file.suffix for file in tmp_path.iterdir()] == [".state"]
    read.clear()
    assert evaluate(folders, *options) == 0
    assert read == list(range(2, COUNT))
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
    record = json.loads((tmp_path / "a.json").read_text())
    asked = 99
    assert evaluate(folders, *options) == 2
    assert evaluate(folders, *options, "--force") == 0
    assert json.loads((tmp_path / "a.json").read_text()) == record


def i3d_record(large: tuple[Path, Path], weights: Path, out: Path, *options: str) -> dict:
    assert evaluate(large, *I3D_OPTIONS, "--weights", str(weights), "-o", str(out), *options) == 0
    return json.loads(out.read_text())


def test_i3d_on_small_frames(
    large: tuple[Path, Path], i3d_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "I3D_SIZE", 32)  # the whole path but for the pixels
    record = i3d_record(large, i3d_file, tmp_path / "a.json")
    extractor = load_extractor("i3d", i3d_file, device="cpu")
    preset = find_preset("tats").changed(count=2)
    real, made = (
        extractor.features(torch.stack([clips.clip(0), clips.clip(1)])).double().numpy()
        for clips in (real_clips(large[1], preset), generated_clips(large[0], preset))
    )
    assert np.ptp(real, axis=0).max() > 1e-3
    metrics = record["metrics"]
    assert metrics["fvd"]["value"] == pytest.approx(feature_distance(real, made, allow_few=True), rel=1e-4)
    assert metrics["kvd"]["value"] == pytest.approx(polynomial_mmd(real, made), rel=1e-3)
    assert set(metrics) == {"fvd", "kvd"}
    assert len(record["extractors"]["i3d"]["sha256"]) == 64
    only = i3d_record(large, i3d_file, tmp_path / "b.json", "--metrics", "kvd")
    assert only["metrics"] == {"kvd": record["metrics"]["kvd"]}


@pytest.mark.slow
def test_i3d(large: tuple[Path, Path], i3d_file: Path, tmp_path: Path) -> None:
    assert i3d_record(large, i3d_file, tmp_path / "a.json")["metrics"]["fvd"]["value"] > 0


def refused(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert main(["evaluate", *words, "-o", str(tmp_path / "a.json")]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--protocol", "fvd"), 'protocol is "fvd"; it must be one of tats'),
        (("--count", "1"), "count is 1"),
        (DIGITS[:4], "over 8 samples, but under 256 it is unreliable"),
        ((), "i3d takes weights, which are not given: --weights FILE names i3d_pretrained_400.pt"),
        (
            ("--protocol", "videofusion-ucf101", "--weights", "i3d=x.pt"),
            "c3d-ucf101 takes weights, which are not given: --weights c3d-ucf101=FILE names C3D's weights for UCF101",
        ),
        (
            ("--protocol", "videofusion-ucf101", "--weights", "i3d=x.pt", "c3d-ucf101=y.pt"),
            'weights of i3d are "x.pt", which is not there',
        ),
        (
            ("--protocol", "videofusion-ucf101", "--metrics", "is"),
            "c3d-ucf101 takes weights, which are not given: --weights FILE names C3D's weights for UCF101",
        ),
        (("--protocol", "videofusion-ucf101", "--weights", "x.pt"), "NAME=..., once each, with the names i3d, c3d"),
        (("--protocol", "embedded", "--weights", "x.pt"), "takes no file"),
        (("--metrics", "is"), "the protocol tats measures fvd, kvd"),
        ((*DIGITS, "--count", "9"), "gives 8, but digits takes 9"),
        (("--protocol", "digits"), "gives 8, but digits takes 512"),
        ((*DIGITS, "--layout", "frames"), "contains no picture"),
    ],
)
def test_options_that_are_refused(
    options: tuple[str, ...],
    sentence: str,
    folders: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused([*map(str, folders), *options], sentence, capsys, tmp_path)


def test_a_wrong_weights_file_is_refused(
    folders: tuple[Path, Path], i3d_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*map(str, folders), *I3D_OPTIONS, "--weights"]
    refused([*words, str(i3d_file), "--sha256", "0" * 64], f"not {'0' * 64}", capsys, tmp_path)
    weights = load_file(i3d_file)
    weights["logits.bias"] = weights["logits.bias"][:300].clone()
    save_file(weights, tmp_path / "w.safetensors")
    refused([*words, str(tmp_path / "w.safetensors")], "has the shape (300,), but must have (400,)", capsys, tmp_path)


def test_clips_that_are_refused(
    folders: tuple[Path, Path], large: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, real = map(str, folders)
    refused([made, made, *DIGITS], "generated and real clips share files", capsys, tmp_path)
    write_folder(tmp_path / "short", COUNT, seed=3, frames=9)
    refused([str(tmp_path / "short"), real, *DIGITS], "has 9 frames, digits takes 16", capsys, tmp_path)
    refused([made, str(tmp_path / "short"), *DIGITS], "none in", capsys, tmp_path)
    write_folder(tmp_path / "mixed" / "one", COUNT, seed=3)
    write_folder(tmp_path / "mixed" / "two", 1, seed=3, size=64)
    refused([str(tmp_path / "mixed"), real, *DIGITS], "are of 2 sizes", capsys, tmp_path)
    refused([made, str(tmp_path / "mixed"), *DIGITS], "--mixed-sizes allows it", capsys, tmp_path)


def test_any_protocol_measures_what_is_added(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*DIGITS, "-o", str(tmp_path / "a.json"), "--metrics", "flicker", "digits-drift", "quality"]
    assert evaluate(folders, *words) == 0
    assert "like real" in capsys.readouterr().out
    record = json.loads((tmp_path / "a.json").read_text())
    assert set(record["metrics"]) == {"flicker", "digits-drift", "quality"}
    assert {name: each["kind"] for name, each in record["added"].items()} == {
        "flicker": "flicker",
        "digits-drift": "content-drift",
    }
    drift = record["metrics"]["digits-drift"]
    assert len(drift["curve"]) == 15
    assert 0 < drift["interval"][0] < drift["value"] < drift["interval"][1]
    assert drift["of_real"] == pytest.approx(drift["value"], rel=0.5)
    preset = find_preset("digits").changed(count=COUNT)
    made = generated_clips(folders[0], preset)
    assert record["metrics"]["flicker"]["value"] == pytest.approx(
        np.mean([flicker(made.clip(i)[None]).item() for i in range(COUNT)])
    )


def test_pairs_by_the_names_of_files(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*PAIRED, "-o", str(tmp_path / "a.json")]
    assert evaluate(folders, *words, "--count", str(COUNT)) == 0
    assert "not comparable" not in capsys.readouterr().out
    record = json.loads((tmp_path / "a.json").read_text())
    wanted = [psnr(*pair, value_range=(-1, 1)).mean().item() for pair in pairs(folders)]
    assert record["metrics"]["psnr"]["value"] == pytest.approx(np.mean(wanted))
    assert set(record["metrics"]) == {"psnr", "ssim"}
    assert record["protocol"]["paired"]
    assert record["protocol"]["size"] == 32


def pairs(folders: tuple[Path, Path]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The clips of one name, as torch reads them."""
    for file in sorted(folders[0].rglob("*.mp4")):
        place = file.relative_to(folders[0])
        found = (VideoFile(root / place).open().decode(range(16)) for root in folders)
        made, real = (torch.stack([squared(frame, 32, "bicubic-antialias") for frame in frames]) for frames in found)
        yield made[None], real[None]


def test_pairs_that_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = map(str, folders)
    words = [made, real, *PAIRED, "--count", str(COUNT), "--metrics"]
    refused([*words, "lpips-alex"], "lpips-alex takes weights, which are not given: --weights FILE", capsys, tmp_path)
    refused([*words, "clip-similarity"], "clip takes weights, which are not given", capsys, tmp_path)
    refused([made, real, *DIGITS, "--metrics", "psnr"], "the protocol paired does not", capsys, tmp_path)
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pt")
    refused([*words, "lpips-vgg", "--weights", str(tmp_path / "w.pt")], "none of the networks", capsys, tmp_path)
    refused([made, made, *words[2:], "ssim"], "generated and real clips share files", capsys, tmp_path)
    refused([*words, "ssim", "--given", "16"], "given is 16; it must be 0 to 15, of 16 frames", capsys, tmp_path)
    refused([*words, "ssim", "--frames", "17"], "has 16 frames, paired takes 17", capsys, tmp_path)
    monkeypatch.setitem(sys.modules, "cv2", None)
    refused([*words, "warping-error"], "videofusion[flow]", capsys, tmp_path)
    file = min(folders[0].rglob("*.mp4"))
    alone = tmp_path / "alone" / "other.mp4"
    alone.parent.mkdir()
    for name in ("other.mp4", "more.mp4"):
        (alone.parent / name).write_bytes(file.read_bytes())
    refused([str(alone.parent), real, *PAIRED, "--count", "2"], "have no real clip of their name", capsys, tmp_path)


def test_frames_too_small_for_the_protocol(
    folders: tuple[Path, Path], i3d_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*map(str, folders), *I3D_OPTIONS, "--weights", str(i3d_file)]
    refused(words, "is 32x32, but tats compares clips of 128x128", capsys, tmp_path)
