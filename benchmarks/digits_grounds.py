"""How much the frames of the built-in clips share with the middle one, and how fast clips are drawn.

python benchmarks/digits_grounds.py
"""

from __future__ import annotations

import time

import torch

from videofusion.conditioning.motion import share_profiles
from videofusion.diffusion.noise import base_frame
from videofusion.digits.domain import GROUNDS_OF
from videofusion.digits.moving_digits import MovingDigits
from videofusion.evaluation.record import markdown_table

FRAMES, SIZE, TWO_DIGITS, CLIPS, BATCH = 16, 32, 0.2, 2000, 50


def squared_correlation(clips: torch.Tensor) -> torch.Tensor:
    """Of every frame with the middle one, each frame's mean of each channel removed, not cut off: [b t]."""
    flat = (clips - clips.mean((3, 4), keepdim=True)).flatten(2)
    base = flat[:, base_frame(clips.shape[1]), None]
    rho = (flat * base).sum(2) / (flat.square().sum(2) * base.square().sum(2)).sqrt().clamp(min=1e-8)
    return rho.clamp(min=0).square()


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    body = []
    for domain, grounds in GROUNDS_OF.items():
        for split in ("train", "test"):
            digits = MovingDigits(FRAMES, SIZE, split, TWO_DIGITS, grounds=grounds)
            digits.batch(range(BATCH))  # photographs and handwriting are read once
            seconds, shares = 0.0, []
            for first in range(0, CLIPS, BATCH):
                start = time.process_time()
                clips = digits.batch(range(first, first + BATCH)).clip
                seconds += time.process_time() - start
                shares.append(squared_correlation(clips))
            share = torch.cat(shares)
            others = torch.cat([share[:, : base_frame(FRAMES)], share[:, base_frame(FRAMES) + 1 :]], 1)
            medians = share_profiles(share, 3)[1][1:]
            cells = [domain, split, f"{others.median():.2f}", *(f"{value:.2f}" for value in medians)]
            body.append([*cells, f"{CLIPS / seconds:,.0f}"])
    header = ["data", "split", "median of all", *(f"at {distance}" for distance in range(1, base_frame(FRAMES) + 1))]
    print(markdown_table([*header, "clips/s of a core"], body))


if __name__ == "__main__":
    main()
