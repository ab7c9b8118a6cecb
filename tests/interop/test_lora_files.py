"""Files of adapters: what they add, in all of the layouts that people have, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import diffusers
import pytest
import tiny_folders as tiny
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.interop.kohya import sgm_names
from videofusion.interop.lora_files import METADATA, apply_lora, find_lora
from videofusion.networks.unet import UNet

LAYER = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


def matrices(rank: int = 2, prefix: str = f"unet.{LAYER}") -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {f"{prefix}.lora_A.weight": torch.randn(rank, 16), f"{prefix}.lora_B.weight": torch.randn(16, rank)}


def change(tensors: dict[str, torch.Tensor], tmp_path, facts: dict | None = None, scale: float = 1.0) -> torch.Tensor:
    """What a file adds to the weight of LAYER."""
    network = UNet(channels=(16, 16), attention=("none", "transformer"), blocks=1, heads=2, text_size=16, groups=8)
    before = network.get_submodule(LAYER).weight.detach().clone()
    save_file(tensors, tmp_path / "x.safetensors", None if facts is None else {METADATA: json.dumps(facts)})
    apply_lora({"unet": network}, tmp_path / "x.safetensors", scale)
    return network.get_submodule(LAYER).weight.detach() - before


def test_both_of_diffusers_names_alpha_and_scale(tmp_path):
    down, up = matrices().values()
    torch.testing.assert_close(change(matrices(), tmp_path), up @ down)
    torch.testing.assert_close(change(matrices(), tmp_path, scale=-0.5), -0.5 * up @ down)
    old = {f"unet.{LAYER}.lora.down.weight": down, f"unet.{LAYER}.lora.up.weight": up}
    torch.testing.assert_close(change(old, tmp_path), up @ down)
    torch.testing.assert_close(change({**old, f"unet.{LAYER}.alpha": torch.tensor(6.0)}, tmp_path), 3 * up @ down)
    torch.testing.assert_close(change(matrices(), tmp_path, {"unet.lora_alpha": 1, "unet.r": 2}), 0.5 * up @ down)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ({"unet.conv_in.weight": torch.zeros(3)}, "which is no matrix of an adapter"),
        ({}, "has no adapters in it"),
        (dict([next(iter(matrices().items()))]), "has one matrix for"),
        (matrices(prefix="base.conv"), "is of another model: this one has no linear layer or convolution base.conv"),
        (matrices(prefix="unet.conv_norm_out"), "no linear layer or convolution unet.conv_norm_out"),
        (matrices() | {f"unet.{LAYER}.alpha": torch.tensor(float("nan"))}, "alpha = nan; it must be one finite number"),
        ({name: value * math.nan for name, value in matrices().items()}, "holds values that are not finite"),
        (matrices(rank=0), "has no values"),
        ({name: value[:, :7].contiguous() for name, value in matrices(16).items()}, "which do not make its weight of"),
    ],
)
def test_files_that_do_not_fit_are_refused(tensors, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        change(tensors, tmp_path)


def test_files_that_are_none_are_refused(tmp_path):
    with pytest.raises(InputError, match="a file of LoRA weights, or a folder with a pytorch_lora_weights"):
        find_lora(tmp_path)
    (tmp_path / "x.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="is a pickle"):
        find_lora(tmp_path / "x.bin")
    (tmp_path / "x.safetensors").write_bytes(b"x")
    with pytest.raises(InputError, match=r"x\.safetensors is no file of safetensors"):
        apply_lora({}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="lora_scale is nan"):
        apply_lora({}, tmp_path / "x.safetensors", float("nan"))
    with pytest.raises(InputError, match=r"alpha = \[0\.0, 0\.0, 0\.0\]; it must be one finite number"):
        change(matrices() | {f"unet.{LAYER}.alpha": torch.zeros(3)}, tmp_path)
    with pytest.raises(InputError, match=r"use_dora = True, which is not known"):
        change(matrices(), tmp_path, {"unet.use_dora": True})


def test_names_that_diffusers_had_before(tmp_path: Path) -> None:
    down, up = matrices().values()
    old = f"unet.{LAYER.replace('.to_q', '.processor.to_q_lora')}"
    torch.testing.assert_close(change({f"{old}.down.weight": down, f"{old}.up.weight": up}, tmp_path), up @ down)
    text = tiny.text_encoder(16)
    layer = text.get_submodule("encoder.layers.0.self_attn.out_proj")
    before = layer.weight.detach().clone()
    name = "text_encoder.text_model.encoder.layers.0.self_attn.to_out_lora"
    save_file({f"{name}.down.weight": down, f"{name}.up.weight": up}, tmp_path / "x.safetensors")
    assert apply_lora({"text_encoder": text}, tmp_path / "x.safetensors") == 1
    torch.testing.assert_close(layer.weight.detach() - before, up @ down)


def test_what_is_said_of_a_unet_is_for_the_base(tmp_path: Path) -> None:
    network = UNet(channels=(16, 16), attention=("none", "transformer"), blocks=1, heads=2, text_size=16, groups=8)
    save_file(matrices(), tmp_path / "x.safetensors")
    assert apply_lora({"base": network}, tmp_path / "x.safetensors") == 1


class Kohya:
    """A file as kohya's scripts write it, for the layers of diffusers' networks.

    Args:
        names: of each part's layers in the file: "diffusers" or "sgm".
        convolutions: adapt those of residual blocks too (LoCon).
    """

    def __init__(self, pipeline: Any, names: str = "diffusers", convolutions: bool = False) -> None:
        self.tensors: dict[str, Tensor] = {}
        torch.manual_seed(5)
        unet = [name for name, _ in pipeline.unet.named_modules() if name]
        theirs = sgm_names(unet) if names == "sgm" else {name: name for name in unet}
        for name, layer in pipeline.unet.named_modules():
            inside = "transformer_blocks" in name or ".proj_" in name
            if inside or (convolutions and isinstance(layer, nn.Conv2d | nn.Linear) and "_blocks." in name):
                self.add("lora_unet_" + theirs[name].replace(".", "_"), layer)
        for part, prefix in (("text_encoder", "lora_te1_"), ("text_encoder_2", "lora_te2_")):
            for name, layer in getattr(pipeline, part, nn.Identity()).named_modules():
                if ".self_attn." in name or ".mlp." in name:
                    prefix = "lora_te_" if getattr(pipeline, "text_encoder_2", None) is None else prefix
                    self.add(f"{prefix}text_model_{name.removeprefix('text_model.').replace('.', '_')}", layer)

    def add(self, name: str, layer: nn.Module) -> None:
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            return
        out, *size = layer.weight.shape
        kernel = [1, 1] if len(size) == 3 else []
        self.tensors[f"{name}.lora_down.weight"] = 0.3 * torch.randn(3, *size)
        self.tensors[f"{name}.lora_up.weight"] = 0.3 * torch.randn(out, 3, *kernel)
        self.tensors[f"{name}.alpha"] = torch.tensor(1.5)

    def save(self, folder: Path) -> Path:
        save_file(self.tensors, folder / "kohya.safetensors")
        return folder / "kohya.safetensors"


@torch.no_grad()
def same(theirs: Any, ours: UNet, text: dict[str, Any]) -> None:
    """Whether two models with their adapters make the same of a picture and a text."""
    xl = ours.add_embedding is not None
    z, time, seen = torch.randn(1, 4, 8, 8), torch.tensor([321]), torch.randn(1, 5, 48 if xl else 32)
    pooled, sizes = torch.randn(1, 24), torch.full((1, 6), 16.0)
    added = {"text_embeds": pooled, "time_ids": sizes} if xl else None
    expected = theirs.unet(z, time, seen, added_cond_kwargs=added).sample
    told = {"pooled_text": pooled, "time_ids": sizes} if xl else {}
    found = ours(z[:, None], time.float(), text=seen, **told)[:, 0]
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    numbers = torch.tensor([[188, 5, 9, 30, 189]])
    for part, module in text.items():
        made, wanted = (each(numbers, output_hidden_states=True) for each in (module, getattr(theirs, part)))
        for one, other in zip(made.hidden_states, wanted.hidden_states, strict=True):
            assert float((one - other).norm() / other.norm()) < 1e-5


def copies(pipeline: Any) -> tuple[UNet, dict[str, Any]]:
    """Our U-Net of a pipeline, and copies of its text encoders."""
    parts = [part for part in ("text_encoder", "text_encoder_2") if getattr(pipeline, part, None) is not None]
    text = {part: type(getattr(pipeline, part))(getattr(pipeline, part).config).eval() for part in parts}
    for part, module in text.items():
        module.load_state_dict(getattr(pipeline, part).state_dict())
    return unet_from_diffusers(pipeline.unet), text


@pytest.mark.parametrize(
    ("kind", "names", "convolutions"),
    [("sd", "diffusers", False), ("sd", "diffusers", True), ("xl", "diffusers", False), ("xl", "sgm", False)],
)
@pytest.mark.filterwarnings("ignore")  # theirs
def test_kohya_files_add_what_diffusers_has_them_add(kind: str, names: str, convolutions: bool, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    theirs = tiny.sd_pipeline() if kind == "sd" else tiny.xl_pipeline()
    ours, text = copies(theirs)
    file = Kohya(theirs, names, convolutions)
    assert apply_lora({"unet": ours, **text}, file.save(tmp_path)) == len(file.tensors) // 3
    with pytest.raises(AssertionError):
        same(theirs, ours, text)
    theirs.load_lora_weights(tmp_path, weight_name="kohya.safetensors")
    same(theirs, ours, text)


@pytest.mark.filterwarnings("ignore")  # theirs
def test_diffusers_own_files_too(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    theirs = tiny.xl_pipeline()
    ours, text = copies(theirs)
    torch.manual_seed(0)
    for part, layers in (
        ("unet", ["to_q", "conv1", "ff.net.2"]),
        ("text_encoder", ["k_proj"]),
        ("text_encoder_2", ["fc1"]),
    ):
        config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=layers, init_lora_weights=False)
        getattr(theirs, part).add_adapter(config)
    state = {part: peft.get_peft_model_state_dict(getattr(theirs, part)) for part in ("unet", *text)}

    diffusers.StableDiffusionXLPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=state["unet"],
        text_encoder_lora_layers=state["text_encoder"],
        text_encoder_2_lora_layers=state["text_encoder_2"],
        **{f"{part}_lora_adapter_metadata": getattr(theirs, part).peft_config["default"].to_dict() for part in state},
    )
    assert apply_lora({"unet": ours, **text}, find_lora(tmp_path)) > 20
    same(theirs, ours, text)


@torch.no_grad()
def test_a_third_matrix_is_a_convolution_between_the_two(tmp_path: Path) -> None:
    theirs = tiny.unet()
    ours = unet_from_diffusers(theirs)
    layer = "down_blocks.0.resnets.0.conv2"
    down, middle, up = torch.randn(3, 16, 1, 1), torch.randn(3, 3, 3, 3), torch.randn(16, 3, 1, 1)
    name = "lora_unet_" + layer.replace(".", "_")
    matrices = {"lora_down": down, "lora_mid": middle, "lora_up": up}
    save_file({f"{name}.{key}.weight": value for key, value in matrices.items()}, tmp_path / "x.safetensors")
    x = torch.randn(2, 16, 8, 8)
    before = ours.get_submodule(layer)(x)
    apply_lora({"unet": ours}, tmp_path / "x.safetensors")
    added = nn.functional.conv2d(nn.functional.conv2d(nn.functional.conv2d(x, down), middle, padding=1), up)
    torch.testing.assert_close(ours.get_submodule(layer)(x) - before, added, rtol=1e-4, atol=1e-4)


def test_a_file_of_another_model_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    sd, xl = tiny.sd_pipeline(), tiny.xl_pipeline()
    ours, text = copies(sd)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    file = Kohya(xl, "sgm").save(tmp_path)
    with pytest.raises(
        InputError, match=r"kohya\.safetensors is of Stable Diffusion XL \(it has lora_.*expected was one of"
    ):
        apply_lora({"unet": ours, **text}, file)
    with pytest.raises(InputError, match=r"is of another model|do not make its weight"):
        apply_lora({"unet": unet_from_diffusers(xl.unet)}, Kohya(sd).save(tmp_path))
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("lora_unet_conv_in.hada_w1_a", "which is LoHa; LoRA and LoCon are known"),
        ("lora_unet_conv_in.lokr_w1", "which is LoKr"),
        ("lora_unet_conv_in.dora_scale", "which is DoRA"),
        ("lora_unet_conv_in.more", "which is no matrix of an adapter"),
        ("lora_unet_conv_in.lora_down.weight", "has one matrix for unet.conv_in"),
        ("lora_unet_conv_in.lora_mid.weight", "without lora_unet_conv_in.lora_down.weight"),
        ("lora_unet_conv_between.lora_down.weight", "this one has no layer lora_unet_conv_between"),
    ],
)
def test_kohya_files_that_do_not_fit(name: str, sentence: str, tmp_path: Path) -> None:
    save_file({name: torch.zeros(2, 4, 3, 3)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=sentence):
        apply_lora({"unet": unet_from_diffusers(tiny.unet())}, tmp_path / "x.safetensors")


def test_names_of_the_authors_code() -> None:
    """Some that are known from files of Stable Diffusion XL, whose levels have two blocks."""
    with torch.device("meta"):
        xl = UNet(
            channels=(32, 64, 64), blocks=2, attention=("none", "transformer", "transformer"), text_size=8, added_size=8
        )
    found = sgm_names(name for name, _ in xl.named_modules())
    assert found["down_blocks.1.attentions.0.proj_in"] == "input_blocks.4.1.proj_in"
    assert found["down_blocks.0.downsamplers.0.conv"] == "input_blocks.3.0.op"
    assert found["mid_block.resnets.1.conv1"] == "middle_block.2.in_layers.2"
    assert found["up_blocks.0.upsamplers.0.conv"] == "output_blocks.2.2.conv"
    assert found["up_blocks.1.attentions.2.transformer_blocks.0.attn1.to_q"] == (
        "output_blocks.5.1.transformer_blocks.0.attn1.to_q"
    )
    assert found["add_embedding.linear_2"] == "label_emb.0.2"
    weighted = {name for name, module in xl.named_modules() if next(module.parameters(recurse=False), None) is not None}
    assert weighted <= found.keys()
    assert len({found[name] for name in weighted}) == len(weighted)
