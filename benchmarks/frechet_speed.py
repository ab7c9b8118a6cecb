"""The Fréchet distance against scipy's matrix square root, on the same features in one run.

    python benchmarks/frechet_speed.py                       # 2,048 x 400
    python benchmarks/frechet_speed.py --shapes 10000x2048 --repeats 1

"distance" is what is done with means and covariances, "features" the whole way from two sets of features. Both ways
take their turns, times are medians, and the values have to agree to 1e-6 of themselves.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import numpy as np
from measure import clock, machine
from scipy.linalg import sqrtm

from videofusion.evaluation.metrics.frechet import Array, feature_distance, frechet_distance, moments


def by_square_root(mu1: Array, cov1: Array, mu2: Array, cov2: Array) -> float:
    """The formula as it stands."""
    root = sqrtm(cov1 @ cov2)
    return float(np.sum((mu1 - mu2) ** 2) + np.trace(cov1) + np.trace(cov2) - 2 * np.trace(root).real)


def features(count: int, size: int) -> tuple[Array, Array]:
    """Two sets with correlated features of falling variance, as those of a network are."""
    rng = np.random.default_rng(0)
    scale = 1 / np.sqrt(1 + np.arange(size))
    mix = rng.normal(size=(size, size)) / np.sqrt(size)
    real = rng.normal(size=(count, size)) * scale
    made = rng.normal(size=(count, size)) * scale
    return real + 0.5 * real @ mix, made + 0.5 * made @ mix.T + 0.1 * scale


def main() -> int:
    """Print a table; the exit code is 1 if the values differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["2048x400"], help="samples x features of each set")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    print(machine())
    print("| features   | what     | sqrtm, s | ours, s | times faster | value      | difference |")
    print("|------------|----------|---------:|--------:|-------------:|-----------:|-----------:|")
    alike = True
    for shape in args.shapes:
        real, made = features(*(int(part) for part in shape.split("x")))
        pair = (*moments(real), *moments(made))
        rows = {
            "distance": (lambda p=pair: by_square_root(*p), lambda p=pair: frechet_distance(*p)),
            "features": (
                lambda r=real, m=made: by_square_root(*moments(r), *moments(m)),
                lambda r=real, m=made: feature_distance(r, m),
            ),
        }
        for what, runs in rows.items():
            taken: tuple[list[float], list[float]] = ([], [])
            values = [0.0, 0.0]
            for _ in range(args.repeats):
                for i, run in enumerate(runs):
                    start = clock()
                    values[i] = run()
                    taken[i].append(clock() - start)
            theirs, ours = (statistics.median(each) for each in taken)
            difference = abs(values[1] / values[0] - 1)
            alike &= difference < 1e-6
            print(
                f"| {shape:10} | {what} | {theirs:8.3f} | {ours:7.3f} | {theirs / ours:12.1f} | {values[0]:10.6g} "
                f"| {difference:10.1e} |",
                flush=True,
            )
    return 0 if alike else 1


if __name__ == "__main__":
    sys.exit(main())
