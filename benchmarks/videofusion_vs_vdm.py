"""VideoFusion against VDM on the same base U-Net: time and memory of one call of the denoiser (a sampler's step).

    python benchmarks/videofusion_vs_vdm.py

VDM is the base U-Net with temporal attention, over all frames. VideoFusion is the base U-Net over the middle frame, and
over all frames a residual generator, narrower so that it has 0.3 of the base's parameters (the paper: 0.59 to 2.0
billion), with temporal attention too, its heads as wide as the base's. In bf16 weights are held in it and layers
compute in it (autocast). Every call runs in a fresh process; memory is that process's peak resident memory above that
of an idle process with the same imports.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from measure import clock, gigaflops, machine, peak, peak_memory

from videofusion.conditioning.prior_diffusion import prior_conditions, sample_prior
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser, NetworkDenoiser
from videofusion.diffusion.noise import DecomposedNoise, Keys
from videofusion.diffusion.schedules import make_schedule
from videofusion.networks.prior import Prior
from videofusion.networks.unet import UNet
from videofusion.systems.videofusion import VideoFusion

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
TEXT = 768  # of token embeddings and of the prior's image embedding
SYSTEMS = ("VDM", "VideoFusion", "VideoFusion and prior")


def make_unet(width: int, heads: int = 8, **options: Any) -> UNet:
    """A U-Net of four levels: 64, 32, 16 and 8 places wide, with text at the coarser two."""
    return UNet(
        channels=(width, 2 * width, 4 * width, 4 * width),
        attention=("none", "none", "transformer", "transformer"),
        heads=heads,
        groups=16,
        text_size=TEXT,
        **options,
    ).eval()


def parameters(unet: UNet) -> int:
    """How many numbers it has."""
    return sum(parameter.numel() for parameter in unet.parameters())


def residual_width(width: int, ratio: float) -> int:
    """The width whose residual generator comes nearest to that part of the base's parameters."""
    with torch.device("meta"):
        wanted = ratio * parameters(make_unet(width))
        sizes = {w: parameters(make_unet(w, in_channels=6, temporal="residual")) for w in range(16, width + 1, 16)}
    return min(sizes, key=lambda w: abs(sizes[w] - wanted))


def make_residual(width: int, ratio: float) -> UNet:
    """The residual generator beside a base of that width: narrower, with fewer heads that are as wide as the base's."""
    narrow = residual_width(width, ratio)
    heads = 2 ** int(math.log2(8 * narrow / width))  # a power of two, which divides every width of `residual_width`
    return make_unet(narrow, heads, in_channels=6, temporal="residual")


def make_call(system: str, args: argparse.Namespace) -> Callable[[], object]:
    """The call that is measured: one prediction for a batch of clips.

    The published variant's prior runs once for a clip, so a call with it takes its part of all the sampler's steps.
    """
    torch.manual_seed(0)
    schedule, dtype = make_schedule("cosine"), DTYPES[args.precision]
    z, t = torch.randn(args.clips, args.frames, 3, 64, 64), torch.full((args.clips,), 0.5)
    text = torch.randn(args.clips, 20, TEXT)
    share = DecomposedNoise(0.5).shares(args.clips, args.frames)
    conditions = Conditions(text=text, share=share, null={"text": torch.zeros_like(text[:1])})
    if system == "VDM":
        denoiser: Denoiser = NetworkDenoiser(make_unet(args.width, temporal="factorised").to(dtype), schedule)
    else:
        residual = make_residual(args.width, args.ratio).to(dtype)
        denoiser = VideoFusion(make_unet(args.width).to(dtype), residual, schedule, variant="corrected")
    prior = Prior(size=TEXT, text_size=TEXT, width=args.prior_width).to(dtype) if "prior" in system else None
    autocast = torch.autocast("cpu", dtype, enabled=dtype != torch.float32)

    @torch.no_grad()
    def call() -> object:
        with autocast:
            return denoiser(z, t, conditions)

    @torch.no_grad()
    def prior_call() -> object:
        assert prior is not None
        with autocast:
            told = prior_conditions(conditions, None, ())
            return sample_prior(prior, told, Keys.of(list(range(args.clips))), 2.0)

    call.prior = None if prior is None else prior_call  # type: ignore[attr-defined]
    return call


