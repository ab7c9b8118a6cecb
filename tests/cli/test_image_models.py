"""`videofusion generate`, `edit` and `train` with an image model of diffusers."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from videofusion.cli import main
from videofusion.clip import read_clip, read_provenance, write_clip
from videofusion.recipes.catalogue import get_recipe

sys.path.insert(0, str(Path(__file__).parents[1] / "interop"))
import tiny_folders as tiny

FEW = ["--steps", "2", "--frames", "3", "--device", "cpu"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image model, a ControlNet, a model that edits pictures, and a video."""
    place = tmp_path_factory.mktemp("models")
    tiny.save(tiny.sd_pipeline(), place / "sd")
    tiny.save(tiny.sd_pipeline(in_channels=8), place / "instruct")
    torch.manual_seed(4)
    net = diffusers.ControlNetModel.from_unet(
        tiny.unet(), conditioning_embedding_out_channels=(4, 8), load_weights_from_unet=False
    )
    tiny.stirred(net).save_pretrained(place / "net")
    ramp = torch.linspace(-1, 1, 32).expand(6, 3, 32, 32)
    write_clip(ramp, place / "video.mp4", 10.0, {}, scale=1)
    return place


@pytest.mark.parametrize("system", [None, "shared-noise"])
def test_an_image_model_makes_a_video(place: Path, system: str | None, capsys: pytest.CaptureFixture) -> None:
    out = place / f"{system}.mp4"
    own = [] if system is None else ["--system", system, "--share", "0.8"]
    command = ["generate", "a red cat", "--model", str(place / "sd"), "-o", str(out), "--negative", "grey", *own, *FEW]
    assert main(command) == 0
    told = capsys.readouterr().err
    assert ("clips are made by" in told) == (system is None)
    assert "Loading weights" not in told  # transformers' own bar
    made = read_provenance(out)
    assert made is not None
    assert (made["negative"], made.get("system"), made.get("share")) == ("grey", system, system and "0.8")
    assert len(read_clip(out)) == 3


def test_a_background_is_held_by_a_mask(place: Path) -> None:
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(place / "mask.png")
    out = place / "held.mp4"
    mask = ["--foreground", str(place / "mask.png")]
    assert main(["generate", "a red cat", "--model", str(place / "sd"), "-o", str(out), *mask, *FEW]) == 0
    assert out.is_file()


def test_a_structure_is_taken_over(place: Path) -> None:
    pytest.importorskip("cv2")
    net, video = ["--controlnet", str(place / "net")], str(place / "video.mp4")
    own = ["--system", "controlvideo", "--structure", video, "--structure-kind", "edges", "--control-scale", "0.5"]
    out = place / "structured.mp4"
    assert main(["generate", "a red cat", "--model", str(place / "sd"), "-o", str(out), *net, *own, *FEW]) == 0
    assert len(read_clip(out)) == 3
    for method, model in (("controlvideo", "sd"), ("text2video-zero", "sd")):
        out = place / f"{method}.mp4"
        named = ["--model", str(place / model), "--method", method, "-o", str(out)]
        assert main(["edit", video, "a red cat", *named, *net, *FEW]) == 0
        told = read_provenance(out)
        assert told is not None
        assert told["system"] == method


