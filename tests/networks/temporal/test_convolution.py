"""Convolutions over time and transformer blocks: those of diffusers, by name; frames halved and doubled."""

import pytest
import torch
from diffusers.models.resnet import TemporalConvLayer, TemporalResnetBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel, TransformerTemporalModel
from torch import Tensor, nn

from videofusion.networks.layers import LayerInputs, SpatialTransformer
from videofusion.networks.temporal.attention import NumberedBlock, TemporalTransformer
from videofusion.networks.temporal.convolution import (
    Adaptor,
    Convolution,
    ConvolutionStack,
    Double,
    Halve,
    ResidualBlock,
    TimeConvolution,
    TimeNorm,
)
from videofusion.networks.temporal.design import Mixed

B, T, C, H, W, TOLD = 2, 5, 32, 3, 4, 12
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def inputs(t: int = T) -> LayerInputs:
    torch.manual_seed(1)
    return LayerInputs(torch.randn(B * t, TOLD), torch.randn(B, 7, 6), None, (B, t), torch.arange(t), 1.0)


def clip(t: int = T) -> Tensor:
    torch.manual_seed(2)
    return torch.randn(B * t, C, H, W).contiguous(memory_format=torch.channels_last)


def volume(x: Tensor) -> Tensor:
    return x.unflatten(0, (B, -1)).transpose(1, 2)  # b c t h w


def shaken(module: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def copied(ours: nn.Module, theirs: nn.Module, prefix: str = "") -> nn.Module:
    """Ours with the weights of theirs, by name; a kernel's last axis is one of ones."""
    state = {name: value.squeeze(-1) if value.ndim == 5 else value for name, value in theirs.state_dict().items()}
    ours.load_state_dict({prefix + name: value for name, value in state.items()}, strict=True)
    return ours


class TestOverTime:
    def test_a_convolution_over_time_is_one_in_three_dimensions(self) -> None:
        ours, x = TimeConvolution(C), clip()
        theirs = nn.Conv3d(C, C, (3, 1, 1), padding=(1, 0, 0))
        theirs.load_state_dict({"weight": ours.weight[..., None], "bias": ours.bias})
        torch.testing.assert_close(volume(ours(x, (B, T))), theirs(volume(x)), **CLOSE)

    def test_a_norm_over_time_is_one_in_three_dimensions(self) -> None:
        ours, x = shaken(TimeNorm(4, C)), clip()
        theirs = nn.GroupNorm(4, C)
        theirs.load_state_dict(ours.state_dict())
        torch.testing.assert_close(volume(ours(x, (B, T))), theirs(volume(x)), **CLOSE)

    def test_features_stay_channels_last(self) -> None:
        for layer in (Convolution(C), ResidualBlock(C, TOLD, 4), ConvolutionStack(C, 4), Adaptor(C), Double(C)):
            assert layer(clip(), inputs()).is_contiguous(memory_format=torch.channels_last)
        assert Halve(C)(clip(), inputs()).is_contiguous(memory_format=torch.channels_last)


class TestDiffusers:
    """Each is the layer of diffusers with the same weights, whose features it leaves out."""

    @torch.no_grad()
    def test_the_residual_block(self) -> None:
        theirs, x, told = shaken(TemporalResnetBlock(C, C, TOLD, eps=1e-5)), clip(), inputs()
        ours = copied(ResidualBlock(C, TOLD, 32), theirs)
        time = told.time  # which theirs puts through SiLU, and ours has through it
        mine = x + ours(x, told._replace(time=nn.functional.silu(time)))
        torch.testing.assert_close(volume(mine), theirs(volume(x), time.unflatten(0, (B, T))), **CLOSE)

    @torch.no_grad()
    def test_the_convolution_stack(self) -> None:
        theirs, x = shaken(TemporalConvLayer(C, C, norm_num_groups=4)), clip()
        ours = copied(ConvolutionStack(C, 4), theirs)
        torch.testing.assert_close(x + ours(x, inputs()), theirs(x, T), **CLOSE)

    @pytest.mark.parametrize(("heads", "size"), [(2, 16), (8, 16)])
    @torch.no_grad()
    def test_the_transformer(self, heads: int, size: int) -> None:
        theirs, x = shaken(TransformerTemporalModel(heads, size, C, norm_num_groups=4)), clip()
        ours = copied(TemporalTransformer(C, heads, 4, heads * size), theirs)
        torch.testing.assert_close(x + ours(x, inputs()), theirs(x, num_frames=T).sample, **CLOSE)

    @torch.no_grad()
    def test_the_numbered_block_mixed_within_a_transformer(self) -> None:
        theirs, x, told = shaken(TransformerSpatioTemporalModel(2, 16, C, cross_attention_dim=6)), clip(), inputs()
        ours = SpatialTransformer(C, 2, 1, 6, 32, linear=True, temporals=[[Mixed(NumberedBlock(C, 2, 6))]])
        renamed = {}
        for name, value in theirs.state_dict().items():
            name = name.replace("temporal_transformer_blocks.0.", "temporals.0.0.layer.")
            name = name.replace("time_mixer.mix_factor", "temporals.0.0.mix_factor")
            renamed[name.replace("time_pos_embed.", "temporals.0.0.layer.time_pos_embed.")] = value
        ours.load_state_dict(renamed, strict=True)
        text = told.text.repeat_interleave(T, dim=0)
        expected = theirs(x, text, image_only_indicator=torch.zeros(B, T)).sample
        torch.testing.assert_close(ours(x, told), expected, **CLOSE)
        images = theirs(x, text, image_only_indicator=torch.ones(B, T)).sample
        torch.testing.assert_close(ours(x, told._replace(temporal=0.0)), images, **CLOSE)


class TestAdaptor:
    def test_frames_have_their_own_scale_and_shift(self) -> None:
        layer, x = shaken(Adaptor(C)), clip()
        one, other = layer(x, inputs()).unflatten(0, (B, T)), layer(2 * x, inputs()).unflatten(0, (B, T))
        scaled = other - one  # scale times x
        scale = scaled / x.unflatten(0, (B, T))
        torch.testing.assert_close(scale, scale[:1, :, :, :1, :1].expand_as(scale), rtol=1e-2, atol=1e-3)
        assert len(scale[0, :, 0, 0, 0].unique()) == T

    def test_any_frame_number_has_some(self) -> None:
        layer, x = shaken(Adaptor(C)), clip()
        late = inputs()._replace(frames=torch.arange(T) + 5000)
        assert not torch.allclose(layer(x, late), layer(x, inputs()), atol=1e-3)


@pytest.mark.parametrize("t", [1, 2, 5, 6])
class TestHalvingAndDoubling:
    def test_halving_begins_by_choosing_every_other_frame(self, t: int) -> None:
        x, told = clip(t), inputs(t)
        made = Halve(C)(x, told)
        halved = told.halved()
        assert halved.clip_shape == (B, (t + 1) // 2)
        assert halved.frames.tolist() == list(range(0, t, 2))
        assert torch.equal(halved.time, told.time.unflatten(0, (B, t))[:, ::2].flatten(0, 1))
        torch.testing.assert_close(made, x.unflatten(0, (B, t))[:, ::2].flatten(0, 1))

    def test_doubling_begins_by_showing_every_frame_twice(self, t: int) -> None:
        x, told = clip(t), inputs(t)
        made = Double(C)(Halve(C)(x, told), told).unflatten(0, (B, t))
        assert made.shape[1] == t
        nearest = [frame - frame % 2 for frame in range(t)]
        torch.testing.assert_close(made, x.unflatten(0, (B, t))[:, nearest])