def child(args: argparse.Namespace) -> dict[str, float]:
    """In a fresh process: seconds and arithmetic of the second call, and the peak memory."""
    if args.child == "idle":
        return {"memory": peak_memory()}
    call = make_call(args.child, args)
    prior: Callable[[], object] | None = call.prior  # type: ignore[attr-defined]

    def measured(run: Callable[[], object]) -> tuple[float, float]:
        work = gigaflops(run)
        start = clock()
        run()
        return clock() - start, work

    seconds, work = measured(call)
    if prior is not None:
        seconds, work = (own + once / args.steps for own, once in zip((seconds, work), measured(prior), strict=True))
    return {"seconds": seconds, "memory": peak_memory(), "work": work}


def fresh(system: str, args: argparse.Namespace) -> dict[str, float]:
    """What `child` says of a system."""
    options = [
        f"--{name.replace('_', '-')}={value}" for name, value in vars(args).items() if name not in ("child", "systems")
    ]
    command = [sys.executable, __file__, *options, "--child", system]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=96, help="of the base's first level; 256 has 627 M parameters")
    parser.add_argument("--ratio", type=float, default=0.3, help="of the residual generator's parameters to the base's")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--clips", type=int, default=1, help="in the batch")
    parser.add_argument("--steps", type=int, default=20, help="of the sampler, over which the prior's time is spread")
    parser.add_argument("--prior-width", type=int, default=1024)
    parser.add_argument("--precision", choices=list(DTYPES), default="fp32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, help="VDM comes first")
    parser.add_argument("--child", choices=["idle", *SYSTEMS], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.child:
        print(json.dumps(child(args)))
        return

    with torch.device("meta"):
        sizes = [parameters(make_unet(args.width)), parameters(make_residual(args.width, args.ratio))]
        sizes.append(parameters(make_unet(args.width, temporal="factorised")))
    print(machine())
    print(
        f"base {sizes[0] / 1e6:.0f} M, residual {sizes[1] / 1e6:.0f} M ({sizes[1] / sizes[0]:.2f}), "
        f"VDM {sizes[2] / 1e6:.0f} M parameters; {args.clips} x {args.frames} x 64 x 64, {args.precision}\n"
    )
    idle = fresh("idle", args)["memory"]
    results: dict[str, list[dict[str, float]]] = {system: [] for system in args.systems}
    for _ in range(args.repeats):
        for system in results:
            results[system].append(fresh(system, args))
    convolution = peak(DTYPES[args.precision])
    work = gigaflops(convolution)
    start = clock()
    convolution()
    rate = work / (clock() - start)

    medians = {
        system: tuple(statistics.median(row[name] for row in rows) for name in ("seconds", "memory", "work"))
        for system, rows in results.items()
    }
    print("|                       |  s a step | of VDM |  MiB  | of VDM | GFLOP/s | of peak |")
    print("|-----------------------|----------:|-------:|------:|-------:|--------:|--------:|")
    first_seconds, first_memory, _ = medians[args.systems[0]]
    for system, (seconds, memory, work) in medians.items():
        done = work / seconds
        print(
            f"| {system:21} | {seconds:9.2f} | {seconds / first_seconds:6.3f} | {(memory - idle) / 2**20:5.0f} "
            f"| {(memory - idle) / (first_memory - idle):6.3f} | {done:7.1f} | {done / rate:6.0%}  |"
        )
    print(f"\n3x3 convolution: {rate:.0f} GFLOP/s; idle process: {idle / 2**20:.0f} MiB")


if __name__ == "__main__":
    main()
