"""Writes text2video_zero.safetensors: what diffusers' Text2Video-Zero makes with a tiny image network.

    python tests/diffusion/golden/make_text2video_zero.py

diffusers has moved that pipeline to its deprecated ones (last seen in 0.42.1), so its numbers are kept: the network's
weights, the text's embeddings, the noise that it drew, and latents after every kind of its steps.
"""

from __future__ import annotations

from pathlib import Path

import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import (
    TextToVideoZeroPipeline,
    create_motion_field_and_warp_latents,
)
from diffusers.utils.torch_utils import randn_tensor
from safetensors.torch import save_file

PLACE = Path(__file__).parent
SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
UNET = {
    "sample_size": 8,
    "block_out_channels": (8, 8),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 8,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
}
FRAMES, STEPS, T0, T1, GUIDANCE, SIZE = 4, 10, 6, 8, 5.0, 8
WARPED = {"shift": (24.0, -40.0), "frames": (0, 1, 2, 5)}


def pipeline() -> TextToVideoZeroPipeline:
    """A pipeline with random parts."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**UNET).eval()
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.15 * torch.randn_like(parameter))
            parameter.copy_(parameter.bfloat16())  # so that half of the file holds nothing
    letters = [chr(code) for code in range(97, 123)]
    words = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = transformers.CLIPTokenizer(vocab={w: i for i, w in enumerate(words)}, merges=[], model_max_length=12)
    config = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=12,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )
    vae = AutoencoderKL(
        block_out_channels=(8,),
        down_block_types=("DownEncoderBlock2D",),
        up_block_types=("UpDecoderBlock2D",),
        norm_num_groups=4,
    )
    pipe = TextToVideoZeroPipeline(
        vae=vae,
        text_encoder=transformers.CLIPTextModel(config),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(**SCHEDULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def main() -> None:
    """Run it and write the file."""
    pipe = pipeline()
    first = torch.randn(1, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    made = pipe(
        "a red three",
        video_length=FRAMES,
        latents=first.clone(),
        generator=torch.Generator().manual_seed(3),
        t0=T0,
        t1=T1,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        output_type="latent",
        height=SIZE,
        width=SIZE,
        motion_field_strength_x=64.0,
        motion_field_strength_y=64.0,
    ).images
    eps = randn_tensor((FRAMES - 1, 4, SIZE, SIZE), generator=torch.Generator().manual_seed(3))
    null, text = (pipe.encode_prompt(each, "cpu", 1, False)[0] for each in ("", "a red three"))
    still = torch.randn(len(WARPED["frames"]), 2, 16, 24, generator=torch.Generator().manual_seed(4))
    moved = create_motion_field_and_warp_latents(*WARPED["shift"], WARPED["frames"], still)
    values = {"first": first, "eps": eps, "made": torch.as_tensor(made), "text": text, "null": null}
    values |= {"still": still, "moved": moved}
    values |= {f"unet.{name}": value.bfloat16() for name, value in pipe.unet.state_dict().items()}
    save_file({name: value.contiguous() for name, value in values.items()}, PLACE / "text2video_zero.safetensors")


if __name__ == "__main__":
    main()
