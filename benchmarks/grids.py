"""Where a sampler stops: error of exact denoisers over grids, steps and shares, and a model's own quality by grid.

    python benchmarks/grids.py                                  # exact denoisers, some seconds
    python benchmarks/grids.py --model moving-digits --clips 8 --samplers dpm++   # a model, minutes

Clips of 8 frames with a normal law, whose best denoiser is known: 0.4 exp(-(i - j)² / 8) between frames i and j, and
0.01 of each frame's own. Samplers are linear then, and the covariance of what they make is known without drawing any.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "diffusion"))
from gaussian import Gaussian, unit_clips

from videofusion.diffusion import SAMPLERS, Conditions, DecomposedNoise, make_schedule, times

FRAMES = 8
POSITION = torch.arange(FRAMES, dtype=torch.float64)
DATA = 0.4 * torch.exp(-((POSITION[:, None] - POSITION) ** 2) / 8) + 0.01 * torch.eye(FRAMES, dtype=torch.float64)
SHARES = (0.0, 0.5, 0.9)
STEPS = (5, 8, 10, 20, 50)
REFERENCE = 60  # steps of a model's clips that those of fewer steps are held against


def error(sampler: str, name: str, spacing: str, share: float, steps: int, aware: bool) -> float:
    """Relative error of the sampled covariance."""
    source, schedule = DecomposedNoise(share), make_schedule(name)
    noise = source.covariance(source.shares(1, FRAMES).double())[0]
    t = times(schedule, steps, spacing=spacing, covariance=noise if aware else None).double()
    clips = FRAMES * (2 * steps + 1)  # langevin draws twice a step

    def draw(step: int) -> Tensor:
        units = torch.zeros(clips, FRAMES, 1, 1, 1, dtype=torch.float64)
        units[step * FRAMES : (step + 1) * FRAMES] = unit_clips(FRAMES)
        return units

    denoiser = Gaussian(schedule, torch.zeros(FRAMES, dtype=torch.float64), DATA, noise)
    made = SAMPLERS[sampler](denoiser, draw(0), t, schedule=schedule, conditions=Conditions(), noise=draw)
    answers = made.reshape(-1, FRAMES, FRAMES).mT
    return float(((answers @ noise @ answers.mT).sum(0) - DATA).norm() / DATA.norm())


def exact(samplers: Sequence[str], schedules: Sequence[str]) -> None:
    """Print a table for each schedule and sampler: a row for each grid, columns by share and steps."""
    for name in schedules:
        for sampler in samplers:
            print(f"\n{name}, {sampler}\n")
            print(
                "| grid | " + " | ".join(f"λ={share:g}: {', '.join(map(str, STEPS))} steps" for share in SHARES) + " |"
            )
            print("|---" * (len(SHARES) + 1) + "|")
            for spacing, aware in [
                *((each, False) for each in ("trailing", "logsnr", "karras", "flow")),
                ("flow", True),
            ]:
                rows = [
                    ", ".join(f"{error(sampler, name, spacing, share, steps, aware):.3f}" for steps in STEPS)
                    for share in SHARES
                ]
                print(f"| {spacing}{', λ-aware' if aware else ''} | " + " | ".join(rows) + " |", flush=True)


def of_model(model: str, clips: int, samplers: Sequence[str], steps: Sequence[int]) -> None:
    """Print how far a model's clips are from those of many steps, and how many the judge finds right, by grid.

    The same prompts and seeds everywhere, so that few clips tell grids apart; samplers that inject noise have no clip
    that many steps would lead to, and are judged only.
    """
    from videofusion.digits.judge import Judge
    from videofusion.digits.moving_digits import evaluation_prompts
    from videofusion.digits.protocol import answers
    from videofusion.evaluation.making import Sampling, make
    from videofusion.models import load

    pipe, judge = load(model, device="cpu"), Judge.load()
    specs = evaluation_prompts(clips, True, 0, False, pipe.config.frames)

    def made(sampler: str, count: int, spacing: str) -> Tensor:
        def pipeline(*prompts: Any, **options: Any) -> Tensor:
            return pipe(*prompts, sampler_options={"spacing": spacing}, **options)

        return make(pipeline, [spec.caption for spec in specs], range(clips), Sampling(steps=count, sampler=sampler))

    for sampler in samplers:
        still = sampler in ("ddim", "angular", "dpm++", "heun")
        goal = made(sampler, REFERENCE, "trailing") if still else None
        print(f"\n{model}, {sampler}: RMS distance to {REFERENCE} steps; digit, colour and direction right\n")
        print("| grid | " + " | ".join(f"{count} steps" for count in steps) + " |")
        print("|---" * (len(steps) + 1) + "|")
        for spacing in ("trailing", "logsnr", "flow"):
            cells = []
            for count in steps:
                found = made(sampler, count, spacing)
                right = sum(answers(judge.look(found), specs)["all three"])
                far = "" if goal is None else f"{float((found - goal).square().mean().sqrt()):.4f}; "
                cells.append(f"{far}{right} of {clips}")
            print(f"| {spacing} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", nargs="+", default=["dpm++", "heun", "ddim", "ddpm"], choices=list(SAMPLERS))
    parser.add_argument("--schedules", nargs="+", default=["cosine", "scaled_linear"])
    parser.add_argument("--model")
    parser.add_argument("--clips", type=int, default=32)
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20])
    asked = parser.parse_args()
    if asked.model is None:
        exact(asked.samplers, asked.schedules)
    else:
        of_model(asked.model, asked.clips, asked.samplers, asked.steps)


if __name__ == "__main__":
    main()