def test_rows_of_prompts_have_options_of_their_own(place: Path, capsys: pytest.CaptureFixture) -> None:
    pytest.importorskip("cv2")
    video, net = str(place / "video.mp4"), ["--controlnet", str(place / "net")]
    rows: list[dict[str, object]] = [
        {"prompt": "a red cat", "id": "cat"},
        {"prompt": "a red cat", "id": "not-grey", "negative": "grey"},
        {"prompt": "a red cat", "id": "maps", "structure_kind": "maps", "control_scale": 0.5, "window": 3},
        {"prompt": "a red cat", "id": "lost", "structure": "nowhere.mp4"},
        {"prompt": "a red cat", "id": "narrow", "window": 1},
        {"prompt": "a red cat", "id": "lines", "structure_kind": "lines"},
        {"prompt": "a red cat", "id": "shared", "share": 0.5},
    ]
    file, out = place / "rows.jsonl", place / "rows"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["generate", "--prompts", str(file), "-o", str(out), "--model", str(place / "sd"), *net]
    command += ["--system", "controlvideo", "--structure", video, "--format", "png", *FEW]
    assert main(command) == 1
    lines = {line["id"]: line for line in map(json.loads, (out / "results.jsonl").read_text().splitlines())}
    assert [name for name, line in lines.items() if line["state"] == "done"] == ["cat", "not-grey", "maps"]
    assert "nowhere.mp4" in lines["lost"]["reason"]
    assert "window is 1; it must be at least 3" in lines["narrow"]["reason"]
    assert "structure_kind is 'lines'; it must be one of edges" in lines["lines"]["reason"]
    assert "share is 0.5; only shared-noise" in lines["shared"]["reason"]
    told = read_provenance(out / "not-grey.png")
    assert told is not None
    assert (told["system"], told["controlnet"], told["negative"]) == ("controlvideo", net[1:], "grey")
    pictures = [(out / f"{name}.png").read_bytes() for name in ("cat", "not-grey", "maps")]
    assert len(set(pictures)) == 3

    single = ["generate", "a red cat", "--model", str(place / "sd"), *net, "--system", "controlvideo", *FEW]
    assert main([*single, "--structure", video, "--negative", "grey", "-o", str(out / "alone.png")]) == 0
    alone, row = (np.asarray(Image.open(out / f"{name}.png").convert("RGB"), int) for name in ("alone", "not-grey"))
    assert abs(alone - row).max() <= 1
    file.write_text(json.dumps(rows[0]))
    capsys.readouterr()
    assert main([*command, "--controlnet", str(place / "net"), str(place / "net")]) == 2  # not what made the first
    assert "is already made" in capsys.readouterr().err


@pytest.mark.parametrize(("system", "kind"), [("controlvideo", "pose"), ("text2video-zero", "depth")])
def test_depth_and_pose_are_seen_by_models_of_transformers(place: Path, system: str, kind: str) -> None:
    pytest.importorskip("cv2")
    told = {"size": {"height": 32, "width": 24}} if kind == "pose" else {}
    seer = tiny.save_seer(tiny.pose() if kind == "pose" else tiny.depth(), place / kind, **told)
    nets = ["--controlnet", str(place / "net"), "--structure", str(place / "video.mp4")]
    seen = ["--structure-kind", kind, "--structure-model", str(seer)]
    made = []
    for shown in (seen, ["--structure-kind", "maps"]):
        out = place / f"{system}-{len(shown)}.mp4"
        named = ["--model", str(place / "sd"), "--system", system, "-o", str(out)]
        assert main(["generate", "a red cat", *named, *nets, *shown, *FEW]) == 0
        made.append(read_clip(out))
    assert not torch.equal(*made)


def test_what_is_in_front_is_seen_by_a_model_of_transformers(place: Path) -> None:
    seer = tiny.save_seer(tiny.segmentation(), place / "segmentation")
    made = []
    for labels in (["cat"], ["background", "cat", "dog"]):
        out = place / f"{len(labels)}-in-front.mp4"
        named = ["--model", str(place / "sd"), "-o", str(out)]
        front = ["--foreground-model", str(seer), "--foreground-label", *labels]
        assert main(["generate", "a red cat", *named, *front, *FEW]) == 0
        made.append(read_clip(out))
    assert not torch.equal(*made)


def test_a_video_is_edited_by_an_instruction(place: Path) -> None:
    out = place / "instructed.mp4"
    named = ["--model", str(place / "instruct"), "--method", "text2video-zero", "-o", str(out)]
    assert main(["edit", str(place / "video.mp4"), "make it red", *named, *FEW]) == 0
    assert len(read_clip(out)) == 3


def test_videofusion_is_trained_on_it_without_another_key(place: Path) -> None:
    for number in range(3):
        clip = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(number)) * 2 - 1
        write_clip(clip, place / "clips" / f"{number}.mp4", 8.0, {}, scale=1)
    run = place / "run"
    few = ["--steps", "1", "--clips.frames", "4", "--batch.accumulation", "1", "--log.sample-interval", "0"]
    few += ["--batch.workers", "0", "--log.boards"]
    command = ["train", "videofusion", "--base", str(place / "sd"), "--data", str(place / "clips"), "--run", str(run)]
    assert main([*command, *few, "--device", "cpu"]) == 0
    recipe = get_recipe(str(run / "recipe.json"))
    assert (recipe.diffusion.schedule, recipe.diffusion.prediction) == ("scaled_linear", "eps")
    assert (recipe.clips.size, recipe.text.size, recipe.system.residual_channels) == (16, 32, (8, 16))
    out = place / "trained.mp4"
    made = ["generate", "a red cat", "--model", str(run), "-o", str(out), "--steps", "2", "--negative", "grey"]
    assert main([*made, "--device", "cpu"]) == 0
    assert len(read_clip(out)) == 4
    edited = ["edit", str(out), "a blue cat", "--model", str(run), "-o", str(place / "edited.mp4"), "--steps", "2"]
    assert main([*edited, "--device", "cpu"]) == 0
    assert len(read_clip(place / "edited.mp4")) == 4


