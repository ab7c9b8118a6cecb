"""How long drawing a batch's noise takes: torch's integers for the whole batch, against numpy for each clip and frame.

    OMP_NUM_THREADS=1 python benchmarks/noise_speed.py --repeats 9

The peer is what the library did before: numpy's Philox and its ziggurat, a generator for each clip and frame. Both take
turns in one process; told are the medians of CPU seconds, of all threads together.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from videofusion.diffusion import DecomposedNoise, IndependentNoise, Keys, NoiseSource, make_noise
from videofusion.evaluation.record import markdown_table

SHARE = 0.5


def generator(key: int, stream: int, step: int, frame: int) -> np.random.Generator:
    """As of one clip's frame."""
    words = np.array([key, stream, 0, 0, step, frame], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=words[:2], counter=words[2:]))


def numpy_normal(key: int, stream: int, step: int, frame: int, shape: list[int]) -> Tensor:
    """Normal numbers of one clip's frame."""
    return torch.from_numpy(generator(key, stream, step, frame).standard_normal(shape, dtype=np.float32))


def numpy_independent(shape: list[int], seeds: range, step: int) -> Tensor:
    """Noise of a batch, frame after frame."""
    _, t, *rest = shape
    return torch.stack([torch.stack([numpy_normal(k, 1, step, f, rest) for f in range(t)]) for k in seeds])


def numpy_decomposed(shape: list[int], seeds: range, step: int) -> Tensor:
    """The same with a base that is shared."""
    base = torch.stack([numpy_normal(k, 0, step, 0, [1, *shape[2:]]) for k in seeds])
    share = torch.full((1, shape[1], 1, 1, 1), SHARE)
    share[:, shape[1] // 2] = 1
    return share.sqrt() * base + (1 - share).sqrt() * numpy_independent(shape, seeds, step)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--shape", type=int, nargs=4, default=[16, 3, 64, 64], metavar=("T", "C", "H", "W"))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    shape, seeds = [args.clips, *args.shape], range(args.clips)
    keys = Keys.of(seeds)

    def ours(source: NoiseSource) -> Callable[[int], Tensor]:
        return lambda step: source.draw(shape, keys, step).eps

    runs: dict[str, Callable[[int], Tensor]] = {
        "decomposed, numpy": lambda step: numpy_decomposed(shape, seeds, step),
        "decomposed": ours(DecomposedNoise(SHARE)),
        "independent, numpy": lambda step: numpy_independent(shape, seeds, step),
        "independent": ours(IndependentNoise()),
        "progressive": ours(make_noise("progressive")),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for step in range(args.repeats + 1):
        for name, draw in runs.items():
            begin = time.process_time()
            draw(step)
            if step:  # the first round warms up
                seconds[name].append(time.process_time() - begin)
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    body = []
    for name, median in middle.items():
        peer = middle.get(f"{name.split(',')[0]}, numpy")
        ratio = "" if peer is None or "numpy" in name else f"{median / peer:.2f}"
        body.append([name, f"{1e3 * median:.0f}", ratio])
    clip = "x".join(map(str, args.shape))
    print(f"{args.clips} clips of {clip}, {args.threads} thread(s), medians of {args.repeats}")
    print(markdown_table(["noise", "ms", "of numpy"], body))


if __name__ == "__main__":
    main()
