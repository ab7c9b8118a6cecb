"""Video U-Nets of diffusers as ours: the same numbers, weights by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_folders as tiny
import torch

from videofusion.errors import InputError
from videofusion.interop.video_unets import video_unet_config, video_unet_from_diffusers


@pytest.mark.parametrize("frames", [1, 4])
@torch.no_grad()
def test_modelscope_s_is_theirs(frames: int) -> None:
    theirs = tiny.video_unet(12)
    ours = video_unet_from_diffusers(theirs)
    z, time, text = torch.randn(2, frames, 4, 8, 8), torch.tensor([7, 801]), torch.randn(2, 5, 12)
    expected = theirs(z.transpose(1, 2), time, text).sample.transpose(1, 2)
    found = ours(z, time.float(), text=text)
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_from_a_folder_and_a_pipeline_s(tmp_path: Path) -> None:
    theirs = tiny.video_unet(12)
    theirs.save_pretrained(tmp_path / "unet")
    for folder in (tmp_path, tmp_path / "unet"):
        state = video_unet_from_diffusers(folder).state_dict()
        assert len(state) == len(theirs.state_dict())
        assert torch.equal(state["temporal_entry.0.proj_in.weight"], theirs.transformer_in.proj_in.weight)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "_class_name is 'UNet2DConditionModel'; it must be UNet3DCond"),
        ({"time_cond_proj_dim": 8}, "time_cond_proj_dim is 8"),
        ({"attention_head_dim": [8, 8]}, "attention_head_dim is .*; our U-Net has one number"),
        ({"act_fn": "gelu"}, "act_fn is 'gelu'"),
        ({"up_block_types": ["UpBlock3D"] * 2}, "up_block_types is"),
    ],
)
def test_what_ours_does_not_have(values: dict[str, Any], said: str) -> None:
    config = {"_class_name": "UNet3DConditionModel", **tiny.video_unet(12).config}
    assert video_unet_config(config)["temporal"] == "unet3d"
    with pytest.raises(InputError, match=said):
        video_unet_config(config | values)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    tiny.video_unet(12).save_pretrained(tmp_path)
    tiny.video_unet(12, layers_per_block=2).save_config(tmp_path)
    with pytest.raises(InputError, match=r"the weights lack .*, which their config\.json asks for"):
        video_unet_from_diffusers(tmp_path)
