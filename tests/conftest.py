"""What all tests share: where real clips are, and a small model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real clips beside the repository; a test that wants it skips without it."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("VIDEOFUSION_SHARED", beside))
    if not path.is_dir():
        pytest.skip("the real clips of ../shared/data are not here (VIDEOFUSION_SHARED names them)")
    return path


@pytest.fixture(scope="session")
def saved_vae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a diffusers autoencoder with random weights: 4 channels, a place of its latents is 2x2 pixels."""
    import torch
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        scaling_factor=2.0,
    )
    folder = tmp_path_factory.mktemp("saved") / "vae"
    vae.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def saved_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline's folder with a U-Net as Stable Diffusion's, of random weights, in pixels, that reads texts."""
    import torch
    from diffusers import DDIMScheduler, UNet2DConditionModel

    torch.manual_seed(0)
    model = UNet2DConditionModel(
        in_channels=3,
        out_channels=3,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        attention_head_dim=2,
        cross_attention_dim=16,
    )
    folder = tmp_path_factory.mktemp("saved") / "base"
    model.save_pretrained(folder / "unet")
    schedule = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    schedule.save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture(scope="session")
def saved_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline's folder with a CLIP text encoder of random weights, of size 16, whose tokenizer knows letters."""
    import torch

    transformers = pytest.importorskip("transformers", reason="transformers is not here (the extra clip brings it)")
    torch.manual_seed(0)
    letters = [chr(each) for each in range(97, 123)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    tokenizer = transformers.CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
    tokenizer.model_max_length = 30
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    tokens = {"vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = transformers.CLIPTextConfig(**sizes, **tokens, max_position_embeddings=40)
    folder = tmp_path_factory.mktemp("saved") / "text"
    transformers.CLIPTextModel(config).save_pretrained(folder / "text_encoder")
    tokenizer.save_pretrained(folder / "tokenizer")
    return folder


@pytest.fixture(scope="session")
def saved_prior(saved_text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline's folder as Kandinsky's prior has it, random weights: CLIP's two encoders, embeddings of size 16."""
    import shutil

    import torch
    import transformers
    from diffusers import PriorTransformer, UnCLIPScheduler

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("saved") / "prior"
    shutil.copytree(saved_text / "tokenizer", folder / "tokenizer")
    words = transformers.CLIPTextConfig.from_pretrained(saved_text / "text_encoder", projection_dim=16)
    text = transformers.CLIPTextModelWithProjection(words)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**tower, image_size=16, patch_size=8, projection_dim=16)
    prior = PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, num_layers=1, embedding_dim=16, num_embeddings=30
    )
    with torch.no_grad():  # as trained ones have them: nothing at nothing, and statistics
        for tensor in (prior.positional_embedding, prior.prd_embedding, prior.clip_mean):
            tensor.normal_()
        prior.clip_std.uniform_(0.5, 1.5)
    text.save_pretrained(folder / "text_encoder")
    transformers.CLIPVisionModelWithProjection(vision).save_pretrained(folder / "image_encoder")
    prior.save_pretrained(folder / "prior")
    UnCLIPScheduler(prediction_type="sample", clip_sample_range=0.5).save_pretrained(folder / "scheduler")
    (folder / "image_processor").mkdir()
    processor = {"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}, "resample": 3}
    (folder / "image_processor" / "preprocessor_config.json").write_text(
        json.dumps(processor | {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]})
    )
    return folder


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small text-to-video pipeline with random weights: 3 frames of 8x8, "red" and "three"."""
    import torch

    from videofusion.conditioning.text import WordEncoder
    from videofusion.networks.unet import UNet
    from videofusion.systems.vdm import VDMPipeline

    torch.manual_seed(0)
    unet = UNet(channels=(16, 16), attention=("none", "transformer"), blocks=1, heads=2, text_size=16, groups=8)
    folder = tmp_path_factory.mktemp("saved") / "model"
    pipe = VDMPipeline(unet, WordEncoder(words=["red", "three"], size=16), frames=3, height=8, width=8)
    pipe.save_pretrained(folder)
    return folder


@pytest.fixture
def clip_folder(tmp_path: Path) -> Path:
    """CLIP with small random weights and a vocabulary of three words."""
    transformers = pytest.importorskip("transformers")
    import torch

    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=tower | {"vocab_size": 8, "max_position_embeddings": 6, "eos_token_id": 7, "bos_token_id": 6},
        vision_config=tower | {"image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    folder = tmp_path / "clip"
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(folder)
    words = ["a", "b", "a</w>", "b</w>", "ab</w>", "c", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\na b</w>\n")
    return folder
