"""A whole pipeline of Stable Diffusion 1.x, its weights random and tiny, here and in diffusers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from videofusion.diffusion import Keys, bind
from videofusion.interop.diffusers_schedule import schedule_from_diffusers
from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.systems.vdm import VDMPipeline

SIZE = 16


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize(("spacing", "own"), [("sd", "leading"), ("sd-trailing", "trailing")])
def test_makes_the_pictures_that_diffusers_makes(tmp_path: Path, spacing: str, own: str) -> None:
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = [each + end for each in map(chr, range(33, 127)) for end in ("", "</w>")]
    words = [*letters, "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[], model_max_length=77)
    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=SIZE // 2,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
    )
    scheduler = diffusers.DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing=own,
    )
    theirs = diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(config),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    theirs.set_progress_bar_config(disable=True)
    theirs.save_pretrained(tmp_path)
    schedule, prediction = schedule_from_diffusers(tmp_path)
    ours = VDMPipeline(
        unet_from_diffusers(tmp_path),
        theirs.text_encoder,
        schedule=schedule,
        prediction=prediction,
        frames=1,
        height=SIZE,
        width=SIZE,
        guidance=7.5,
        sampler="ddim",
        sampler_options={"spacing": spacing},
        vae=vae,
        tokenizer=tokenizer,
    )
    noise = bind(ours.noise_source(), (1, 1, 4, SIZE // 2, SIZE // 2), Keys.of([5]), None, range(1))(0)
    prompt = "a red three"
    options = {"num_inference_steps": 20, "guidance_scale": 7.5, "latents": noise[:, 0], "output_type": "pt"}
    picture = 2 * theirs(prompt, height=SIZE, width=SIZE, **options).images - 1
    made = ours(prompt, seed=5, steps=20)
    torch.testing.assert_close(made, picture, rtol=0, atol=1e-4)
    even = ours(prompt, seed=5, steps=20, sampler_options={"spacing": "trailing"})
    assert (even - picture).abs().max() > 5 * (made - picture).abs().max()  # their grid makes the difference
