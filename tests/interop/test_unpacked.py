"""A model in one file is a model by itself where its kind can be known; where not, the sentence says what to give."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import tiny_files
import tiny_folders as tiny
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from videofusion.cli import main
from videofusion.errors import InputError
from videofusion.interop.image_model import load_image_model
from videofusion.interop.unpacked import ORIGINS, find_folder, kind_of
from videofusion.interop.weight_files import Stored
from videofusion.models import find


def cached(folder: Path, name: str, like: Path) -> None:
    """A download of a model's configurations, in the Hub's cache."""
    place = folder / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc123")
    weights = shutil.ignore_patterns("*.safetensors")
    shutil.copytree(like, place / "snapshots" / "abc123", ignore=weights)
    index = place / "snapshots" / "abc123" / "model_index.json"
    more = {  # of Stable Diffusion's, which are not fetched
        "feature_extractor": ["transformers", "CLIPImageProcessor"],
        "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
        "requires_safety_checker": True,
    }
    index.write_text(json.dumps(json.loads(index.read_text()) | more))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model in one file, and its folder."""
    folder = tmp_path_factory.mktemp("single")
    theirs = tiny.sd_pipeline()
    save_file(tiny_files.in_one_file(theirs), folder / "model.safetensors")
    return folder / "model.safetensors", tiny.save(theirs, folder / "like")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's folders, with nothing in them, and no network."""
    import huggingface_hub
    from huggingface_hub import constants

    def gone(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", gone)
    return tmp_path / "hub"


@pytest.mark.filterwarnings("ignore")  # theirs
def test_a_file_is_a_model_by_itself(
    made: tuple[Path, Path], hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, like = made
    with pytest.raises(
        InputError, match=r"model\.safetensors holds no configurations .*Hub cannot be reached .*--like"
    ):
        find(file)
    cached(hub, ORIGINS["1.x", ""], like)
    folder = find(file)
    assert "model.safetensors is unpacked into" in capsys.readouterr().err
    ours, theirs = load_image_model(folder), load_image_model(like)
    assert ours.facts.weights == theirs.facts.weights
    begun = (folder / "model_index.json").stat().st_mtime_ns
    assert find(file) == find_folder(file) == folder  # once
    assert (folder / "model_index.json").stat().st_mtime_ns == begun
    assert "unpacked" not in capsys.readouterr().err
    other = tmp_path / "unpacked"
    assert main(["weights", "unpack", str(file), str(other), "--like", str(like)]) == 0
    assert load_image_model(other).facts.weights == theirs.facts.weights


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda state: {
                name.replace("stage_model.transformer", "stage_model.model"): v for name, v in state.items()
            },
            r"x\.safetensors is a Stable Diffusion 2\.x, of which nothing .* predicts the noise or v; unpack it with",
        ),
        (
            lambda state: state | {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(16, 5, 3, 3)},
            r"is a Stable Diffusion 1\.x whose U-Net takes 1 more channels beside the latents, which is not",
        ),
        (
            lambda state: {name: v for name, v in state.items() if not name.startswith("cond_stage_model.")},
            r"x\.safetensors is none of Stable Diffusion 1\.x and XL",
        ),
        (
            lambda state: {"lora_unet_x.alpha": torch.zeros(1)},
            r"x\.safetensors is none of Stable Diffusion 1\.x and XL",
        ),
        (
            lambda state: {"input_blocks.1.0.temopral_conv.conv1.0.bias": torch.zeros(1)},
            r"x\.safetensors is ModelScope's U-Net alone, without autoencoder and text encoder; unpack it with",
        ),
    ],
)
def test_a_file_whose_kind_is_not_known_says_what_to_give(
    made: tuple[Path, Path],
    hub: Path,
    tmp_path: Path,
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    said: str,
) -> None:
    save_file(change(load_file(made[0])), tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=said):
        find(tmp_path / "x.safetensors")


def test_xl_is_known_and_its_refiner_is_not() -> None:
    unet: dict[str, tuple[int, ...]] = {"model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3)}
    unet |= {"model.diffusion_model.label_emb.0.0.weight": (1280, 2816)}
    both = unet | {"first_stage_model.post_quant_conv.weight": (4, 4, 1, 1), "conditioner.embedders.0.x": (1,)}

    def kind(shapes: dict[str, tuple[int, ...]]) -> tuple[str, str]:
        return kind_of({name: Stored(dtype="F16", shape=shape) for name, shape in shapes.items()})

    assert kind(both | {"conditioner.embedders.1.x": (1,)}) == ("XL", "")
    assert kind(both) == kind(unet) == ("", "")


def of_real_sizes(unet: dict[str, Any], text: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a file of real sizes, on the meta device; configurations as the model's authors published them."""
    with torch.device("meta"):
        parts = {
            "unet": diffusers.UNet2DConditionModel(**unet),
            "vae": diffusers.AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=2,
            ),
            "text_encoder": transformers.CLIPTextModel(transformers.CLIPTextConfig(**text)),
        }
    return tiny_files.in_one_file(SimpleNamespace(**parts), levels=4)


def test_a_file_of_stable_diffusion_1_5_is_known() -> None:
    """By the numbers that are known of it: 859,520,964 weights of the U-Net in 686 tensors, and so on."""
    layers = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    state = of_real_sizes({"cross_attention_dim": 768, "attention_head_dim": 8}, layers)
    for begin, tensors, weights in (
        ("model.diffusion_model.", 686, 859_520_964),
        ("first_stage_model.", 248, 83_653_863),
        ("cond_stage_model.transformer.", 196, 123_060_480),
    ):
        own = [value.numel() for name, value in state.items() if name.startswith(begin)]
        assert (len(own), sum(own)) == (tensors, weights)
    assert state.keys() >= {
        "model.diffusion_model.output_blocks.5.2.conv.weight",
        "model.diffusion_model.middle_block.1.proj_in.weight",
        "first_stage_model.decoder.up.2.upsample.conv.weight",
        "first_stage_model.encoder.down.1.block.0.nin_shortcut.bias",
    }
    names = {name: Stored(dtype="F16", shape=tuple(value.shape)) for name, value in state.items()}
    assert kind_of(names) == ("1.x", "")
