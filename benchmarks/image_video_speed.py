"""Clips by an image model: speed against diffusers, and of attention to all frames, as ratios in one run.

python benchmarks/image_video_speed.py step        # a U-Net call of Text2Video-Zero, same weights
python benchmarks/image_video_speed.py attention   # ControlVideo's self-attention, one layer
"""

from __future__ import annotations

import argparse
import copy
import warnings

import torch
from measure import Run, machine, table
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.networks.layers import Attention
from videofusion.networks.temporal.reach import every

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def step(args: argparse.Namespace) -> None:
    """Stable Diffusion 1.5's shape at a part of its width; each holds its weights in the precision it computes in."""
    from diffusers import UNet2DConditionModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is deprecated there
        from diffusers.pipelines.deprecated.text_to_video_synthesis.pipeline_text_to_video_zero import (
            CrossFrameAttnProcessor2_0,
        )
    torch.manual_seed(0)
    width, frames, side = args.width, args.frames, args.side
    theirs = UNet2DConditionModel(
        block_out_channels=(width, 2 * width, 4 * width, 4 * width), cross_attention_dim=768, attention_head_dim=8
    ).eval()
    ours = unet_from_diffusers(theirs, temporal="text2video_zero").eval()
    theirs.set_attn_processor(CrossFrameAttnProcessor2_0(batch_size=1))
    theirs = theirs.to(memory_format=torch.channels_last)
    z, time, text = torch.randn(1, frames, 4, side, side), torch.tensor([500.0]), torch.randn(1, 77, 768)
    runs: dict[str, Run] = {}
    for precision in args.precision:
        dtype = DTYPES[precision]
        one, other = (nn.Module.to(copy.deepcopy(network), dtype) for network in (theirs, ours))
        runs[f"diffusers, {precision}"] = their_call(one, z, time, text)
        runs[f"ours, {precision}"] = our_call(other, z, time, text)
        expected, found = runs[f"diffusers, {precision}"](), runs[f"ours, {precision}"]()
        error = float((found - expected).norm() / expected.norm())  # type: ignore[operator]
        print(f"{precision}: relative difference of the outputs {error:.1e}")
        table({name: run for name, run in runs.items() if precision in name}, args.repeats, dtype)


def their_call(network: nn.Module, z: Tensor, time: Tensor, text: Tensor) -> Run:
    """Frames as a batch, with the text once for each, as their pipeline calls it."""
    dtype = next(network.parameters()).dtype
    frames = z.flatten(0, 1).to(dtype).contiguous(memory_format=torch.channels_last)
    texts = text.to(dtype).repeat(len(frames), 1, 1)

    @torch.no_grad()
    def run() -> Tensor:
        return network(frames, time[0], encoder_hidden_states=texts).sample.float()[None]

    return run


def our_call(network: nn.Module, z: Tensor, time: Tensor, text: Tensor) -> Run:
    """A clip, under autocast as our pipeline calls it."""
    dtype = next(network.parameters()).dtype

    @torch.no_grad()
    def run() -> Tensor:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return network(z, time, text=text).float()

    return run


def attention(args: argparse.Namespace) -> None:
    """One layer over the places of all frames: 8 heads of 40, as Stable Diffusion's finest."""
    torch.manual_seed(0)
    layer = Attention(320, 8).eval()
    frames = args.frames
    x = torch.randn(frames, args.side**2, 320)

    @torch.no_grad()
    def repeated_context() -> object:
        return layer(x, every(x[None]).expand(frames, -1, -1).contiguous())

    def heads(tokens: Tensor) -> Tensor:
        return tokens.unflatten(-1, (8, 40)).transpose(1, 2)

    @torch.no_grad()
    def repeated_keys() -> object:
        q, k, v = layer.to_q(x), layer.to_k(x), layer.to_v(x)
        k, v = (every(each[None]).repeat(frames, 1, 1) for each in (k, v))
        found = scaled_dot_product_attention(heads(q), heads(k), heads(v))
        return layer.to_out[0](found.transpose(1, 2).flatten(2))

    @torch.no_grad()
    def joined() -> object:
        whole = x.flatten(0, 1)[None]
        found = scaled_dot_product_attention(*(heads(to(whole)) for to in (layer.to_q, layer.to_k, layer.to_v)))
        return layer.to_out[0](found.transpose(1, 2).flatten(2)).reshape(x.shape)

    @torch.no_grad()
    def ours() -> object:
        return layer(x, every(x[None]))

    expected = joined()
    for run in (repeated_context, repeated_keys, ours):
        torch.testing.assert_close(run(), expected, rtol=1e-4, atol=1e-5)
    table(
        {
            "context repeated for each frame": repeated_context,
            "keys repeated for each frame": repeated_keys,
            "fused attention, joined sequence": joined,
            "ours": ours,
        },
        args.repeats,
    )


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["step", "attention"])
    parser.add_argument("--precision", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--frames", type=int, help="8, and 32 for attention")
    parser.add_argument("--side", type=int, help="places along a side of a frame: 32, and 12 for attention")
    parser.add_argument("--width", type=int, default=96, help="of the U-Net's first level; 320 is Stable Diffusion 1.5")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    args.frames = args.frames or (8 if args.what == "step" else 32)
    args.side = args.side or (32 if args.what == "step" else 12)
    torch.set_num_threads(args.threads)
    print(f"{machine()}; {args.frames} frames of {args.side}x{args.side}\n")
    (step if args.what == "step" else attention)(args)


if __name__ == "__main__":
    main()
