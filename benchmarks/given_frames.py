"""What reconstruction guidance does to clips that go on: real moving digits, their first frames given to a model.

    python benchmarks/given_frames.py --clips 4 --steps 10

For each weight, of the frames that were not given: PSNR against the real ones in dB, and how often the judge reads the
real clip's digit in them.
"""

from __future__ import annotations

import argparse
import time

import torch

from videofusion.diffusion.known import Known
from videofusion.diffusion.noise import base_frame
from videofusion.digits.judge import Judge
from videofusion.digits.moving_digits import MovingDigits
from videofusion.evaluation.record import markdown_table
from videofusion.models import load

FRAMES = 16


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="moving-digits")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--given", type=int, default=base_frame(FRAMES) + 1)
    parser.add_argument("--weights", type=float, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--motion", type=float, help="from 0 (most noise shared) to 1; the model's own when not given")
    args = parser.parse_args()

    pipe, judge = load(args.model), Judge.load()
    data = MovingDigits(split="test", two_digits=0.0, full_captions=True)
    samples = [data.sample(index, 0, 0) for index in range(args.clips)]
    real = torch.stack([sample.clip for sample in samples])
    captions = [sample.caption for sample in samples]
    read = judge.look(real).digit
    rows = []
    for weight in args.weights:
        began = time.perf_counter()
        known = Known(real[:, : args.given], range(args.given), weight, latent=True)
        made = pipe(captions, known=known, steps=args.steps, motion=args.motion, seed=0, output="latent")
        seconds = (time.perf_counter() - began) / args.clips
        new = made[:, args.given :]
        error = (new - real[:, args.given :]).square().mean(dim=(1, 2, 3, 4))
        psnr = (10 * (4 / error).log10()).mean()
        same = (judge.look(made).frame_digit[:, args.given :, 0] == read).float().mean()
        rows.append([f"{weight:g}", f"{psnr:.1f}", f"{100 * same:.0f} %", f"{seconds:.1f}"])
        print(rows[-1], flush=True)
    print(markdown_table(["weight", "PSNR, dB", "digit read", "s a clip"], rows))


if __name__ == "__main__":
    main()
