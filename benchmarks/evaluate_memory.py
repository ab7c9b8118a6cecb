"""Memory of `videofusion evaluate` with I3D, and its clips a second over what the network alone reaches.

    python benchmarks/evaluate_memory.py DIR                       # 2,048 against 2,048 clips of 16x128x128
    python benchmarks/evaluate_memory.py DIR --clips 32 64         # a trial

DIR gets generated and real clips, mp4 of moving digits over a texture, and a file of I3D with random weights; what is
there is taken again. For each number of clips the command runs in a fresh process, FVD by the protocol `tats`, from its
start to its last line; memory is that process's peak as the kernel counts it. The limit is the extractor alone in a
process of its own, warm, on clips in memory, with the same batch and threads. It takes turns with the command, which is
stopped meanwhile, so that what else the machine does meets both. "of limit" is the ratio of clips a second, and that of
clips a CPU second.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import torch
from measure import machine

from videofusion.clip import write_clip
from videofusion.cores import cores
from videofusion.data.checking import for_each_file
from videofusion.digits.drawing import render
from videofusion.digits.moving_digits import MovingDigits
from videofusion.digits.spec import DigitClipSpec

FRAMES, SIZE = 16, 128
SETS = {"made": 1, "real": 2}  # with their seeds
WEIGHTS = "i3d.safetensors"
FEW = 256  # below, the command takes clips only with --allow-few
TURN = 2  # batches of the extractor alone


class Cost(NamedTuple):
    """What some clips took: seconds of the wall clock and of all cores, the peak in bytes."""

    clips: int
    seconds: float
    cpu_seconds: float
    memory: int = 0


def write_clips(folder: Path, count: int, seed: int) -> None:
    """Digits over a ground that drifts."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(task: tuple[int, DigitClipSpec]) -> None:
        number, spec = task
        file = folder / f"{number:05d}.mp4"
        if file.exists():
            return
        random = torch.Generator().manual_seed(seed * 2**32 + number)
        coarse = torch.randn(1, 3, SIZE // 4, SIZE // 4, generator=random) / 5
        (ground,) = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic")
        moving = torch.stack([ground.roll(2 * frame, -1) for frame in range(FRAMES)])
        write_clip((render([spec], FRAMES, SIZE)[0] + moving).clamp(-1, 1), file)

    specs = MovingDigits(FRAMES, SIZE, "test").specs(range(count), seed=seed)
    for_each_file(list(enumerate(specs)), write)


def write_weights(file: Path) -> None:
    """I3D with random weights that keep numbers at one scale."""
    from safetensors.torch import save_file

    from videofusion.evaluation.extractors.i3d import I3D

    random = torch.Generator().manual_seed(0)
    weights = I3D().state_dict()
    for value in weights.values():
        if value.ndim > 1:
            value.copy_(torch.randn(value.shape, generator=random) * (2 / value[0].numel()) ** 0.5)
    save_file(weights, file)


def serve_limit(args: argparse.Namespace) -> None:
    """For each line of the input measure a turn of the extractor alone."""
    from videofusion.evaluation.extractors import load_extractor

    extractor = load_extractor("i3d", args.folder / WEIGHTS, device="cpu")
    clips = torch.rand(args.batch, FRAMES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    extractor.read(clips)
    for _ in sys.stdin:
        begin, busy = time.perf_counter(), time.process_time()
        for _ in range(TURN):
            extractor.read(clips)
        print(time.perf_counter() - begin, time.process_time() - busy, flush=True)


def child(what: str, args: argparse.Namespace) -> subprocess.Popen[str]:
    """This file in a fresh process, so that this one stays small."""
    command = [sys.executable, __file__, str(args.folder), f"--batch={args.batch}", "--child", what, "--clips"]
    return subprocess.Popen([*command, *map(str, args.clips)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def measure(count: int, args: argparse.Namespace) -> tuple[Cost, Cost]:
    """What the command took for so many clips of either set, and the extractor alone."""
    folders = [str(args.folder / name) for name in SETS]
    options = ["--protocol=tats", "--metrics=fvd", f"--weights={args.folder / WEIGHTS}", f"--count={count}"]
    options += [f"--batch={args.batch}", "--device=cpu"] + ["--allow-few"] * (count < FEW)
    turns: list[tuple[float, ...]] = []

    def turn() -> None:
        assert limit.stdin is not None
        assert limit.stdout is not None
        print(file=limit.stdin, flush=True)
        turns.append(tuple(map(float, limit.stdout.readline().split())))

    with child("limit", args) as limit:
        turn()
        begin = last = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "videofusion", "evaluate", *folders, *options])
        while not (done := os.wait4(process.pid, os.WNOHANG))[0]:
            time.sleep(0.1)
            if time.perf_counter() - last > args.every:
                process.send_signal(signal.SIGSTOP)
                before = time.perf_counter()
                turn()
                process.send_signal(signal.SIGCONT)
                last = time.perf_counter()
                begin += last - before
        seconds = time.perf_counter() - begin
        turn()
        limit.communicate()
    _, status, used = done
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(process.returncode)
    # The kernel counts this process's own peak as well, which is less: both have imported torch, only one a network.
    whole = Cost(2 * count, seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)
    return whole, Cost(len(turns) * TURN * args.batch, *map(sum, zip(*turns, strict=True)))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--clips", type=int, nargs="+", default=[2048], help="of either set; several make several rows")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--every", type=float, default=300, help="seconds between turns of the extractor alone")
    parser.add_argument("--child", choices=["write", "limit"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child == "limit":
        serve_limit(args)
        return
    if args.child == "write":
        for name, seed in SETS.items():
            write_clips(args.folder / name, max(args.clips), seed)
        write_weights(args.folder / WEIGHTS)
        return

    # Of the children; a thread that waits must not count as one that computes.
    os.environ.update(OMP_NUM_THREADS=str(args.threads), OMP_WAIT_POLICY="passive")
    torch.set_num_threads(args.threads)
    if child("write", args).wait():
        sys.exit("the clips could not be written")
    print(f"{machine().partition(';')[0]}; batches of {args.batch}\n", flush=True)
    rows = []
    for count in args.clips:
        whole, limit = measure(count, args)
        rate, most = (each.clips / each.seconds for each in (whole, limit))
        of_cpu = whole.clips / whole.cpu_seconds * limit.cpu_seconds / limit.clips
        rows.append(
            f"| {count:6,} + {count:<6,} | {whole.memory / 2**30:9.2f} | {rate:7.3f} | {most:14.3f} "
            f"| {rate / most:8.1%} | {of_cpu:19.1%} |"
        )
    print("\n| clips           | peak, GiB | clips/s | limit, clips/s | of limit | of limit, CPU times |")
    print("|-----------------|----------:|--------:|---------------:|---------:|--------------------:|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
