"""Writes modelscope.safetensors: what diffusers' TextToVideoSDPipeline makes with a tiny video network.

    python tests/diffusion/golden/make_modelscope.py

diffusers has moved that pipeline to its deprecated ones (last seen in 0.42.1), so its numbers are kept: the network's
weights, the text's embeddings, the noise, and the latents at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

PLACE = Path(__file__).parent
sys.path.insert(0, str(PLACE.parents[1] / "interop"))
import tiny_folders as tiny  # noqa: E402

SMALL = {"width": 8, "block_out_channels": (8, 8), "attention_head_dim": 2, "norm_num_groups": 4}
FRAMES, STEPS, GUIDANCE, SIZE = 3, 8, 5.0, 8


@torch.no_grad()
def main() -> None:
    """Run it and write the file."""
    pipe = tiny.modelscope_pipeline(**SMALL)
    pipe.register_modules(text_encoder=tiny.text_encoder(8))
    assert isinstance(pipe, diffusers.TextToVideoSDPipeline)
    pipe.set_progress_bar_config(disable=True)
    for parameter in pipe.unet.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
        parameter.copy_(parameter.bfloat16())  # so that half of the file holds nothing
    noise = torch.randn(1, 4, FRAMES, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    made = pipe(
        "a red three",
        negative_prompt="grey",
        num_frames=FRAMES,
        latents=noise.clone(),
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        output_type="latent",
    ).frames
    null, text = (pipe.encode_prompt(each, "cpu", 1, False)[0] for each in ("grey", "a red three"))
    values = {"noise": noise.transpose(1, 2), "made": made.transpose(1, 2), "text": text, "null": null}
    values |= {f"unet.{name}": value.bfloat16() for name, value in pipe.unet.state_dict().items()}
    save_file({name: value.contiguous() for name, value in values.items()}, PLACE / "modelscope.safetensors")


if __name__ == "__main__":
    main()
