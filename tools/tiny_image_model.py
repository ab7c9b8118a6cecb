"""A small image model in the layout of Stable Diffusion, trained here on the built-in digits, to try commands on.

`python -m tools.tiny_image_model OUT` takes some minutes of one core and writes OUT: pictures of 32x32, in
latents of 16x16, which show digits in the colours that were asked for, roughly. `--steps 0` leaves its weights random.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss
from tqdm import tqdm

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.digits.moving_digits import MovingDigits
from videofusion.errors import InputError

SIZE, WIDTH, LENGTH = 32, 64, 16  # pixels a side, features of a token, tokens
POOL, BATCH, RATE = 8192, 32, 2e-3  # pictures, pictures of a step, learning rate


def tokenizer(words: Sequence[str]) -> Any:
    """CLIP's kind of tokenizer, with one token for each of some words, and letters for all others."""
    import transformers

    letters = [letter + end for letter in map(chr, range(33, 127)) for end in ("", "</w>")]
    known, merges = list(letters), []
    for word in sorted(words):
        parts = [*word[:-1], f"{word[-1]}</w>"]
        while len(parts) > 1:
            pair = (parts[-2], parts[-1])  # from the end, so that no word's beginning is another's merge
            parts[-2:] = ["".join(pair)]
            if pair not in merges:
                merges.append(pair)
                known.append(parts[-1])
    vocabulary = {word: index for index, word in enumerate([*dict.fromkeys(known), "<|startoftext|>", "<|endoftext|>"])}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def random_parts(words: Sequence[str]) -> dict[str, Any]:
    """The parts of a `StableDiffusionPipeline`; its text encoder, as it is drawn, keeps words apart."""
    import diffusers
    import transformers

    tokens = tokenizer(words)
    count = len(tokens)
    text = transformers.CLIPTextConfig(
        vocab_size=count,
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=count - 2,
        eos_token_id=count - 1,
        pad_token_id=count - 1,
        initializer_factor=20.0,  # embeddings of the size that those of trained encoders have
    )
    return {
        "tokenizer": tokens,
        "text_encoder": transformers.CLIPTextModel(text),
        "vae": diffusers.AutoencoderKL(
            block_out_channels=(16, 32),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=8,
            sample_size=SIZE,
        ),
        "unet": diffusers.UNet2DConditionModel(
            sample_size=SIZE // 2,
            block_out_channels=(32, 64, 96),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=WIDTH,
            attention_head_dim=4,
            norm_num_groups=8,
        ),
        "scheduler": diffusers.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
    }


def train(parts: dict[str, Any], steps: int) -> None:
    """Train the autoencoder in a quarter of the steps, then the U-Net in all of them, on frames of clips."""
    vae, unet, scheduler = parts["vae"], parts["unet"], parts["scheduler"]
    found = MovingDigits(1, SIZE, "train", two_digits=0.0).batch(range(POOL))
    pictures, captions = found.clip[:, 0], found.captions
    drawn = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=RATE)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps // 4 + 1)
    for _ in tqdm(range(steps // 4), desc="autoencoder"):
        clean = pictures[torch.randint(0, POOL, (BATCH // 2,), generator=drawn)]
        latents = vae.encode(clean).latent_dist.mean
        # that they are of no more than unit size, and decoded though they are not exact
        noisy = latents + 0.05 * torch.randn(latents.shape, generator=drawn)
        loss = mse_loss(vae.decode(noisy).sample, clean) + 1e-3 * latents.square().mean()
        _follow(loss, optimizer, rates)
    vae.requires_grad_(False)
    encoder = FrozenText(parts["text_encoder"], parts["tokenizer"])
    latents = torch.cat([vae.encode(some).latent_dist.mean for some in pictures.split(64)])
    texts = torch.cat([encoder.encode([caption if row % 10 else ""])[0] for row, caption in enumerate(captions)])
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    latents = latents / latents.std()
    optimizer = torch.optim.AdamW(unet.parameters(), lr=RATE)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1)
    for _ in tqdm(range(steps), desc="image model"):
        rows = torch.randint(0, POOL, (BATCH,), generator=drawn)
        clean, times = latents[rows], torch.randint(0, 1000, (BATCH,), generator=drawn)
        noise = torch.randn(clean.shape, generator=drawn)
        predicted = unet(scheduler.add_noise(clean, noise, times), times, texts[rows]).sample
        _follow(mse_loss(predicted, scheduler.get_velocity(clean, noise, times)), optimizer, rates)


def _follow(loss: Tensor, optimizer: torch.optim.Optimizer, rates: Any) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    rates.step()


def tiny_image_model(folder: Path, steps: int) -> Path:
    """Write the folder of a `StableDiffusionPipeline`, always of the same weights on one machine.

    Args:
        folder: new or empty.
        steps: of the U-Net's training, of 32 pictures each; 0 for random weights.

    Raises:
        InputError: there is something in the folder.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} must be a new or empty folder")
    import diffusers

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        parts = random_parts(MovingDigits(1, SIZE, "train").words)
        if steps:
            train(parts, steps)
    none = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    diffusers.StableDiffusionPipeline(**parts, **none).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--steps", type=int, default=2000, help="of training; 0 for random weights")
    arguments = parser.parse_args()
    print(tiny_image_model(arguments.out, arguments.steps))
