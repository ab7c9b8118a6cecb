"""ModelScope's own files of its U-Net: names derived from how its blocks are put together, and the same numbers.

No installed package has that network, so `blocks` walks through its layout by itself, as its source has it: lists of
layers that are numbered in the order in which they are appended.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_folders as tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from videofusion.errors import InputError
from videofusion.interop.modelscope_files import modelscope_names, to_diffusers
from videofusion.interop.single_file import unpack_single_file
from videofusion.interop.video_unets import video_unet_from_diffusers

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def blocks(attends: list[bool], count: int) -> Iterator[tuple[str, str]]:
    """Where its layers are: there, and in diffusers' U-Net.

    Args:
        attends: whether each level has attention.
        count: residual blocks of a level on the way down.
    """

    def block(place: str, level: str, number: int, attention: bool) -> Iterator[tuple[str, str]]:
        for theirs, own in RESNET.items():
            yield f"{place}.0.{own}", f"{level}.resnets.{number}.{theirs}"
        yield f"{place}.0.temopral_conv", f"{level}.temp_convs.{number}"
        if attention:
            yield f"{place}.1", f"{level}.attentions.{number}"
            yield f"{place}.2", f"{level}.temp_attentions.{number}"

    last = len(attends) - 1
    yield from {
        "time_embed.0": "time_embedding.linear_1",
        "time_embed.2": "time_embedding.linear_2",
        "input_blocks.0.0": "conv_in",
        "input_blocks.0.1": "transformer_in",
        "out.0": "conv_norm_out",
        "out.2": "conv_out",
    }.items()
    at = 1
    for level, attention in enumerate(attends):
        for number in range(count):
            yield from block(f"input_blocks.{at}", f"down_blocks.{level}", number, attention)
            at += 1
        if level != last:
            yield f"input_blocks.{at}.op", f"down_blocks.{level}.downsamplers.0.conv"
            at += 1
    yield from block("middle_block", "mid_block", 0, True)
    for theirs, own in RESNET.items():
        yield f"middle_block.3.{own}", f"mid_block.resnets.1.{theirs}"
    yield "middle_block.3.temopral_conv", "mid_block.temp_convs.1"
    at = 0
    for level, attention in enumerate(reversed(attends)):
        for number in range(count + 1):
            yield from block(f"output_blocks.{at}", f"up_blocks.{level}", number, attention)
            if level != last and number == count:
                yield f"output_blocks.{at}.{3 if attention else 1}.conv", f"up_blocks.{level}.upsamplers.0.conv"
            at += 1


def by_walking(unet: Any, attends: list[bool], count: int) -> dict[str, str]:
    """Their names by diffusers', of all weights."""
    places = {theirs: own for own, theirs in blocks(attends, count)}
    found = {}
    for name in unet.state_dict():
        place = max((each for each in places if name.startswith(f"{each}.")), key=len)
        found[name] = places[place] + name.removeprefix(place)
    return found


def as_theirs(state: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """Weights as such a file has them: convolutions over one frame around the transformers over time."""
    found = {}
    for name, value in state.items():
        over_time = name.startswith("transformer_in") or ".temp_attentions." in name
        wide = over_time and name.endswith(("proj_in.weight", "proj_out.weight"))
        found[names[name]] = (value[..., None] if wide else value).contiguous()
    return found


TINY: dict[str, Any] = {
    "block_out_channels": (8, 8, 16),
    "down_block_types": ("CrossAttnDownBlock3D", "CrossAttnDownBlock3D", "DownBlock3D"),
    "up_block_types": ("UpBlock3D", "CrossAttnUpBlock3D", "CrossAttnUpBlock3D"),
    "layers_per_block": 2,
    "attention_head_dim": 4,
}
ATTENDS = [True, True, False]


@pytest.fixture(scope="module")
def like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.modelscope_pipeline(**TINY), tmp_path_factory.mktemp("ms") / "like")


@pytest.fixture(scope="module")
def state(like: Path) -> dict[str, Tensor]:
    unet = diffusers.UNet3DConditionModel.from_pretrained(like / "unet")
    return as_theirs({name: 0.5 * value for name, value in unet.state_dict().items()}, by_walking(unet, ATTENDS, 2))


@pytest.mark.parametrize(("sizes", "attends"), [(TINY, ATTENDS), ({}, [True, True, True, False])])
def test_every_weight_has_one_name_in_both(sizes: dict[str, Any], attends: list[bool]) -> None:
    with torch.device("meta"):
        unet = diffusers.UNet3DConditionModel(**({**sizes, "norm_num_groups": 8} if sizes else {}))  # theirs by default
    names = modelscope_names(unet)
    assert names == by_walking(unet, attends, 2)
    assert len(set(names.values())) == len(names) == len(unet.state_dict())


def test_a_file_becomes_a_folder_with_its_weights(like: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "text2video.safetensors")
    out = unpack_single_file(tmp_path / "text2video.safetensors", like, tmp_path / "out")
    expected = video_unet_from_diffusers(like)
    with torch.no_grad():
        for parameter in expected.parameters():
            parameter.mul_(0.5)
    found = video_unet_from_diffusers(out)
    z, time, text = torch.randn(1, 3, 4, 8, 8), torch.tensor([801.0]), torch.randn(1, 5, 32)
    with torch.no_grad():
        assert torch.equal(found(z, time, text=text), expected(z, time, text=text))
    for part in ("vae", "text_encoder"):
        (weights,) = (out / part).glob("*.safetensors")
        assert load_file(weights).keys() == load_file(like / part / weights.name).keys()


def test_what_does_not_fit_is_told(like: Path, state: dict[str, Tensor], tmp_path: Path) -> None:
    with torch.device("meta"):
        unet = diffusers.UNet3DConditionModel.from_config(diffusers.UNet3DConditionModel.load_config(like / "unet"))
    file = tmp_path / "x.safetensors"
    bias = "input_blocks.0.0.bias"
    for changed, said in (
        ({name: value for name, value in state.items() if name != bias}, f"x.safetensors lacks {bias}"),
        (state | {bias: torch.zeros(9)}, rf"has {bias} of shape \(9,\); expected was \(8,\)"),
        (state | {"fps_embedding.0.weight": torch.zeros(1)}, r"has fps_embedding\.0\.weight, which ModelScope's U-Net"),
    ):
        with pytest.raises(InputError, match=said):
            to_diffusers(changed, unet, file)
    save_file(state, file)
    images = tiny.save(tiny.sd_pipeline(), tmp_path / "sd")
    with pytest.raises(InputError, match="is ModelScope's video U-Net; expected was the folder of a diffusers"):
        unpack_single_file(file, images, tmp_path / "out")
    (tmp_path / "x.pth").write_bytes(b"x")
    with pytest.raises(InputError, match=r"x\.pth is a pickle, .*; expected were safetensors, which .*save_file"):
        unpack_single_file(tmp_path / "x.pth", like, tmp_path / "out")
    assert not (tmp_path / "out").exists()
