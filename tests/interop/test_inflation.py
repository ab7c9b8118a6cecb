"""Image U-Nets of diffusers inflated into every row of the temporal table: the same numbers, frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel, UNet2DModel
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import (
    CrossFrameAttnProcessor,
    CrossFrameAttnProcessor2_0,
)
from torch import Tensor

from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.networks.inflation import inflated
from videofusion.networks.temporal import TEMPORAL_DESIGNS

B, T = 2, 5
SMALL = {"norm_num_groups": 8, "sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1}
SD = SMALL | {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 12,
    "attention_head_dim": 4,
}
PLAIN = SMALL | {
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
WITHIN_TRANSFORMERS = [name for name, row in TEMPORAL_DESIGNS.items() if row.transformer]

pytestmark = pytest.mark.filterwarnings("ignore")


def conditional(**changed: object) -> UNet2DConditionModel:
    torch.manual_seed(0)
    return shaken(UNet2DConditionModel(**SD | changed))


def plain() -> UNet2DModel:
    torch.manual_seed(1)
    return shaken(UNet2DModel(**PLAIN))


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():  # norms that do something, so that a swap of two of them shows
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def asked(channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(2)
    share = torch.rand(B, T)
    return torch.randn(B, T, channels, 8, 8), torch.tensor([7, 801]), torch.randn(B, 6, 12), share


def frames_of(model: UNet2DConditionModel, z: Tensor, time: Tensor, text: Tensor, **more: object) -> Tensor:
    said = model(z.flatten(0, 1), time.repeat_interleave(T), text.repeat_interleave(T, dim=0), **more).sample
    return said.unflatten(0, (B, T))


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5


@pytest.mark.parametrize("row", TEMPORAL_DESIGNS)
@torch.no_grad()
def test_a_text_to_image_model(row: str) -> None:
    theirs, (z, time, text, share) = conditional(), asked(4)
    video, expected = unet_from_diffusers(theirs, row), frames_of(theirs, z, time, text)
    assert_close(video(z, time.float(), text=text, share=share, temporal=0.0), expected)
    fresh = video(z, time.float(), text=text, share=share)
    if TEMPORAL_DESIGNS[row].begins_as_image:
        assert_close(fresh, expected)
    else:
        assert not torch.allclose(fresh, expected, atol=1e-2)


@pytest.mark.parametrize("row", [name for name in TEMPORAL_DESIGNS if name not in WITHIN_TRANSFORMERS])
@torch.no_grad()
def test_an_unconditional_model(row: str) -> None:
    theirs, (z, time, _, share) = plain(), asked(3)
    expected = theirs(z.flatten(0, 1), time.repeat_interleave(T)).sample.unflatten(0, (B, T))
    video = unet_from_diffusers(theirs, row)
    assert_close(video(z, time.float(), share=share, temporal=0.0), expected)
    if TEMPORAL_DESIGNS[row].begins_as_image:
        assert_close(video(z, time.float(), share=share), expected)


@torch.no_grad()
def test_lumiere_begins_as_the_image_model_on_frames_that_come_in_pairs() -> None:
    theirs, (z, time, text, _) = conditional(), asked(4)
    z = z[:, [0, 0, 1, 1, 2]]
    assert_close(unet_from_diffusers(theirs, "lumiere")(z, time.float(), text=text), frames_of(theirs, z, time, text))


class ByHand:
    """Self-attention of diffusers whose frames look at others, keys and values written out for each."""

    def __init__(self, seen: Callable[[int], list[int]]) -> None:
        self.seen = seen

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None):
        source = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = attn.to_q(hidden_states), attn.to_k(source), attn.to_v(source)
        if encoder_hidden_states is None:
            k, v = (
                torch.stack([x.unflatten(0, (B, T))[:, self.seen(i)].flatten(1, 2) for i in range(T)], 1)
                for x in (k, v)
            )
            k, v = k.flatten(0, 1), v.flatten(0, 1)
        q, k, v = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for x in (q, k, v))
        weights = (q @ k.transpose(-1, -2) * attn.scale).softmax(dim=-1)
        return attn.to_out[0]((weights @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize(
    ("row", "processor"),
    [
        pytest.param("text2video_zero", CrossFrameAttnProcessor(batch_size=B), id="text2video_zero, diffusers'"),
        pytest.param("text2video_zero", CrossFrameAttnProcessor2_0(batch_size=B), id="and its fused one"),
        pytest.param("controlvideo", ByHand(lambda i: list(range(T))), id="controlvideo"),
        pytest.param("tune_a_video", ByHand(lambda i: [0, max(i - 1, 0)]), id="tune_a_video"),
    ],
)
@torch.no_grad()
def test_rows_whose_frames_see_others_equal_processors_of_attention(row: str, processor: object) -> None:
    theirs, (z, time, text, _) = conditional(), asked(4)
    alone = frames_of(theirs, z, time, text)
    theirs.set_attn_processor(processor)
    expected = frames_of(theirs, z, time, text)
    assert float((alone - expected).norm() / expected.norm()) > 1e-2
    assert_close(unet_from_diffusers(theirs, row)(z, time.float(), text=text), expected)


@torch.no_grad()
def test_residuals_of_a_controlnet_are_added_as_diffusers_adds_them() -> None:
    theirs, (z, time, text, _) = conditional(), asked(4)
    net = shaken(ControlNetModel.from_unet(theirs, conditioning_embedding_out_channels=(4, 8)))
    maps = torch.rand(B * T, 3, 16, 16)
    flat = (z.flatten(0, 1), time.repeat_interleave(T), text.repeat_interleave(T, dim=0))
    down, middle = net(*flat, maps, return_dict=False)
    added = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
    expected = frames_of(theirs, z, time, text, **added)
    assert float((expected - frames_of(theirs, z, time, text)).norm() / expected.norm()) > 1e-2
    control = tuple(each.unflatten(0, (B, T)) for each in (*down, middle))
    assert_close(
        unet_from_diffusers(theirs, "controlvideo")(z, time.float(), text=text, control=control, temporal=0.0), expected
    )


@torch.no_grad()
def test_channels_beside_the_clip_weigh_nothing_at_first() -> None:
    theirs, (z, time, text, _) = conditional(), asked(4)
    image = unet_from_diffusers(theirs)
    video = inflated(image, "video_ldm", in_channels=image.config.in_channels + 3).eval()
    said = video(z, time.float(), text=text, beside=torch.randn(B, T, 3, 8, 8))
    assert_close(said, frames_of(theirs, z, time, text))


@pytest.mark.parametrize("row", WITHIN_TRANSFORMERS)
def test_a_row_that_a_folder_cannot_take_is_a_sentence_before_weights_are_read(row: str, tmp_path: Path) -> None:
    plain().save_config(tmp_path / "unet")
    with pytest.raises(InputError, match=f"{tmp_path}.* cannot be inflated: temporal is '{row}'.*has none"):
        unet_from_diffusers(tmp_path, row)


def test_a_row_that_there_is_not_is_a_sentence(tmp_path: Path) -> None:
    plain().save_config(tmp_path)
    with pytest.raises(InputError, match="temporal is 'spiral'"):
        unet_from_diffusers(tmp_path, "spiral")
