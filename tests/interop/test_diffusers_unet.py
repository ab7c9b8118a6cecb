"""Our U-Net in image mode is diffusers': same weights by name, same numbers, whatever the kind of model."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from safetensors.torch import save_file

from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import unet_config, unet_from_diffusers

SMALL = {"norm_num_groups": 8, "sample_size": 16}
SD = SMALL | {
    "block_out_channels": (16, 32, 32),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 12,
}
CONDITION = {
    # heads in number, 1x1 convolutions around the transformers
    "sd15": SD | {"attention_head_dim": 4},
    # heads per level, linear layers around the transformers
    "sd21": SD | {"attention_head_dim": (1, 2, 4), "use_linear_projection": True, "upcast_attention": True},
    # no attention at the finest level, deeper transformers, pooled text and sizes
    "xl": SMALL
    | {
        "block_out_channels": (16, 32, 32),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 12,
        "attention_head_dim": (2, 4, 8),
        "transformer_layers_per_block": (1, 2, 3),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 20 + 6 * 256,
    },
    "classes": SD | {"num_class_embeds": 5, "layers_per_block": 1},
    "scale and shift": SD | {"resnet_time_scale_shift": "scale_shift", "layers_per_block": 1},
}
PLAIN = {
    "plain": SMALL
    | {
        "block_out_channels": (16, 32, 48),
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    },
    "one head, no attention in the middle, classes": SMALL
    | {
        "block_out_channels": (16, 24),
        "down_block_types": ("AttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "AttnUpBlock2D"),
        "attention_head_dim": None,
        "add_attention": False,
        "num_class_embeds": 3,
        "layers_per_block": 1,
    },
}


def make(name: str) -> UNet2DConditionModel | UNet2DModel:
    torch.manual_seed(len(name))
    model = UNet2DConditionModel(**CONDITION[name]) if name in CONDITION else UNet2DModel(**PLAIN[name])
    with torch.no_grad():  # norms that do something, so that a swap of two of them shows
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def assert_close(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-5


@pytest.mark.parametrize("name", CONDITION)
@torch.no_grad()
def test_equals_condition_model(name: str) -> None:
    theirs = make(name)
    ours = unet_from_diffusers(theirs)
    z, time, text = torch.randn(2, 4, 16, 16), torch.tensor([7, 801]), torch.randn(2, 5, 12)
    pooled, sizes, labels = torch.randn(2, 20), torch.randint(0, 1024, (2, 6)).float(), torch.tensor([4, 1])
    told = {"pooled_text": pooled, "time_ids": sizes} if name == "xl" else {}
    told |= {"labels": labels} if name == "classes" else {}
    added = {"text_embeds": pooled, "time_ids": sizes} if name == "xl" else None
    expected = theirs(z, time, text, class_labels=labels if name == "classes" else None, added_cond_kwargs=added).sample
    assert_close(ours(z[:, None], time.float(), text=text, **told)[:, 0], expected)


@pytest.mark.parametrize("name", PLAIN)
@torch.no_grad()
def test_equals_unconditional_model(name: str) -> None:
    theirs = make(name)
    ours = unet_from_diffusers(theirs)
    z, time = torch.randn(2, 3, 16, 16), torch.tensor([7, 801])
    labels = torch.tensor([2, 0]) if "classes" in name else None
    assert_close(ours(z[:, None], time.float(), labels=labels)[:, 0], theirs(z, time, class_labels=labels).sample)


@torch.no_grad()
def test_masks_the_text_as_diffusers_does() -> None:
    theirs = make("sd15")
    ours = unet_from_diffusers(theirs)
    z, time, text = torch.randn(2, 4, 16, 16), torch.tensor([7, 801]), torch.randn(2, 5, 12)
    mask = torch.tensor([[1, 1, 0, 0, 0], [1, 1, 1, 1, 0]]).bool()
    expected = theirs(z, time, text, encoder_attention_mask=mask).sample
    assert_close(ours(z[:, None], time.float(), text=text, text_mask=mask)[:, 0], expected)


@pytest.mark.parametrize("name", [*CONDITION, *PLAIN])
def test_weights_go_back_by_name(name: str) -> None:
    theirs = make(name)
    ours = unet_from_diffusers(theirs)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.mul_(2.0)
    state = ours.state_dict()
    theirs.load_state_dict(state, strict=True)
    assert all(torch.equal(value, state[name]) for name, value in theirs.state_dict().items())


@torch.no_grad()
def test_several_frames_of_a_clip_are_so_many_images() -> None:
    theirs = make("sd15")
    ours = unet_from_diffusers(theirs)
    z, time, text = torch.randn(2, 3, 4, 16, 16), torch.tensor([7, 801]), torch.randn(2, 5, 12)
    expected = theirs(z.flatten(0, 1), time.repeat_interleave(3), text.repeat_interleave(3, dim=0)).sample
    assert_close(ours(z, time.float(), text=text).flatten(0, 1), expected)


def test_loaded_weights_are_a_copy_and_can_be_trained() -> None:
    theirs = make("plain")
    ours = unet_from_diffusers(theirs)
    before = theirs.conv_in.weight.clone()
    ours(torch.randn(1, 1, 3, 16, 16), torch.tensor([3.0])).square().mean().backward()
    with torch.no_grad():
        ours.conv_in.weight.zero_()
    assert ours.conv_in.weight.grad is not None
    assert torch.equal(theirs.conv_in.weight, before)


class TestFolders:
    def test_whole_and_in_parts_and_in_a_pipeline(self, tmp_path: Path) -> None:
        theirs = make("sd15")
        theirs.save_pretrained(tmp_path / "whole")
        theirs.save_pretrained(tmp_path / "pipeline" / "unet", max_shard_size="100KB")
        parts = list((tmp_path / "pipeline" / "unet").glob("*.safetensors"))
        assert len(parts) > 1
        expected = theirs.state_dict()
        for folder in ("whole", "pipeline"):
            state = unet_from_diffusers(tmp_path / folder).state_dict()
            assert all(torch.equal(state[name], value) for name, value in expected.items())
        parts[0].unlink()
        with pytest.raises(InputError, match=parts[0].name):
            unet_from_diffusers(tmp_path / "pipeline")

    def test_half_precision_where_there_is_nothing_else(self, tmp_path: Path) -> None:
        theirs = make("plain").half()
        theirs.save_pretrained(tmp_path, variant="fp16")
        ours = unet_from_diffusers(tmp_path)
        assert ours.dtype == torch.float32
        assert torch.equal(ours.conv_out.weight, theirs.conv_out.weight.float())
        (tmp_path / "diffusion_pytorch_model.fp16.safetensors").unlink()
        theirs.save_pretrained(tmp_path, variant="fp16", max_shard_size="100KB")
        assert torch.equal(unet_from_diffusers(tmp_path).conv_out.weight, ours.conv_out.weight)

    def test_old_names_of_attention(self, tmp_path: Path) -> None:
        theirs = make("plain")
        theirs.save_config(tmp_path)
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        state = {}
        for name, value in theirs.state_dict().items():
            for new, former in old.items():
                name = name.replace(f".{new}.", f".{former}.")
            state[name] = value.contiguous()
        assert any("proj_attn" in name for name in state)
        save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
        loaded = unet_from_diffusers(tmp_path).state_dict()
        assert all(torch.equal(loaded[name], value) for name, value in theirs.state_dict().items())

    def test_refuses_what_is_no_model(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no config\.json"):
            unet_from_diffusers(tmp_path)
        (tmp_path / "config.json").write_text("{")
        with pytest.raises(InputError, match="not JSON"):
            unet_from_diffusers(tmp_path)
        (tmp_path / "config.json").write_text("[]")
        with pytest.raises(InputError, match="list"):
            unet_from_diffusers(tmp_path)
        make("plain").save_config(tmp_path)
        with pytest.raises(InputError, match="it has none"):
            unet_from_diffusers(tmp_path)
        (tmp_path / "diffusion_pytorch_model.bin").write_bytes(b"")
        with pytest.raises(InputError, match="pickle"):
            unet_from_diffusers(tmp_path)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda state: state.pop("conv_in.bias"), "lack conv_in.bias"),
            (lambda state: state.update({"more": torch.zeros(1)}), "have more"),
            (lambda state: state.update({"conv_in.bias": torch.zeros(3)}), r"shape \(3,\)"),
        ],
    )
    def test_refuses_weights_that_do_not_fit(self, tmp_path: Path, change, said: str) -> None:
        theirs = make("plain")
        theirs.save_config(tmp_path)
        state = {name: value.contiguous() for name, value in theirs.state_dict().items()}
        change(state)
        save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
        with pytest.raises(InputError, match=said):
            unet_from_diffusers(tmp_path)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("sd15", "act_fn", "gelu"),
        ("sd15", "class_embed_type", "timestep"),
        ("sd15", "addition_embed_type", "text"),
        ("sd15", "only_cross_attention", True),
        ("sd15", "time_cond_proj_dim", 256),
        ("sd15", "layers_per_block", [1, 2, 2]),
        ("sd15", "cross_attention_dim", [12, 12, 16]),
        ("sd15", "transformer_layers_per_block", [1, [1, 2], 1]),
        ("sd15", "up_block_types", ["UpBlock2D"] * 3),
        ("sd15", "down_block_types", ["SimpleCrossAttnDownBlock2D"] * 3),
        ("sd15", "an_option_of_tomorrow", 1),
        ("plain", "freq_shift", 1),
        ("plain", "norm_num_groups", None),
        ("plain", "down_block_types", ["CrossAttnDownBlock2D"] * 3),
        ("plain", "_class_name", "UNet3DConditionModel"),
    ],
)
def test_refuses_an_option_by_its_name(name: str, option: str, value: object) -> None:
    theirs = make(name)
    config = dict(theirs.config) | {"_class_name": type(theirs).__name__}
    unet_config(json.loads(json.dumps(config)))  # as it is, it can be read
    with pytest.raises(InputError, match=option):
        unet_config(config | {option: value})


@pytest.mark.parametrize("option", ["in_channels", "block_out_channels"])
def test_refuses_a_configuration_with_a_hole(option: str) -> None:
    config = {"_class_name": "UNet2DModel", **make("plain").config}
    del config[option]
    with pytest.raises(InputError, match=option):
        unet_config(config)
