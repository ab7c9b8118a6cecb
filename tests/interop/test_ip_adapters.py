"""Images as prompts: a U-Net with the weights of a file does what diffusers' does, and files of others are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_folders as tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

from videofusion.cli import main
from videofusion.clip import read_clip, write_clip
from videofusion.diffusion.conditions import Conditions
from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.interop.ip_adapters import add_ip_adapter


def weights(unet: Any, image_size: int = 10) -> dict[str, dict[str, Tensor]]:
    """An adapter's as diffusers takes them: by kind."""
    torch.manual_seed(6)
    width = unet.config.cross_attention_dim
    attention: dict[str, Tensor] = {}
    number = 1
    for name in unet.attn_processors:
        if "attn2" in name:
            layer = unet.get_submodule(name.removesuffix(".processor"))
            for each in ("to_k_ip", "to_v_ip"):
                attention[f"{number}.{each}.weight"] = torch.randn(layer.to_k.weight.shape) / 4
            number += 2
    image = {"proj.weight": torch.randn(4 * width, image_size), "proj.bias": torch.randn(4 * width)}
    image |= {"norm.weight": torch.rand(width) + 0.5, "norm.bias": torch.randn(width)}
    return {"image_proj": image, "ip_adapter": attention}


def save(made: dict[str, dict[str, Tensor]], folder: Path) -> Path:
    save_file(
        {f"{kind}.{name}": value for kind, own in made.items() for name, value in own.items()}, folder / "x.safetensors"
    )
    return folder / "x.safetensors"


@pytest.mark.parametrize("scale", [1.0, 0.4])
@torch.no_grad()
def test_an_image_does_to_our_unet_what_it_does_to_theirs(scale: float, tmp_path: Path) -> None:
    theirs = tiny.unet(down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2)
    made = weights(theirs)
    ours = unet_from_diffusers(theirs)
    z, time = torch.randn(2, 3, 4, 8, 8), torch.tensor([7.0, 801.0])
    plain, null, image = torch.randn(2, 5, 32), torch.randn(1, 5, 32), torch.randn(2, 10)
    before = ours(z, time, text=plain)
    tokens = add_ip_adapter(ours, save(made, tmp_path), scale)
    conditions = tokens.conditions(Conditions(text=plain, null={"text": null}), image)
    theirs._load_ip_adapter_weights([made])
    for processor in theirs.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [scale]
    for said, text, seen in ((conditions, plain, image), (conditions.without("text"), null, torch.zeros(2, 10))):
        found = ours(z, time, **said.given())
        expected = theirs(
            z.flatten(0, 1),
            time.repeat_interleave(3),
            text.expand(2, -1, -1).repeat_interleave(3, 0),
            added_cond_kwargs={"image_embeds": [seen.repeat_interleave(3, 0)[:, None]]},
        ).sample
        assert float((found.flatten(0, 1) - expected).norm() / expected.norm()) < 1e-5
    assert float((ours(z, time, **conditions.given()) - before).abs().max()) > 1e-3


@torch.no_grad()
def test_scale_0_is_the_unet_without(tmp_path: Path) -> None:
    theirs = tiny.unet()
    ours = unet_from_diffusers(theirs)
    z, time, text = torch.randn(1, 2, 4, 8, 8), torch.tensor([7.0]), torch.randn(1, 5, 32)
    before = ours(z, time, text=text)
    tokens = add_ip_adapter(ours, save(weights(theirs), tmp_path), 0.0)
    assert torch.equal(ours(z, time, **tokens.conditions(Conditions(text=text), torch.randn(1, 10)).given()), before)


def test_files_of_others_are_told_and_change_nothing(tmp_path: Path) -> None:
    unet = unet_from_diffusers(tiny.unet())
    before = set(unet.state_dict())
    with pytest.raises(InputError, match="makes tokens 48 wide, but this U-Net reads text 32 wide; expected was"):
        add_ip_adapter(unet, save(weights(tiny.unet(width=48)), tmp_path))
    deep = tiny.unet(down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2)
    with pytest.raises(InputError, match=r"ip_adapter\.3\.to_k_ip\.weight is of \(16, 32\); this U-Net has it of"):
        add_ip_adapter(unet_from_diffusers(deep), save(weights(tiny.unet()), tmp_path))
    made = weights(tiny.unet())
    made["ip_adapter"]["9.to_k_ip.weight"] = torch.zeros(1)
    with pytest.raises(InputError, match="is for 5 layers of attention; this U-Net has 4"):
        add_ip_adapter(unet, save(made, tmp_path))
    del made["image_proj"]["proj.weight"]
    with pytest.raises(InputError, match=r"lacks image_proj\.proj\.weight; expected was a plain IP-Adapter"):
        add_ip_adapter(unet, save(made, tmp_path))
    with pytest.raises(InputError, match="ip_adapter_scale is inf"):
        add_ip_adapter(unet, tmp_path / "x.safetensors", float("inf"))
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(InputError, match=r"x\.bin is a pickle"):
        add_ip_adapter(unet, tmp_path / "x.bin")
    assert set(unet.state_dict()) == before


def test_a_picture_is_a_second_prompt_of_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = tiny.sd_pipeline()
    model, encoder = tiny.save(theirs, tmp_path / "sd"), tmp_path / "clip"
    tiny.image_encoder(projection=24).save_pretrained(encoder)
    adapter, picture = save(weights(theirs.unet, 24), tmp_path), tmp_path / "picture.png"
    write_clip(torch.rand(1, 3, 20, 30) * 2 - 1, picture, 8.0, {}, scale=1)

    def made(*options: str) -> Tensor:
        out = tmp_path / "out.mp4"
        few = ["--steps", "2", "--frames", "2", "--force", "--device", "cpu"]
        assert main(["generate", "a cat", "--model", str(model), "-o", str(out), *few, *options]) == 0
        return read_clip(out)

    given = ["--ip-adapter", str(adapter), "--ip-adapter-image", str(picture), "--ip-adapter-encoder", str(encoder)]
    plain = made()
    assert torch.equal(made(*given, "--ip-adapter-scale", "0"), plain)
    assert not torch.equal(made(*given), plain)
    for options, says in (
        (given[:4], "--ip-adapter-encoder is not given"),
        ([*given, "--prompts", str(tmp_path / "prompts.jsonl")], "--ip-adapter and --prompts are both given"),
        ([*given, "--model", "moving-digits"], "this model takes none, image models do"),
    ):
        command = ["generate", "--model", str(model)] if "--model" not in options else ["generate"]
        said = [] if "--prompts" in options else ["a cat"]
        assert main([*command, *said, "-o", str(tmp_path / "none.mp4"), *options]) == 2
        assert says in capsys.readouterr().err
    tiny.image_encoder(projection=16).save_pretrained(tmp_path / "other")
    command = ["generate", "a cat", "--model", str(model), "-o", str(tmp_path / "none.mp4"), *given[:4]]
    assert main([*command, "--ip-adapter-encoder", str(tmp_path / "other")]) == 2
    assert "takes embeddings of size 24, but image_encoder makes them of size 16" in capsys.readouterr().err
