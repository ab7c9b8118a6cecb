"""Layers: each does what a plainer way of writing it does."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from videofusion.networks.layers import (
    SHORT,
    Attention,
    Downsample,
    GroupNorm,
    LayerInputs,
    SpatialTransformer,
    Upsample,
    attend,
    doubling_kernel,
    sinusoidal,
)


def test_sinusoidal_tells_numbers_apart_and_has_constant_length() -> None:
    codes = sinusoidal(torch.arange(1000.0), 32)
    assert codes.shape == (1000, 32)
    torch.testing.assert_close(codes.square().sum(dim=1), torch.full((1000,), 16.0))
    nearest = torch.cdist(codes, codes) + 10 * torch.eye(1000)
    assert float(nearest.min()) > 1e-2


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8)])
def test_doubling_by_a_transposed_convolution_is_nearest_neighbours_then_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, *size).double(), torch.randn(5, 3, 3, 3).double()
    plain = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, padding=1)
    torch.testing.assert_close(F.conv_transpose2d(x, doubling_kernel(weight), stride=2, padding=1), plain)


def test_upsampling_has_the_same_gradients_either_way() -> None:
    torch.manual_seed(0)
    layer = Upsample(4)
    x = torch.randn(4, 4, 8, 8, requires_grad=True)  # as many pixels as take the fast way
    parameters = [x, *layer.parameters()]
    plain = layer.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
    mine = layer(x)
    torch.testing.assert_close(mine, plain)
    for a, b in zip(
        torch.autograd.grad(mine.sin().sum(), parameters),
        torch.autograd.grad(plain.sin().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def test_upsampling_calls_an_adapter_in_place_of_its_convolution() -> None:
    class Adapter(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1.0

    torch.manual_seed(0)
    layer, x = Upsample(4), torch.randn(4, 4, 8, 8)
    before = layer(x)
    adapter = Adapter(4, 4, 3, padding=1)
    adapter.load_state_dict(layer.conv.state_dict())
    layer.conv = adapter
    torch.testing.assert_close(layer(x), before + 1.0)


def test_resampling_changes_sizes_by_two() -> None:
    x = torch.randn(1, 4, 6, 10)
    assert Upsample(4)(x).shape == (1, 4, 12, 20)
    assert Downsample(4)(x).shape == (1, 4, 3, 5)


class TestAttention:
    def test_frames_share_a_context_without_its_copies(self) -> None:
        torch.manual_seed(0)
        layer = Attention(8, heads=2, context=6)
        x, context = torch.randn(6, 5, 8), torch.randn(2, 3, 6)  # two clips of three frames
        mask = torch.tensor([[True, True, False], [True, True, True]])
        repeated = layer(x, context.repeat_interleave(3, dim=0), mask.repeat_interleave(3, dim=0))
        torch.testing.assert_close(layer(x, context, mask), repeated)

    def test_a_masked_token_is_as_if_it_were_not_there(self) -> None:
        torch.manual_seed(0)
        layer = Attention(8, heads=2, context=6)
        x, context = torch.randn(2, 5, 8), torch.randn(2, 4, 6)
        mask = torch.tensor([[True, False, True, False]]).expand(2, 4)
        torch.testing.assert_close(layer(x, context, mask), layer(x, context[:, ::2]))

    def test_self_attention_commutes_with_an_order_of_places(self) -> None:
        torch.manual_seed(0)
        layer, x, order = Attention(8, heads=2), torch.randn(2, 7, 8), torch.randperm(7)
        torch.testing.assert_close(layer(x)[:, order], layer(x[:, order]))


@pytest.mark.parametrize("linear", [True, False])
def test_projections_around_transformers_are_one_function(linear: bool) -> None:
    torch.manual_seed(0)
    one = SpatialTransformer(8, 2, 1, None, 4, linear=linear)
    other = SpatialTransformer(8, 2, 1, None, 4, linear=not linear)
    shapes = {name: value.shape for name, value in other.state_dict().items()}
    other.load_state_dict({name: value.reshape(shapes[name]) for name, value in one.state_dict().items()})
    x, inputs = torch.randn(2, 8, 3, 3), LayerInputs(torch.zeros(2, 1), None, None, (2, 1), torch.arange(1), 1.0)
    torch.testing.assert_close(one(x, inputs), other(x, inputs))


@pytest.mark.parametrize("keys", [16, SHORT + 1])
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_of_attention_in_half_precision_are_those_in_float32(keys: int, causal: bool) -> None:
    torch.manual_seed(0)
    length = keys if causal else 5
    whole = [torch.randn(2, 3, n, 8, requires_grad=True) for n in (length, keys, keys)]
    half = [part.detach().bfloat16().requires_grad_() for part in whole]
    expected, made = attend(*whole, causal=causal), attend(*half, causal=causal)
    assert (made.dtype, expected.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(made.float(), expected, atol=0.02, rtol=0.02)
    expected.square().sum().backward()
    made.float().square().sum().backward()
    for mine, theirs in zip(half, whole, strict=True):
        assert mine.grad.dtype == torch.bfloat16
        torch.testing.assert_close(mine.grad.float(), theirs.grad, atol=0.05, rtol=0.05)


def test_attention_that_is_directed_does_not_see_what_comes_later() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 6, 8)
    before = attend(q, k, v, causal=True)
    k[:, :, 4:], v[:, :, 4:] = 7.0, -7.0
    after = attend(q, k, v, causal=True)
    assert torch.equal(before[:, :, :4], after[:, :, :4])
    assert not torch.allclose(before[:, :, 4:], after[:, :, 4:])


def test_a_norm_learns_where_what_it_sees_asks_for_no_gradient() -> None:
    """Torch's own ends the process there, on a CPU with channels last."""
    x = torch.randn(32, 8, 16, 16)
    ours, theirs = GroupNorm(4, 8), nn.GroupNorm(4, 8)
    ours(x.contiguous(memory_format=torch.channels_last)).square().mean().backward()
    theirs(x).square().mean().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.bias.grad, theirs.bias.grad, rtol=1e-4, atol=1e-6)
