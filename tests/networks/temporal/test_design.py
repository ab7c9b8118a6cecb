"""The table: what its fields mean, and that layers and rows are added from outside."""

import pytest
import torch
from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.networks.layers import LayerInputs
from videofusion.networks.temporal import LAYERS, TEMPORAL_DESIGNS, LayerSizes, TemporalDesign, temporal_design
from videofusion.networks.temporal.design import Mixed
from videofusion.networks.unet import UNet

B, T = 2, 5
SIZES = LayerSizes(channels=16, heads=2, groups=4, time=12, text=6)
SMALL = {"channels": (8, 16), "blocks": 1, "attention": ("plain", "transformer"), "heads": 2, "groups": 4}


def inputs(t: int = T, temporal: float = 1.0) -> LayerInputs:
    torch.manual_seed(5)
    return LayerInputs(torch.randn(B * t, 12), torch.randn(B, 7, 6), None, (B, t), torch.arange(t), temporal)


def shaken(module: nn.Module) -> nn.Module:
    """As if trained: nothing is zero."""
    torch.manual_seed(6)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module


def clip() -> Tensor:
    torch.manual_seed(7)
    return torch.randn(B * T, 16, 4, 4).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kind", LAYERS)
class TestLayers:
    def test_adds_nothing_when_fresh_and_something_when_trained(self, kind: str) -> None:
        layer, x = LAYERS[kind](SIZES), clip()
        assert not layer(x, inputs()).any()
        added = shaken(layer)(x, inputs())
        assert added.shape == x.shape
        assert added.std() > 1e-3

    def test_clips_of_a_batch_do_not_mix(self, kind: str) -> None:
        layer, x, told = shaken(LAYERS[kind](SIZES)), clip(), inputs()
        alone = LayerInputs(told.time[:T], told.text[:1], None, (1, T), told.frames, 1.0)
        torch.testing.assert_close(layer(x, told)[:T], layer(x[:T], alone), rtol=1e-4, atol=1e-5)

    def test_learns_in_every_parameter_from_the_second_step_on(self, kind: str) -> None:
        layer = shaken(LAYERS[kind](SIZES))
        layer(clip(), inputs()).square().sum().backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())


@torch.no_grad()
def test_a_residual_block_hears_the_context_of_each_frame_at_its_own_resolution() -> None:
    block, x = shaken(LAYERS["residual_block"](SIZES._replace(context=4, scale=2))), clip()
    context = torch.randn(B * T, 4, 8, 8)
    moved = context.clone()
    moved[2, :, 4:6, 2:4] += 1
    change = block(x, inputs()._replace(context=moved)) - block(x, inputs()._replace(context=context))
    where = change.abs().amax(dim=1) > 1e-3
    assert where[1:4, 2, 1].all()  # the next convolution brings it to the frames beside
    assert not where[T:].any()


def test_levels_have_fields_of_their_own_from_either_end() -> None:
    row = TemporalDesign(
        attention=("middle", "place"), levels={-1: {"attention": ("joint",)}, 0: {"blocks": ("place",)}}
    )
    assert [row.at(level, 3).attention for level in range(3)] == [("middle", "place")] * 2 + [("joint",)]
    assert [row.at(level, 3).blocks for level in range(3)] == [("place",), (), ()]
    assert row.at(0, 1).blocks == ("place",)  # where there is one level, it is the finest first


@pytest.mark.parametrize(("row", "levels"), [("factorised_joint", 2), ("factorised_coarse", 1)])
def test_joint_attention_is_at_the_coarsest_levels(row: str, levels: int) -> None:
    found = [TEMPORAL_DESIGNS[row].at(level, 4).attention for level in range(4)]
    assert found == [()] * (4 - levels) + [("joint",)] * levels


@pytest.mark.parametrize("temporal", [0.0, 0.3, 1.0])
def test_a_layer_counts_as_much_as_is_said(temporal: float) -> None:
    layer, x, told = shaken(LAYERS["place"](SIZES)), clip(), inputs(temporal=temporal)
    torch.testing.assert_close(told.add(x, [layer]), x + temporal * layer(x, told))


