"""Adapters: where they sit, that they add what their file says, and that diffusers reads the file."""

import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from videofusion.errors import InputError
from videofusion.interop.lora_files import apply_lora, find_lora
from videofusion.networks.lora import (
    FILE,
    add_lora,
    attention_layers,
    is_adapter,
    lora_tensors,
    merged,
)
from videofusion.networks.unet import UNet


def unet(temporal: str = "residual_joint", attention: tuple[str, ...] = ("none", "transformer")) -> UNet:
    """A small network whose layers all speak."""
    torch.manual_seed(0)
    network = UNet(channels=(16, 16), attention=attention, blocks=1, heads=2, text_size=16, groups=8, temporal=temporal)
    shake(network)
    return network


def shake(module: nn.Module) -> None:
    for parameter in module.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)


def said(network: UNet, t: int = 3) -> torch.Tensor:
    z = torch.sin(torch.arange(2 * t * 3 * 64).float()).reshape(2, t, 3, 8, 8)
    text = torch.cos(torch.arange(2 * 4 * 16).float()).reshape(2, 4, 16)
    return network(z, torch.tensor([10.0, 500.0]), text=text, share=torch.full((2, t), 0.5))


def test_adapters_sit_on_the_linear_layers_of_attention_only():
    names = attention_layers(unet())
    ends = {name.split(".to_")[1] for name in names}
    assert ends == {"q", "k", "v", "out.0", "qkv", "out"}
    assert all(".attn" in name or ".temporals." in name for name in names)
    assert len(names) == len(set(names)) > 20


@pytest.mark.parametrize("temporal", ["image", "residual", "residual_joint", "residual_middle_place"])
def test_every_adapter_is_heard_and_nothing_at_first(temporal):
    pytest.importorskip("peft")
    network = unet(temporal)
    before = said(network)
    add_lora(network, 2)
    torch.testing.assert_close(said(network), before)  # B is zero; a layer beside another rounds otherwise
    shake(network)
    said(network).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == is_adapter(name)
        assert not is_adapter(name) or parameter.grad.any(), name


def tuned(temporal: str = "residual_joint", **options: object) -> UNet:
    network = unet(temporal, **options)
    add_lora(network, 2)
    shake(network)
    return network.eval()


def test_merged_and_applied_from_a_file_say_what_the_adapters_do(tmp_path):
    pytest.importorskip("peft")
    network = tuned()
    out = said(network)
    plain = merged(network)
    assert set(plain.state_dict()) == set(unet().state_dict())
    torch.testing.assert_close(said(plain), out)
    assert torch.equal(said(network), out)  # the copy was changed, not the network
    save_file(lora_tensors("unet", network), tmp_path / FILE)
    fresh = unet()
    assert apply_lora({"unet": fresh}, find_lora(tmp_path)) == len(attention_layers(fresh))
    torch.testing.assert_close(said(fresh), out)
    assert (said(unet()) - out).abs().max() > 1e-3


def test_file_holds_the_very_numbers(tmp_path):
    pytest.importorskip("peft")
    network = tuned()
    save_file(lora_tensors("base", network), tmp_path / FILE)
    stored = load_file(tmp_path / FILE)
    live = {name: value for name, value in network.state_dict().items() if is_adapter(name)}
    assert len(stored) == len(live) == 2 * len(attention_layers(unet()))
    for name, value in live.items():
        assert torch.equal(stored[f"base.{name.replace('.default.', '.')}"], value), name


def test_diffusers_loads_the_file_and_says_the_same(tmp_path):
    pytest.importorskip("peft")
    from diffusers import UNet2DConditionModel

    from videofusion.interop.diffusers_unet import unet_from_diffusers

    torch.manual_seed(0)
    theirs = UNet2DConditionModel(
        block_out_channels=(16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        in_channels=3,
        out_channels=3,
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=8,
    ).eval()
    ours = unet_from_diffusers(theirs)
    add_lora(ours, 4)
    for name, parameter in ours.named_parameters():  # not the biases, which are zero in both
        if is_adapter(name):
            nn.init.normal_(parameter, std=0.1)
    save_file(lora_tensors("unet", ours), tmp_path / FILE, {"format": "pt"})
    z, text, time = torch.randn(2, 3, 8, 8), torch.randn(2, 5, 16), torch.tensor([10, 700])
    with torch.no_grad():
        before = theirs(z, time, text).sample
        theirs.load_lora_adapter(tmp_path, weight_name=FILE, prefix="unet")
        out = theirs(z, time, text).sample
        mine = ours(z[:, None], time.float(), text=text)[:, 0]
    torch.testing.assert_close(out, mine, rtol=1e-4, atol=1e-5)
    assert (out - before).abs().max() > 1e-3


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"videofusion\[lora\]"):
        add_lora(unet(), 2)


def test_network_without_attention_is_refused():
    pytest.importorskip("peft")
    with pytest.raises(InputError, match="has no attention"):
        add_lora(unet("image", ("none", "none")), 2)
