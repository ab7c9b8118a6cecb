"""A small folder in the layout of Stable Diffusion, with random weights: commands can be tried on it, pictures are noise.

`python -m tools.tiny_image_model OUT` writes it: pictures of 32x32 in latents of 8x8, a megabyte or so.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from videofusion.errors import InputError

_TOKENS = 77
_TEXT = 32  # features of a token


def tiny_image_model(folder: Path) -> Path:
    """Write the folder of a random `StableDiffusionPipeline`, always of the same weights.

    Args:
        folder: must not exist, or be empty.

    Raises:
        InputError: there is something in it.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} must be a new or empty folder")
    import diffusers
    import transformers

    letters = [letter + end for letter in map(chr, range(33, 127)) for end in ("", "</w>")]
    words = [*letters, "<|startoftext|>", "<|endoftext|>"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text = transformers.CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=_TEXT,
            intermediate_size=2 * _TEXT,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=_TOKENS,
            bos_token_id=len(words) - 2,
            eos_token_id=len(words) - 1,
            pad_token_id=len(words) - 1,
        )
        parts: dict[str, Any] = {
            "unet": diffusers.UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(32, 64),
                down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                layers_per_block=1,
                cross_attention_dim=_TEXT,
                attention_head_dim=4,
                norm_num_groups=8,
            ),
            "vae": diffusers.AutoencoderKL(
                block_out_channels=(8, 16, 16),
                down_block_types=("DownEncoderBlock2D",) * 3,
                up_block_types=("UpDecoderBlock2D",) * 3,
                norm_num_groups=8,
                sample_size=32,
            ),
            "text_encoder": transformers.CLIPTextModel(text),
            "tokenizer": transformers.CLIPTokenizer(
                vocab={word: index for index, word in enumerate(words)}, merges=[], model_max_length=_TOKENS
            ),
            "scheduler": diffusers.DDIMScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                clip_sample=False,
                set_alpha_to_one=False,
                steps_offset=1,
            ),
        }
    pipeline = diffusers.StableDiffusionPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="a new folder")
    out = tiny_image_model(parser.parse_args().out)
    print(f"{out}  (random weights: for trying commands; its pictures are noise)")