def test_what_is_no_base_is_told(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    tiny.save(tiny.xl_pipeline(), tmp_path / "xl")
    for recipe, folder, says in (
        ("videofusion", place / "instruct", "takes image beside the latents"),
        ("vdm-folder64", tmp_path / "xl", "is of Stable Diffusion XL"),
    ):
        command = ["train", recipe, "--base", str(folder), "--data", "clips", "--run", str(tmp_path / "run")]
        assert main(command) == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--system", "gen-1"], 'system without training "gen-1" is unknown'),
        (["--structure", "video.mp4"], "--structure is given; the model has no ControlNet"),
        (["--structure-kind", "depth"], "--structure-model is not given"),
        (["--foreground-label", "cat"], "--foreground-label is given without --foreground-model"),
        (
            ["--foreground-model", "m", "--foreground", "f.png"],
            "foreground-model is given beside a foreground; give one",
        ),
        (["--structure-kind", "lines"], "--structure-kind is 'lines'; it must be one of edges"),
        (["--controlnet", "sd"], "has no config.json; expected was the folder of a ControlNetModel"),
        (["--share", "0.5"], "--share is 0.5; only shared-noise on an image model has that option"),
        (["--foreground", "nothing.png"], 'the foreground "nothing.png" cannot be read: there is no such file'),
        (["--low-memory"], "--low-memory is given, but"),
    ],
)
def test_what_cannot_be_is_told(
    place: Path, options: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(place)
    assert main(["generate", "a red cat", "--model", "./sd", "-o", "no.mp4", *options, *FEW]) == 2
    assert says in capsys.readouterr().err
    assert not Path("no.mp4").exists()


def test_a_name_on_the_hub_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import huggingface_hub

    def gone(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gone_missing)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", gone)
    assert main(["generate", "a red cat", "--model", "nobody/nothing", "-o", str(tmp_path / "no.mp4"), *FEW]) == 2
    assert "model nobody/nothing was not downloaded before" in capsys.readouterr().err


def gone_missing(*_: object, **__: object) -> str:
    raise FileNotFoundError


def test_a_model_is_tuned_on_a_video_and_edits_it_again_without(place: Path, capsys: pytest.CaptureFixture) -> None:
    video, run = str(place / "video.mp4"), place / "tuned"
    command = ["edit", video, "a red dog", "--method", "tune-a-video", "--steps", "2", "--device", "cpu"]
    base, tuned = ["--model", str(place / "sd")], ["--model", str(run)]
    for words, says in (
        ([*command, *base, "-o", "a.mp4"], "--run is not given"),
        ([*command, *base, "-o", "a.mp4", "--run", str(run)], "--source is not given"),
        ([*command[:-6], "-o", "a.mp4", "--run", str(run)], "nothing is to be tuned: method is 'sdedit'"),
    ):
        assert main(words) == 2
        assert says in capsys.readouterr().err
    assert not run.exists()
    own = ["--source", "a cat", "--run", str(run), "--tuning-steps", "2", "--frames", "3", "--start", "0.2"]
    assert main([*command, *base, *own, "-o", str(place / "first.mp4")]) == 0
    assert "comes back with a PSNR of " in capsys.readouterr().out
    assert main([*command, *tuned, "-o", str(place / "again.mp4")]) == 0
    first, again = read_provenance(place / "first.mp4"), read_provenance(place / "again.mp4")
    assert first is not None
    assert again is not None
    assert first["reconstruction"] == again["reconstruction"] > 0
    assert torch.equal(read_clip(place / "first.mp4"), read_clip(place / "again.mp4"))
    assert len(read_clip(place / "again.mp4")) == 3


def test_a_recipe_is_trained_on_one_video(place: Path, tmp_path: Path) -> None:
    small = ["--steps", "1", "--clips.frames", "2", "--device", "cpu", "--log.boards"]
    command = ["train", "tune-a-video", "--base", str(place / "sd"), "--data", str(place / "video.mp4")]
    assert main([*command, "--caption", "a cat", "--run", str(tmp_path / "run"), *small]) == 0
    recipe = get_recipe(str(tmp_path / "run" / "recipe.json"))
    assert (recipe.clips.caption, recipe.clips.size, recipe.batch.accumulation) == ("a cat", 16, 1)
