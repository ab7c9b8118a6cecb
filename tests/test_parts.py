"""Networks read into place, and in turns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import videofusion
from videofusion.errors import InputError
from videofusion.models import SHIPPED, load
from videofusion.networks.unet import UNet
from videofusion.parts import Turns, describe, fill

DIGITS = SHIPPED["moving-digits"].folder


def test_weights_are_those_that_diffusers_reads() -> None:
    network = describe(UNet, DIGITS / "residual")
    fill(network, DIGITS / "residual", torch.device("cpu"))
    expected = UNet.from_pretrained(DIGITS / "residual", low_cpu_mem_usage=False)
    assert not network.training
    assert network.dtype == expected.dtype == torch.float32
    for name, tensor in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)
        assert network.state_dict()[name].stride() == tensor.stride()


def test_networks_in_turns_make_the_same_clip_and_are_never_there_together(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load("moving-digits", device="cpu")("a red three moving left", seed=3, steps=2)
    pipe = load("moving-digits", device="cpu", low_memory=True)
    parts = {"base": pipe.base, "residual": pipe.residual}
    assert [part.device.type for part in parts.values()] == ["meta", "meta"]
    seen = []
    for name, part in parts.items():
        part.register_forward_hook(
            lambda *_, name=name: seen.append((name, {n: p.device.type for n, p in parts.items()}))
        )
    for _ in range(2):  # the second clip begins with the base generator again
        assert torch.equal(pipe("a red three moving left", seed=3, steps=2), expected)
    base, residual = ("base", {"base": "cpu", "residual": "meta"}), ("residual", {"base": "meta", "residual": "cpu"})
    assert [call for call, before in zip(seen, [None, *seen], strict=False) if call != before] == 2 * [base, residual]


def test_low_memory_is_refused_where_it_would_not_work(saved_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"low_memory is True, but the networks of .* do not work one after the other"):
        load(saved_model, low_memory=True)
    (tmp_path / "pytorch_lora_weights.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="low_memory is True, but adapters"):
        videofusion.load("moving-digits", lora=tmp_path, low_memory=True)


def test_a_missing_file_is_told_before_the_turn(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be loaded"):
        Turns(torch.device("cpu")).add(describe(UNet, DIGITS / "base"), tmp_path)


def test_networks_in_half_precision_make_nearly_the_same_clip_from_half_of_the_memory() -> None:
    expected = load("moving-digits", device="cpu")("a red three moving left", seed=3, steps=4)
    pipe = load("moving-digits", device="cpu", precision="bfloat16")
    assert pipe.base.dtype == pipe.residual.dtype == torch.bfloat16
    assert pipe.text_encoder.dtype == torch.float32
    made = pipe("a red three moving left", seed=3, steps=4)
    assert made.dtype == torch.float32
    assert 0 < (made - expected).abs().mean() < 0.05 * expected.std()
    whole = load("moving-digits", device="cpu").to(torch.bfloat16)("a red three moving left", seed=3, steps=4)
    assert whole.dtype == torch.float32
    assert 0 < (whole - expected).abs().mean() < 0.05 * expected.std()
    with pytest.raises(InputError, match="precision is 'half'; it must be one of float32, bfloat16"):
        load("moving-digits", precision="half")
