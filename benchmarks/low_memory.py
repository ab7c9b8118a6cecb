"""Memory and time of sampling, VideoFusion against VDM on the same base U-Net, models read from their folders.

    python benchmarks/low_memory.py

The networks are those of `videofusion_vs_vdm.py`, with random weights. VideoFusion is the variant "image-first": the
base generator makes the middle frame, then the residual generator all others; so only one of them has to be in memory
(`videofusion.load(..., low_memory=True)`). Every sampling runs in a fresh process; memory is that process's peak
resident memory, from reading the model to the last step, above that of an idle one with the same imports.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from diffusers.utils import logging
from measure import clock, machine, peak_memory
from videofusion_vs_vdm import TEXT, make_residual, make_unet

import videofusion
from videofusion.conditioning.text import WordEncoder
from videofusion.models import PRECISIONS
from videofusion.systems.vdm import VDMPipeline
from videofusion.systems.videofusion_pipeline import VideoFusionPipeline

SYSTEMS = ("VDM", "VideoFusion", "VideoFusion, low memory")


def write_model(system: str, folder: Path, args: argparse.Namespace) -> None:
    """Save a model with random weights."""
    torch.manual_seed(0)
    text = WordEncoder(words=["something"], size=TEXT)
    shape = {"frames": args.frames, "height": 64, "width": 64}
    pipe: VDMPipeline | VideoFusionPipeline
    if system == "VDM":
        pipe = VDMPipeline(make_unet(args.width, temporal="factorised"), text, **shape)
    else:
        pipe = VideoFusionPipeline(make_unet(args.width), make_residual(args.width, args.ratio), text, **shape)
    pipe.save_pretrained(folder)


def child(args: argparse.Namespace) -> dict[str, float]:
    """In a fresh process: write a model, or sample from it; seconds a step, and the peak memory."""
    if args.child == "idle":
        return {"seconds": 0.0, "memory": peak_memory()}
    if args.child == "write":
        write_model(args.system, args.folder, args)
        return {}
    logging.disable_progress_bar()
    pipe = videofusion.load(args.folder, device="cpu", precision=args.precision, low_memory="low" in args.system)
    start = clock()
    pipe("something", steps=args.steps, guidance=1)
    return {"seconds": (clock() - start) / args.steps, "memory": peak_memory()}


def fresh(what: str, system: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """What `child` says."""
    names = ("width", "ratio", "frames", "steps", "threads", "precision")
    options = [f"--{name}={getattr(args, name)}" for name in names]
    command = [sys.executable, __file__, *options, "--child", what, "--system", system, "--folder", str(folder)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=128, help="of the base's first level; 256 has 627 M parameters")
    parser.add_argument("--ratio", type=float, default=0.3, help="of the residual generator's parameters to the base's")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=2, help="of the sampler, without guidance")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="that networks are held and work in")
    parser.add_argument("--child", choices=["idle", "write", "sample"], help=argparse.SUPPRESS)
    parser.add_argument("--system", choices=SYSTEMS, default="VDM", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=Path(), help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.child:
        print(json.dumps(child(args)))
        return

    print(f"{machine()}\n1 clip of {args.frames} x 64 x 64, {args.steps} steps, {args.precision}\n")
    found: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
    with tempfile.TemporaryDirectory() as temporary:
        folders = {system: Path(temporary) / system.split(",")[0] for system in SYSTEMS}
        for system in SYSTEMS[:2]:
            fresh("write", system, folders[system], args)
        sizes = {
            system: sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 4e6
            for system, folder in folders.items()
        }
        idle = fresh("idle", "VDM", Path(), args)["memory"]
        for _ in range(args.repeats):
            for system in SYSTEMS:
                found[system].append(fresh("sample", system, folders[system], args))
    print("|                         | parameters | s a step | of VDM | peak, MiB | of VDM |")
    print("|-------------------------|-----------:|---------:|-------:|----------:|-------:|")
    median = {
        system: [statistics.median(row[key] for row in rows) for key in ("seconds", "memory")]
        for system, rows in found.items()
    }
    first_seconds, first_memory = median["VDM"]
    for system, (seconds, memory) in median.items():
        print(
            f"| {system:23} | {sizes[system]:8.0f} M | {seconds:8.2f} | {seconds / first_seconds:6.3f} "
            f"| {(memory - idle) / 2**20:9.0f} | {(memory - idle) / (first_memory - idle):6.3f} |"
        )


if __name__ == "__main__":
    main()
