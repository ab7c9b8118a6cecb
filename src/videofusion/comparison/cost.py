"""What a model costs: parameters, arithmetic of a denoiser call, seconds and memory of sampling.

Measured in a process of its own (`python -m videofusion.comparison.cost`), so that its memory is the model's
and its seconds are its own threads'.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from videofusion.errors import RunError
from videofusion.evaluation.making import Sampling
from videofusion.training.estimate.memory import Pages

CLIPS = 4  # that are made together, when their time is taken


def cost(model: str | Path, prompt: str, sampling: Sampling, threads: int) -> dict[str, Any]:
    """Load a model and measure it, in this process.

    Args:
        model: its folder, or a shipped model's name.
        prompt: that it takes.
        sampling: how clips are made; of its `batch`, `CLIPS` at most.
        threads: that compute.

    Returns:
        `parameters` of all parts; `gflops` of one denoiser call, see `call_gflops`; `sampling_seconds` for each clip,
        on a CPU those that its threads compute; `peak_bytes` of the accelerator, or by which the process grows on a
        CPU from before the model is loaded, None where the system does not say so; how they were measured.
    """
    from videofusion.models import load
    from videofusion.systems import vdm, videofusion  # noqa: F401 (what they import is not the model's memory)

    torch.set_num_threads(threads)
    pages = Pages()
    pipe = load(model)
    device = pipe.text_encoder.device
    parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    count = min(CLIPS, sampling.batch)
    known = sampling.known(torch.zeros(count, sampling.given, 3, pipe.config.height, pipe.config.width))

    def clips(number: int, steps: int, given: dict[str, Any]) -> None:
        own: dict[str, Any] = {"sampler": sampling.sampler, "guidance": sampling.guidance}
        pipe([prompt] * number, seed=0, steps=steps, **own, **given)

    on_gpu = device.type == "cuda"
    clips(count, 1, known)  # kernels are chosen in a first call
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)
    begin, used = time.perf_counter(), time.process_time()
    clips(count, sampling.steps, known)
    if on_gpu:
        torch.cuda.synchronize(device)
    wall, used = time.perf_counter() - begin, (time.process_time() - used) / threads
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else pages.most()
    return {
        "parameters": sum(p.numel() for part in parts for p in part.parameters()),
        "gflops": call_gflops(pipe.networks, lambda: clips(1, 1, {})),  # last: it holds whole attention matrices
        "sampling_seconds": (wall if on_gpu else used) / count,
        "peak_bytes": peak,
        "measured_with": {
            "device": torch.cuda.get_device_name(device) if on_gpu else str(device),
            "clock": "wall" if on_gpu else "processor",
            "threads": threads,
            "clips": count,
            "steps": sampling.steps,
            "sampler": sampling.sampler,
        },
    }


def call_gflops(networks: Sequence[nn.Module], sample: Any) -> float:
    """10^9 floating-point operations of one denoiser call for one clip, an addition and a multiplication being two.

    Each network once, on what it sees of a clip: VideoFusion's base generator on its one frame, all others on all
    frames. Guidance, which calls them twice, and what is done once a clip (text, prior) are not in it.

    Args:
        networks: of a pipeline.
        sample: makes a clip with them, in one step or more.
    """
    per_row: dict[int, float] = {}
    begun: dict[int, int] = {}
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):

        def before(network: nn.Module, args: tuple[Any, ...]) -> None:
            begun[id(network)] = counter.get_total_flops()

        def after(network: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
            spent = counter.get_total_flops() - begun[id(network)]
            per_row[id(network)] = spent / len(args[0])

        hooks = [network.register_forward_pre_hook(before) for network in networks]
        hooks += [network.register_forward_hook(after) for network in networks]
        try:
            sample()
        finally:
            for hook in hooks:
                hook.remove()
    return sum(per_row.values()) / 1e9


def cost_apart(model: str | Path, prompt: str, sampling: Sampling, threads: int) -> dict[str, Any]:
    """`cost` in a process of its own.

    Raises:
        RunError: it failed.
    """
    asked = {"model": str(model), "prompt": prompt, "sampling": asdict(sampling), "threads": threads}
    done = subprocess.run(
        [sys.executable, "-m", "videofusion.comparison.cost", json.dumps(asked)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise RunError(f"the cost of {model} could not be measured: {why}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure what the first word asks for, and print it as a line of json."""
    asked = json.loads(sys.argv[1])
    print(json.dumps(cost(asked["model"], asked["prompt"], Sampling(**asked["sampling"]), asked["threads"])))


if __name__ == "__main__":
    main()
