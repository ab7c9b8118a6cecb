"""Models of depth and pose from folders: the model's own numbers, and sentences for what is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_folders as tiny
import torch

from videofusion.errors import InputError
from videofusion.interop.structure_models import load_depth, load_foreground, load_pose

transformers = pytest.importorskip("transformers")
PREPARED = {"size": {"height": 32, "width": 32}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}


@pytest.fixture(scope="module")
def depth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_seer(tiny.depth(), tmp_path_factory.mktemp("depth"), **PREPARED)


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_seer(tiny.segmentation(), tmp_path_factory.mktemp("segmentation"), **PREPARED)


@torch.no_grad()
def test_depth_is_what_the_model_says_in_the_range_of_the_clip(depth: Path) -> None:
    clip = torch.rand(1, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = transformers.DPTForDepthEstimation.from_pretrained(depth).eval()
    mean, std = (torch.tensor(PREPARED[key])[:, None, None] for key in ("image_mean", "image_std"))
    right = model(((clip[0] + 1) / 2 - mean) / std).predicted_depth
    right = torch.nn.functional.interpolate(right[:, None], (32, 32), mode="bicubic")
    found = load_depth(depth)(clip)[0]
    torch.testing.assert_close(found, (right - right.min()) / (right.max() - right.min()), rtol=1e-4, atol=1e-4)


def test_pose_from_a_folder(tmp_path: Path) -> None:
    tiny.save_seer(tiny.pose(), tmp_path, size={"height": 32, "width": 24})
    clip = torch.rand(1, 2, 3, 48, 36) * 2 - 1
    found = load_pose(tmp_path).points(clip)
    assert found.shape == (1, 2, 17, 3)
    assert found[..., 0].max() < 36
    assert found[..., 1].max() < 48
    tiny.save_seer(tiny.pose(), tmp_path)
    with pytest.raises(InputError, match="VitPoseForPoseEstimation does not take pictures of 32x32, the size in its"):
        load_pose(tmp_path).points(clip)


def test_refusals(depth: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"depth model is .* it must be a folder with a config\.json"):
        load_depth(tmp_path)
    with pytest.raises(InputError, match=r"pose model .* is a DPTForDepthEstimation; it must be one of VitPose"):
        load_pose(depth)
    processor = depth / "preprocessor_config.json"
    kept = processor.read_text()
    try:
        for told, says in (
            ({"size": {"shortest_edge": 3}}, "it must have a height and a width"),
            ({"size": 32, "image_std": [0, 1, 1]}, "deviations above 0"),
            ({"size": 32, "ensure_multiple_of": 0.5}, "ensure_multiple_of 0.5"),
        ):
            processor.write_text(json.dumps(told))
            with pytest.raises(InputError, match=says):
                load_depth(depth)
        processor.unlink()
        with pytest.raises(InputError, match=r"has no preprocessor_config\.json"):
            load_depth(depth)
    finally:
        processor.write_text(kept)


@torch.no_grad()
def test_in_front_is_what_the_model_names(segmentation: Path) -> None:
    clip = torch.rand(1, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = transformers.SegformerForSemanticSegmentation.from_pretrained(segmentation).eval()
    mean, std = (torch.tensor(PREPARED[key])[:, None, None] for key in ("image_mean", "image_std"))
    logits = model(((clip[0] + 1) / 2 - mean) / std).logits
    right = torch.nn.functional.interpolate(logits, (32, 32), mode="bilinear").argmax(dim=1)[None, :, None]
    assert len(right.unique()) > 1
    found = load_foreground(segmentation)(clip)
    assert torch.equal(found, (right != 0).float())
    dogs = load_foreground(segmentation, ["dog", "Background"])(clip)
    assert torch.equal(dogs, (right != 1).float())


def test_classes_that_are_not_there_are_refused(segmentation: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'label "dgo" is unknown \(did you mean "dog"\?\); there are background, cat'):
        load_foreground(segmentation, ["dgo"])
    shutil.copytree(segmentation, tmp_path / "without")
    file = tmp_path / "without" / "config.json"
    file.write_text(file.read_text().replace("Background", "wall"))
    with pytest.raises(InputError, match=r'none of the 3 classes of .* is "background"; name those that are in front'):
        load_foreground(tmp_path / "without")
