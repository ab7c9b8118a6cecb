"""Memory of clips by an image model over their length: Text2Video-Zero in chunks, ControlVideo's hierarchical sampler.

    python benchmarks/image_video_memory.py

A Stable Diffusion folder with random weights, and a ControlNet, are written once; every sampling runs in a process of
its own and ends with the decoded clip. Memory is that process's peak of resident memory above what it had when the
model was read. The clip itself, which has to grow, is a part of it; "without the clip" is what is left.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import logging
from measure import machine, peak_memory, reset_peak_memory
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import videofusion

SYSTEMS = ("text2video-zero", "controlvideo")
TEXT, TOKENS = 64, 77


def write_model(folder: Path, args: argparse.Namespace) -> None:
    """Save an image model of Stable Diffusion 1.5's shape at a part of its width, and a ControlNet for it."""
    torch.manual_seed(0)
    words = ["a", "a</w>", "<|startoftext|>", "<|endoftext|>"]
    marks = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 3}
    sizes = {"hidden_size": TEXT, "intermediate_size": TEXT, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = CLIPTextConfig(vocab_size=len(words), max_position_embeddings=TOKENS, **sizes, **marks)
    width = args.width
    unet = UNet2DConditionModel(
        block_out_channels=(width, 2 * width, 4 * width, 4 * width), cross_attention_dim=TEXT, attention_head_dim=8
    )
    vae = AutoencoderKL(
        block_out_channels=(width // 2, width, 2 * width, 2 * width),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        sample_size=args.size,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer(
            vocab={word: number for number, word in enumerate(words)}, merges=[], model_max_length=TOKENS
        ),
        unet=unet,
        scheduler=DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder / "sd")
    ControlNetModel.from_unet(unet).save_pretrained(folder / "control")


def sample(system: str, frames: int, folder: Path, args: argparse.Namespace) -> tuple[int, int]:
    """In a process of its own: make a clip; the peak of memory above that of the model, and what of it is the clip."""
    logging.disable_progress_bar()
    asked: dict[str, Any] = {"steps": args.steps, "height": args.size, "width": args.size, "frames": frames}
    nets = {}
    if system == "controlvideo":
        nets = {"controlnet": folder / "control"}
        ramp = torch.linspace(-1, 1, args.size).expand(frames, 3, args.size, args.size)
        asked |= {"structure": ramp, "structure_kind": "maps", "smooth_steps": [0]}
    pipe = videofusion.load(folder / "sd", system=system, device="cpu", **nets)
    before = reset_peak_memory()
    clip = pipe("a", window=args.window, **asked)
    return peak_memory() - before, clip.numel() * clip.element_size()


Result = TypeVar("Result")


def alone(work: Callable[..., Result], *given: Any) -> Result:
    """What work returns, done in a process that is forked for it: imports are paid for once."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(work, given)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--width", type=int, default=64, help="of the U-Net's first level; Stable Diffusion's is 320")
    parser.add_argument("--size", type=int, default=128, help="pixels along a side")
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--window", type=int, default=8, help="frames that go through the network at once")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{machine().partition(';')[0]}; {args.size}x{args.size}, windows of {args.window}, {args.steps} steps\n")
    print(f"|                 | frames | peak, MiB | of {args.frames[0]:2} frames | without the clip |")
    print("|-----------------|-------:|----------:|-------------:|-----------------:|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        alone(write_model, folder, args)
        for system in SYSTEMS:
            first: tuple[int, int] | None = None
            for frames in args.frames:
                whole, clip = alone(sample, system, frames, folder, args)
                first = first or (whole, clip)
                print(
                    f"| {system:15} | {frames:6} | {whole / 2**20:9.0f} | {whole / first[0]:12.2f} "
                    f"| {(whole - clip) / (first[0] - first[1]):16.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
