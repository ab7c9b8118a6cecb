"""How everything here is measured: alternating runs, medians, and the machine's own convolution beside them."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

Run = Callable[[], object]
PEAK = "3x3 convolution"
HALF_PEAK = "3x3 convolution, bf16"


def clock() -> float:
    """Seconds: of CPU time with one thread, which other work on the machine disturbs least, else of the wall clock."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def gigaflops(run: Run) -> float:
    """Run it once; 10^9 operations of arithmetic, with those of attention, whose CPU kernel PyTorch does not count."""

    def attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: object, **__: object) -> int:
        return sdpa_flop_count(query, key, value)

    def attention_backward(
        _: object, query: torch.Size, key: torch.Size, value: torch.Size, *__: object, **___: object
    ) -> int:
        return 5 * sdpa_flop_count(query, key, value) // 2  # five products where forward has two

    kernels = torch.ops.aten
    mapping = {
        kernels._scaled_dot_product_flash_attention_for_cpu: attention,
        kernels._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward,
    }
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        run()
    return counter.get_total_flops() / 1e9


def peak(dtype: torch.dtype) -> Run:
    """A 3x3 convolution of 128 channels, the machine's own rate for what a U-Net does most."""
    x = torch.randn(16, 128, 32, 32, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.randn(128, 128, 3, 3, dtype=dtype).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def run() -> object:
        return torch.conv2d(x, weight, padding=1)

    return run


def table(
    runs: Mapping[str, Run], repeats: int, dtype: torch.dtype = torch.float32, half: Collection[str] = ()
) -> dict[str, float]:
    """Measure in turns, and print a line for each with its median; the first is what the ratios are to.

    Args:
        runs: by name.
        repeats: turns that count.
        dtype: of the convolution beside them.
        half: names of runs in bf16, beside which stands a convolution in bf16.

    Returns:
        ratio of the first's time to each one's.
    """
    convolutions = {PEAK: peak(dtype)} | ({HALF_PEAK: peak(torch.bfloat16)} if half else {})
    runs = {**runs, **convolutions}
    work = {name: gigaflops(run) for name, run in runs.items()}  # the first turn, which does not count
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = clock()
            run()
            taken[name].append(clock() - start)
    seconds = {name: statistics.median(values) for name, values in taken.items()}
    rate = {name: work[name] / seconds[name] for name in seconds}
    first = next(iter(runs))
    print(f"| {'':44} | {'s':>7} | {'GFLOP':>7} | {'GFLOP/s':>7} | of peak | times faster |")
    print(f"|{'-' * 46}|--------:|--------:|--------:|--------:|-------------:|")
    for name in seconds:
        times = "" if name in convolutions else f"{seconds[first] / seconds[name]:.2f}"
        most = rate[HALF_PEAK if name in half or name == HALF_PEAK else PEAK]
        print(
            f"| {name:44} | {seconds[name]:7.3f} | {work[name]:7.1f} | {rate[name]:7.1f} "
            f"| {rate[name] / most:6.0%}  | {times:>12} |"
        )
    return {name: seconds[first] / seconds[name] for name in runs}


def machine() -> str:
    """One line that says on what this was measured."""
    names = [line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    features = torch.backends.cpu.get_cpu_capability()
    name = names[0] if names else platform.processor()
    clock_name = "CPU seconds" if torch.get_num_threads() == 1 else "seconds"
    return (
        f"{name}, {features}, {torch.get_num_threads()} thread(s), torch {torch.__version__}; medians of {clock_name}"
    )


def peak_memory() -> int:
    """Peak resident memory of this process in bytes (Linux): getrusage would count that of its parent too."""
    (line,) = [line for line in _lines("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def reset_peak_memory() -> int:
    """Have `peak_memory` count from now on (Linux); bytes that are resident now."""
    Path("/proc/self/clear_refs").write_text("5")
    (line,) = [line for line in _lines("/proc/self/status") if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
