"""Laws of the U-Net: what a video is to images, and what may not matter."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from videofusion.diffusion.conditions import Conditions
from videofusion.errors import InputError
from videofusion.networks.inputs import EMBEDDED, EmbeddedInput, embed_numbers
from videofusion.networks.layers import Embedding
from videofusion.networks.temporal import TEMPORAL_DESIGNS
from videofusion.networks.unet import UNet

B, T = 2, 3
SMALL = {
    "channels": (8, 16),
    "blocks": 1,
    "attention": ("plain", "transformer"),
    "heads": 2,
    "groups": 4,
    "text_size": 6,
}
ONE_THREAD = {"rtol": 1e-4, "atol": 1e-5}


def make(temporal: str, *, fresh: bool = False, **changed: object) -> UNet:
    torch.manual_seed(3)
    unet = UNet(**SMALL | {"temporal": temporal} | changed).eval()
    if not fresh:  # as if trained: nothing is zero
        with torch.no_grad():
            for parameter in unet.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return unet


@pytest.fixture
def told() -> dict[str, Tensor]:
    torch.manual_seed(4)
    return {
        "z": torch.randn(B, T, 3, 8, 8),
        "time": torch.tensor([20.0, 700.0]),
        "text": torch.randn(B, 5, 6),
        "text_mask": torch.tensor([[True] * 5, [True, True, False, False, False]]),
        "share": torch.tensor([[0.3, 1.0, 0.6], [0.5, 1.0, 0.2]]),
    }


@pytest.fixture(autouse=True)
def _no_gradients(request: pytest.FixtureRequest) -> Iterator[None]:
    with torch.set_grad_enabled("gradient" in request.node.name):
        yield


videos = pytest.mark.parametrize("temporal", TEMPORAL_DESIGNS)
beginning_as_images = pytest.mark.parametrize(
    "temporal", [n for n, row in TEMPORAL_DESIGNS.items() if row.begins_as_image]
)


def kinds(temporal: str) -> set[str]:
    """Every kind of layer in a row."""
    row = TEMPORAL_DESIGNS[temporal]
    levels = [row.at(level, 2) for level in range(2)]
    return {
        kind
        for each in levels
        for kind in (*each.entry, *each.within, *each.blocks, *each.transformer, *each.attention)
    }


def minds_order(temporal: str) -> bool:
    """Whether frames, however they are numbered, may not come in another order."""
    row = TEMPORAL_DESIGNS[temporal]
    free = {"place", "joint", "middle", "plain"}
    return bool(kinds(temporal) - free) or bool(row.halvings) or row.reach not in ("own", "all")


def frame_by_frame(unet: UNet, told: dict[str, Tensor]) -> Tensor:
    rest = {name: told[name] for name in ("time", "text", "text_mask")}
    return torch.cat([unet(told["z"][:, [i]], **rest) for i in range(T)], dim=1)


class TestImages:
    @beginning_as_images
    def test_a_fresh_video_network_is_the_image_network_frame_by_frame(
        self, temporal: str, told: dict[str, Tensor]
    ) -> None:
        video, image = make(temporal, fresh=True, fps=True), make("image")
        video.load_state_dict(image.state_dict(), strict=False)
        rate = torch.tensor([8.0, 24.0])
        torch.testing.assert_close(video(**told, fps=rate), frame_by_frame(image, told), **ONE_THREAD)

    @videos
    def test_without_what_is_temporal_it_is_the_image_network(self, temporal: str, told: dict[str, Tensor]) -> None:
        video, image = make(temporal, fps=True), make("image")
        image.load_state_dict(video.spatial_state(), strict=True)
        rate = torch.tensor([8.0, 24.0])
        torch.testing.assert_close(video(**told, fps=rate, temporal=0.0), frame_by_frame(image, told), **ONE_THREAD)
        assert not torch.allclose(video(**told, fps=rate), video(**told, fps=rate, temporal=0.0), atol=1e-2)

    @pytest.mark.parametrize("temporal", [name for name, row in TEMPORAL_DESIGNS.items() if not row.halvings])
    def test_with_less_of_its_temporal_layers_it_stands_between(self, temporal: str, told: dict[str, Tensor]) -> None:
        video = make(temporal)
        none, little, half, most, whole = (video(**told, temporal=f) for f in (0.0, 1e-5, 0.5, 1 - 1e-5, 1.0))
        torch.testing.assert_close(little, none, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(most, whole, atol=1e-3, rtol=1e-3)
        if temporal == "image":  # which has none
            assert torch.equal(half, whole)
        else:
            assert min(float((half - end).abs().max()) for end in (none, whole)) > 1e-2

    @videos
    def test_an_image_network_has_exactly_the_spatial_weights(self, temporal: str) -> None:
        make("image").load_state_dict(make(temporal).spatial_state(), strict=True)

    def test_one_frame_at_a_time_is_enough_without_attention_over_time(self, told: dict[str, Tensor]) -> None:
        unet, share = make("framewise"), told.pop("share")
        z = told.pop("z")
        whole = unet(z, share=share, **told)
        for i in range(T):
            alone = unet(z[:, [i]], share=share[:, [i]], frames=torch.tensor([i]), **told)
            torch.testing.assert_close(whole[:, [i]], alone, **ONE_THREAD)


class TestWhatMayNotMatter:
    @videos
    def test_clips_of_a_batch_do_not_mix(self, temporal: str, told: dict[str, Tensor]) -> None:
        unet = make(temporal)
        whole = unet(**told)
        alone = [unet(**{name: value[[i]] for name, value in told.items()}) for i in range(B)]
        torch.testing.assert_close(whole, torch.cat(alone), **ONE_THREAD)

    def test_where_a_clip_begins(self, told: dict[str, Tensor]) -> None:
        unet = make("factorised")
        here, there = unet(**told, frames=torch.arange(T)), unet(**told, frames=torch.arange(T) + 40)
        torch.testing.assert_close(here, there, **ONE_THREAD)
        assert torch.equal(here, unet(**told))  # numbers from 0 are the default

    @pytest.mark.parametrize("temporal", [name for name in TEMPORAL_DESIGNS if not minds_order(name)])
    def test_the_order_in_which_numbered_frames_come(self, temporal: str, told: dict[str, Tensor]) -> None:
        keeps_middle = "middle" in kinds(temporal)
        unet, order = make(temporal), torch.tensor([2, 1, 0] if keeps_middle else [2, 0, 1])
        mixed = told | {"z": told["z"][:, order], "share": told["share"][:, order], "frames": order}
        torch.testing.assert_close(unet(**told)[:, order], unet(**mixed), **ONE_THREAD)

    @pytest.mark.parametrize("temporal", [name for name in TEMPORAL_DESIGNS if "directed" in kinds(name)])
    def test_gradients_show_that_earlier_frames_see_nothing_of_later_ones(
        self, temporal: str, told: dict[str, Tensor]
    ) -> None:
        unet, z = make(temporal), told.pop("z").requires_grad_()
        for frame in range(T):
            (seen,) = torch.autograd.grad(unet(z, **told)[:, frame].sum(), z)
            assert [bool(seen[:, other].any()) for other in range(T)] == [other <= frame for other in range(T)]

    def test_a_time_for_each_frame_or_one_for_all(self, told: dict[str, Tensor]) -> None:
        unet = make("factorised")
        each = told | {"time": told["time"][:, None].expand(B, T)}
        torch.testing.assert_close(unet(**told), unet(**each), **ONE_THREAD)
        other = each["time"].clone()
        other[:, 1] = 1.0
        assert not torch.allclose(unet(**told), unet(**told | {"time": other}), atol=1e-3)

    def test_text_that_is_masked(self, told: dict[str, Tensor]) -> None:
        unet = make("image")
        changed = told["text"].clone()
        changed[1, 2:] = 9.0
        torch.testing.assert_close(unet(**told), unet(**told | {"text": changed}))
        assert not torch.allclose(unet(**told), unet(**told | {"text": told["text"].flip(0)}), atol=1e-3)

    def test_recomputing_for_gradients(self, told: dict[str, Tensor]) -> None:
        unet = make("residual_joint").train()
        gradients = []
        for recompute in (False, True):
            unet.zero_grad()
            if recompute:
                unet.enable_gradient_checkpointing()
            unet(**told).square().mean().backward()
            gradients.append([parameter.grad for parameter in unet.parameters()])
        assert all(grad is not None and bool(grad.any()) for grad in gradients[0])
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)


class TestSpeed:
    """What makes it fast is there: nothing is timed here."""

    @pytest.mark.parametrize(
        "temporal",
        [name if name == "residual" else pytest.param(name, marks=pytest.mark.slow) for name in TEMPORAL_DESIGNS],
    )
    def test_compiles_in_one_graph_with_conditions_as_keywords(self, temporal: str, told: dict[str, Tensor]) -> None:
        torch.compiler.reset()
        unet = make(temporal)
        z, time = told.pop("z"), told.pop("time")
        conditions = Conditions(**told, frames=torch.arange(T)).window(0, T)
        compiled = torch.compile(unet, backend="eager", fullgraph=True)
        for keep in (1.0, 0.5, 0.0):
            expected = unet(z, time, temporal=keep, **conditions.given())
            torch.testing.assert_close(compiled(z, time, temporal=keep, **conditions.given()), expected)

    @pytest.mark.slow
    def test_compiles_with_its_gradients(self, told: dict[str, Tensor]) -> None:
        torch.compiler.reset()
        unet = make("residual_joint")
        plain = torch.autograd.grad(unet(**told).square().mean(), list(unet.parameters()))
        compiled = torch.compile(unet, backend="aot_eager", fullgraph=True)
        for one, other in zip(
            plain, torch.autograd.grad(compiled(**told).square().mean(), list(unet.parameters())), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)

    def test_runs_in_bf16_beside_float32(self, told: dict[str, Tensor]) -> None:
        unet = make("residual_joint")
        exact = unet(**told)
        with torch.autocast("cpu", torch.bfloat16):
            rough = unet(**told)
        assert float((rough.float() - exact).norm() / exact.norm()) < 0.05

    @videos
    def test_channels_stay_last(self, temporal: str, told: dict[str, Tensor]) -> None:
        seen = []

        def look(_: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            seen.extend(x.is_contiguous(memory_format=torch.channels_last) for x in (given[0], out))

        unet = make(temporal)
        for module in unet.modules():
            if isinstance(module, nn.Conv2d | nn.GroupNorm):
                module.register_forward_hook(look)
        unet(**told)
        assert len(seen) > 30
        assert all(seen)

    def test_frames_enter_without_a_copy(self, told: dict[str, Tensor]) -> None:
        unet, where = make("factorised"), []
        unet.conv_in.register_forward_pre_hook(lambda _, given: where.append(given[0].data_ptr()))
        z = torch.randn(B, T, 8, 8, 3).permute(0, 1, 4, 2, 3)  # channels last
        unet(**told | {"z": z})
        assert where == [z.data_ptr()]


class TestConditions:
    @pytest.mark.parametrize(
        ("option", "name", "values"),
        [
            ({"labels": 4}, "labels", (torch.tensor([0, 1]), torch.tensor([0, 3]))),
            ({"image_size": 7}, "image_embedding", (torch.zeros(B, 7), torch.ones(B, 7))),
        ],
    )
    def test_each_is_seen_by_its_clip_and_missed_when_not_given(
        self, option: dict[str, int], name: str, values: tuple[Tensor, Tensor], told: dict[str, Tensor]
    ) -> None:
        unet = make("image", **option)
        one, other = (unet(**told, **{name: value}) for value in values)
        assert not torch.allclose(one[1], other[1], atol=1e-3)
        if name == "labels":
            assert torch.equal(one[0], other[0])
        with pytest.raises(InputError, match=name):
            unet(**told)

    def test_pooled_text_and_time_ids_go_together(self, told: dict[str, Tensor]) -> None:
        unet = make("image", added_size=4 + 2 * 256)
        pooled, ids = torch.randn(B, 4), torch.tensor([[8.0, 8.0], [8.0, 16.0]])
        assert unet(**told, pooled_text=pooled, time_ids=ids).shape == told["z"].shape
        with pytest.raises(InputError, match="time_ids"):
            unet(**told, pooled_text=pooled)

    def test_frame_number_and_text_are_heard_together(self, told: dict[str, Tensor]) -> None:
        """What the text adds differs from frame to frame: a course is a direction times the frames that have passed."""
        unet = make("framewise", pool_text=True)
        between = []
        unet.frame_embedding.register_forward_hook(lambda _, __, made: between.append(made[:, 1] - made[:, 0]))
        for text in (told["text"], -told["text"]):
            unet(**told | {"text": text})
        assert between[0].shape[0] == B
        assert (between[0] - between[1]).abs().max() > 1e-2

    def test_share_is_missed_where_the_design_is_told_it(self, told: dict[str, Tensor]) -> None:
        del told["share"]
        with pytest.raises(InputError, match="share"):
            make("residual")(**told)

    def test_channels_beside_the_clip_are_seen_with_it(self, told: dict[str, Tensor]) -> None:
        unet = make("factorised", in_channels=5)
        beside = torch.randn(B, T, 2, 8, 8)
        whole = unet(**told | {"z": torch.cat([told["z"], beside], dim=2)})
        assert torch.equal(unet(**told, beside=beside), whole)
        with pytest.raises(InputError, match=r"z has 3 channels.*takes 5"):
            unet(**told)

    def test_control_is_added_where_the_way_down_meets_the_way_up_and_in_the_middle(
        self, told: dict[str, Tensor]
    ) -> None:
        unet = make("factorised")
        shapes = [(8, 8), (8, 8), (8, 4), (16, 4), (16, 4)]
        none = tuple(torch.zeros(B, T, c, side, side) for c, side in shapes)
        before = unet(**told)
        assert torch.equal(unet(**told, control=none), before)
        for i in range(len(none)):
            changed = tuple(each + (i == j) for j, each in enumerate(none))
            assert not torch.allclose(unet(**told, control=changed), before, atol=1e-3)
        with pytest.raises(InputError, match=r"4 residuals.*takes 5"):
            unet(**told, control=none[1:])
        with pytest.raises(InputError, match=r"residual 4 of control is \[6, 16, 4, 2\].*\[6, 16, 4, 4\]"):
            unet(**told, control=(*none[:4], none[4][..., :2]))

    def test_an_input_that_there_is_not_is_refused(self, told: dict[str, Tensor]) -> None:
        with pytest.raises(InputError, match=r"loudness is no input.*text"):
            make("image")(**told, loudness=torch.ones(B))

    def test_an_input_from_outside_is_an_entry_of_the_table(
        self, told: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loudness = EmbeddedInput(
            layers=lambda options, size: Embedding(8, size, zero=True) if "loudness" in options.inputs else None,
            embed=lambda layers, inputs, size: embed_numbers(layers, inputs["loudness"], size),
            temporal=True,
        )
        monkeypatch.setitem(EMBEDDED, "loudness_embedding", loudness)
        unet = make("image", inputs=["loudness"])
        conditions = Conditions(added={"loudness": torch.tensor([1.0, 9.0])}, null={"loudness": torch.ones(1)})
        z, time, text = told["z"], told["time"], told["text"]
        heard = unet(z, time, text=text, **conditions.given())
        quiet = unet(z, time, text=text, **conditions.without("loudness").given())
        assert torch.equal(heard[0], quiet[0])
        assert not torch.allclose(heard[1], quiet[1], atol=1e-3)
        make("image").load_state_dict(unet.spatial_state(), strict=True)


class TestSizes:
    @pytest.mark.parametrize("patch", [1, 2])
    def test_takes_every_size_that_the_check_lets_through(self, patch: int, told: dict[str, Tensor]) -> None:
        unet = make("factorised", patch=patch)
        unet.check_size(12, 4)
        z = torch.randn(B, T, 3, 12, 4)
        assert unet(**told | {"z": z}).shape == z.shape

    @pytest.mark.parametrize(("height", "width"), [(8, 9), (6, 8), (0, 8), (8, -4)])
    def test_refuses_others(self, height: int, width: int) -> None:
        with pytest.raises(InputError, match=f"{height}x{width}.*multiples of 4"):
            make("image", patch=2).check_size(height, width)

    def test_input_and_output_may_differ_in_channels(self, told: dict[str, Tensor]) -> None:
        unet = make("residual", in_channels=6, out_channels=2)
        assert unet(**told | {"z": torch.randn(B, T, 6, 8, 8)}).shape == (B, T, 2, 8, 8)

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"attention": ("none",)}, "attention has 1 entries.*2 levels"),
            ({"heads": (2, 2, 2)}, "heads has 3 entries"),
            ({"depth": (1,)}, "depth has 1 entries"),
            ({"attention": ("none", "cross")}, "'cross'"),
            ({"middle_attention": "all"}, "'all'"),
            ({"temporal": "spiral"}, "'spiral'"),
            ({"inputs": ("loudness",)}, "inputs has 'loudness'.*no loudness_embedding"),
            ({"temporal": "video_ldm", "attention": ("none", "none")}, "'video_ldm'.*there is none"),
            ({"temporal": "controlvideo", "attention": ("none", "none")}, "'controlvideo'.*there is none"),
            ({"temporal": "tune_a_video", "attention": ("plain", "plain")}, "'tune_a_video'.*this network has none"),
        ],
    )
    def test_refuses_configurations_that_make_no_network(self, changed: dict[str, object], said: str) -> None:
        with pytest.raises(InputError, match=said):
            UNet(**SMALL | changed)


def test_comes_back_from_its_folder(tmp_path: Path, told: dict[str, Tensor]) -> None:
    unet = make("residual_joint", patch=2)
    unet.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    again = UNet.from_pretrained(tmp_path)
    assert torch.equal(again(**told), unet(**told))
