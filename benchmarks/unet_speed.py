"""Our U-Net against two others, as ratios in one run.

python benchmarks/unet_speed.py vdm     # against lucidrains/video-diffusion-pytorch, a video network of VDM's shape
python benchmarks/unet_speed.py image   # against diffusers' UNet2DConditionModel with the same weights
"""

from __future__ import annotations

import argparse
import copy

import torch
from measure import Run, machine, table
from torch import Tensor, nn

from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.networks.unet import UNet

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def against_vdm(args: argparse.Namespace) -> None:
    """VDM's shape: dim 64, multipliers 1, 2, 4, 8; clips of `frames` x 64 x 64."""
    from peer_vdm import peer_unet

    torch.manual_seed(0)
    theirs = peer_unet(64, (1, 2, 4, 8))
    ours = UNet(
        channels=(64, 128, 256, 512),
        blocks=1,
        attention=("none", "none", "plain", "plain"),
        heads=8,
        temporal="factorised",
    )
    clip, time = torch.randn(1, args.frames, 3, 64, 64), torch.tensor([500.0])
    clips = {"video-diffusion-pytorch": clip.transpose(1, 2).contiguous(), "ours": clip}
    networks = {"video-diffusion-pytorch": theirs, "ours": ours}
    for name, network in networks.items():
        print(f"{name}: {sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters")

    for precision in args.precision:
        dtype = DTYPES[precision]
        for what in args.what:
            make = forward if what == "forward" else training_step
            print(f"\n{what}, {precision}, 1 x {args.frames} x 64 x 64")
            runs = {name: make(networks[name], clips[name], time, dtype=dtype) for name in networks}
            if args.compile:
                runs["ours, compiled"] = make(torch.compile(ours), clip, time, dtype=dtype)
            table(runs, args.repeats, dtype)


def against_diffusers(args: argparse.Namespace) -> None:
    """Stable Diffusion 1.5's shape at a part of its width; latents 2 x 4 x 32 x 32, as guidance asks for."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    width = args.width
    theirs = UNet2DConditionModel(
        block_out_channels=(width, 2 * width, 4 * width, 4 * width), cross_attention_dim=768, attention_head_dim=8
    ).eval()
    ours = unet_from_diffusers(theirs)
    z, time, text = torch.randn(2, 4, 32, 32), torch.tensor([500.0, 500.0]), torch.randn(2, 77, 768)
    print(f"{sum(p.numel() for p in ours.parameters()) / 1e6:.1f} M parameters, latents 2 x 4 x 32 x 32, 77 tokens")
    last = copy.deepcopy(theirs).to(memory_format=torch.channels_last)
    z_last = z.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def check() -> float:
        expected = theirs(z, time, text).sample
        return float((ours(z[:, None], time, text=text)[:, 0] - expected).norm() / expected.norm())

    print(f"relative difference of the outputs: {check():.1e}\n")
    runs: dict[str, Run] = {
        "diffusers, eager fp32": forward(theirs, z, time, text),
        "diffusers, channels last": forward(last, z_last, time, text),
        "ours, eager fp32": forward(ours, z[:, None], time, text=text),
    }
    if "bf16" in args.precision:
        bf16 = torch.bfloat16
        runs["diffusers, channels last, bf16"] = forward(last, z_last, time, text, dtype=bf16)
        runs["ours, bf16"] = forward(ours, z[:, None], time, text=text, dtype=bf16)
    if args.compile:
        for dtype in (DTYPES[precision] for precision in args.precision):
            name = ", bf16, compiled" if dtype == torch.bfloat16 else ", compiled"
            runs["diffusers, channels last" + name] = forward(torch.compile(last), z_last, time, text, dtype=dtype)
            runs["ours" + name] = forward(torch.compile(ours), z[:, None], time, text=text, dtype=dtype)
    table(runs, args.repeats, half=[name for name in runs if "bf16" in name])


def forward(network: nn.Module, *given: Tensor, dtype: torch.dtype = torch.float32, **named: Tensor) -> Run:
    """One call without gradients."""

    @torch.no_grad()
    def run() -> object:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            return network(*given, **named)

    return run


def training_step(network: nn.Module, clip: Tensor, time: Tensor, *, dtype: torch.dtype) -> Run:
    """Forward, backward and a step of AdamW."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-6)

    def run() -> None:
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            loss = network(clip, time).float().square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("against", choices=["vdm", "image"])
    parser.add_argument("--what", nargs="+", choices=["forward", "training"], default=["forward", "training"])
    parser.add_argument("--precision", nargs="+", choices=list(DTYPES), default=list(DTYPES))
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--width", type=int, default=160, help="of the image network's first level; 320 is SD 1.5")
    parser.add_argument("--compile", action="store_true", help="compiled networks too: some minutes more")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(machine())
    (against_vdm if args.against == "vdm" else against_diffusers)(args)


if __name__ == "__main__":
    main()