def test_parallel_layers_see_what_was_there_before() -> None:
    layers, x, seen = [shaken(LAYERS[kind](SIZES)) for kind in ("place", "joint")], clip(), clip().flip(0)
    told = inputs()
    torch.testing.assert_close(told.add(x, layers, seen), x + layers[0](seen, told) + layers[1](seen, told))


class TestMixed:
    def test_alpha_decides_how_much_of_a_layer_counts(self) -> None:
        layer, x = shaken(LAYERS["residual_block"](SIZES)), clip()
        mixed = Mixed(layer)
        with torch.no_grad():
            mixed.mix_factor.fill_(0.4)
        alpha = float(torch.tensor(0.4).sigmoid())
        whole = x + layer(x, inputs())
        torch.testing.assert_close(x + mixed(x, inputs()), alpha * x + (1 - alpha) * whole)

    @pytest.mark.parametrize("row", ["video_ldm", "svd"])
    @torch.no_grad()
    def test_with_alpha_1_a_network_is_the_image_network_exactly(self, row: str) -> None:
        video = shaken(UNet(**SMALL, text_size=6, temporal=row))
        factors = [each for name, each in video.named_parameters() if name.endswith("mix_factor")]
        image = UNet(**SMALL, text_size=6)
        image.load_state_dict(video.spatial_state())
        z, time, text = torch.randn(B, T, 3, 8, 8), torch.tensor([3.0, 700.0]), torch.randn(B, 7, 6)
        assert not torch.allclose(video(z, time, text=text), image(z, time, text=text), atol=1e-2)
        for factor in factors:
            factor.fill_(100.0)  # whose sigmoid is 1
        assert torch.equal(video(z, time, text=text), image(z, time, text=text))


class Sway(nn.Module):
    """A layer of somebody else: each frame less the one before."""

    def __init__(self, sizes: LayerSizes) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(sizes.channels, 1, 1))

    def forward(self, x: Tensor, inputs: LayerInputs) -> Tensor:
        clips = x.unflatten(0, inputs.clip_shape)
        return self.scale * (clips - clips.roll(1, dims=1)).flatten(0, 1)


@pytest.mark.parametrize("place", ["entry", "within", "blocks", "transformer", "attention"])
@torch.no_grad()
def test_a_kind_of_layer_and_a_row_are_added_from_outside(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYERS, "sway", Sway)
    monkeypatch.setitem(TEMPORAL_DESIGNS, "swaying", TemporalDesign(**{place: ("sway",)}))
    video = UNet(**SMALL, text_size=6, temporal="swaying")
    image = UNet(**SMALL, text_size=6)
    image.load_state_dict(video.spatial_state(), strict=True)
    z, time, text = torch.randn(B, T, 3, 8, 8), torch.tensor([3.0, 700.0]), torch.randn(B, 7, 6)
    told = {"time": time, "text": text}
    torch.testing.assert_close(video(z, **told), image(z, **told))
    trained = shaken(video)
    image.load_state_dict(trained.spatial_state(), strict=True)
    torch.testing.assert_close(trained(z, **told, temporal=0.0), image(z, **told))
    assert not torch.allclose(trained(z, **told), image(z, **told), atol=1e-3)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (TemporalDesign(attention=("spiral",)), "'mine' has the layer 'spiral'.*place"),
        (TemporalDesign(levels={-1: {"blocks": ("spiral",)}}), "'mine' has the layer 'spiral'"),
        (TemporalDesign(levels={0: {"reach": "all"}}), "levels of 'mine' has 'reach'.*within"),
        (TemporalDesign(reach="far"), "reach of 'mine' is 'far'.*own, first"),
    ],
)
def test_a_row_of_words_that_there_are_not_is_refused(
    row: TemporalDesign, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TEMPORAL_DESIGNS, "mine", row)
    with pytest.raises(InputError, match=said):
        temporal_design("mine")


def test_refuses_an_unknown_design() -> None:
    with pytest.raises(InputError, match=r"'spiral'.*factorised"):
        temporal_design("spiral")
