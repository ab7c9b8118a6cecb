"""A step of Stable Video Diffusion's U-Net, ours against diffusers' with the same weights, as ratios in one run.

python benchmarks/svd_step.py                      # fp32 and bf16, one thread, 14 frames of 32x32 latents
python benchmarks/svd_step.py --width 32 --size 16
"""

from __future__ import annotations

import argparse

import torch
from diffusers import UNetSpatioTemporalConditionModel
from measure import Run, machine, table
from unet_speed import DTYPES, forward

from videofusion.interop.stable_video import stable_video_unet


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--frames", type=int, default=14)
    parser.add_argument("--size", type=int, default=32, help="height and width of the latents")
    parser.add_argument("--width", type=int, default=64, help="channels of the finest level; 320 is the published one")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    width = args.width
    theirs = UNetSpatioTemporalConditionModel(
        block_out_channels=(width, 2 * width, 2 * width, 2 * width),
        num_attention_heads=(1, 2, 2, 2),
    ).eval()
    ours = stable_video_unet(theirs)
    z = torch.randn(1, args.frames, 8, args.size, args.size)
    time, text, numbers = torch.tensor([0.5]), torch.randn(1, 1, 1024), torch.tensor([[6.0, 127.0, 0.02]])
    with torch.no_grad():
        expected = theirs(z, time, text, numbers).sample
        difference = float((ours(z, time, text=text, numbers=numbers) - expected).norm() / expected.norm())
    millions = sum(p.numel() for p in ours.parameters()) / 1e6
    print(f"{machine()}\n{millions:.1f} M parameters, latents 1 x {args.frames} x 8 x {args.size} x {args.size}")
    print(f"relative difference of the outputs: {difference:.1e}")
    for precision in args.precision:
        dtype = DTYPES[precision]
        runs: dict[str, Run] = {
            "diffusers": forward(theirs, z, time, text, numbers, dtype=dtype),
            "ours": forward(ours, z, time, text=text, numbers=numbers, dtype=dtype),
        }
        print(f"\n{precision}")
        table(runs, args.repeats, dtype)


if __name__ == "__main__":
    main()
