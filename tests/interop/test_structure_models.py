"""Models of depth and pose from folders: the model's own numbers, and sentences for what is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from videofusion.errors import InputError
from videofusion.interop.structure_models import load_depth, load_foreground, load_pose

transformers = pytest.importorskip("transformers")
PREPARED = {"size": {"height": 32, "width": 32}, "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4]}


@pytest.fixture(scope="module")
def depth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("depth")
    torch.manual_seed(0)
    config = transformers.DPTConfig(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        is_hybrid=False,
        initializer_range=0.5,
    )
    transformers.DPTForDepthEstimation(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPARED))
    return folder


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
    torch.manual_seed(0)
    backbone = transformers.VitPoseBackboneConfig(
        image_size=[32, 24],
        patch_size=[8, 8],
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        out_indices=[1],
        part_features=4,
    )
    config = transformers.VitPoseConfig(backbone_config=backbone, num_labels=17)
    transformers.VitPoseForPoseEstimation(config).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 32, "width": 24}}))
    clip = torch.rand(1, 2, 3, 48, 36) * 2 - 1
    found = load_pose(tmp_path).points(clip)
    assert found.shape == (1, 2, 17, 3)
    assert found[..., 0].max() < 36
    assert found[..., 1].max() < 48


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


@pytest.fixture(scope="module")
def segmentation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("segmentation")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=1,
        depths=[1],
        sr_ratios=[1],
        hidden_sizes=[8],
        patch_sizes=[3],
        strides=[2],
        num_attention_heads=[1],
        mlp_ratios=[1],
        decoder_hidden_size=8,
        id2label={0: "Background", 1: "cat", 2: "dog"},
    )
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPARED))
    return folder


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
