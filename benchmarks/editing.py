"""Editing by the model that ships, of clips that it did not make: what comes back, what is kept, what changes as asked.

    python benchmarks/editing.py --clips 1 --steps 50 --refinements 0 1

Test clips of moving digits. Inverted with their captions and sampled again, without guidance: PSNR in dB. With a mask:
whether what it keeps is kept to the bit. With another colour in the prompt, guidance as the model is made for: how
often a tracker reads that colour, and how far from the clip's own digit it finds this one, in pixels, the mean over
frames.
"""

from __future__ import annotations

import argparse
import time

import torch

from videofusion.digits.moving_digits import MovingDigits
from videofusion.digits.spec import COLOURS
from videofusion.digits.tracker import names, track
from videofusion.models import load
from videofusion.tasks import METHODS, edit


def psnr(made: torch.Tensor, clips: torch.Tensor) -> float:
    """In dB, of values in [-1, 1], the mean over clips [b t c h w]."""
    error = (made - clips).square().mean(dim=(1, 2, 3, 4))
    return float((10 * (4 / error).log10()).mean())


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="moving-digits")
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--refinements", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--spacing", nargs="+", default=["trailing"])
    parser.add_argument("--methods", nargs="*", default=[], choices=METHODS)
    parser.add_argument("--strengths", type=float, nargs="*", default=[1.0])
    args = parser.parse_args()

    pipe = load(args.model)
    data = MovingDigits(split="test", two_digits=0.0, full_captions=True)
    samples = [data.sample(index, 0, 0) for index in range(args.clips)]
    clips, captions = torch.stack([each.clip for each in samples]), [each.caption for each in samples]
    for spacing in args.spacing:
        for count in args.refinements:
            began = time.perf_counter()
            made = edit(
                pipe,
                clips,
                captions,
                method="inversion",
                source=captions,
                guidance=1.0,
                refinements=count,
                steps=args.steps,
                sampler_options={"spacing": spacing},
            )
            seconds = (time.perf_counter() - began) / args.clips
            print(f"inverted, {spacing}, {count} refinements: {psnr(made, clips):.1f} dB, {seconds:.0f} s", flush=True)
    before = track(clips)
    colours = list(COLOURS)
    was = [next(word for word in text.split() if word in COLOURS) for text in captions]
    wanted = [colours[(colours.index(each) + 3) % len(colours)] for each in was]
    asked = [text.replace(old, new) for text, old, new in zip(captions, was, wanted, strict=True)]
    for method in args.methods:
        for strength in args.strengths:
            made = edit(pipe, clips, asked, method=method, strength=strength, source=captions, steps=args.steps)
            after = track(made)
            right = [
                one == other for one, other in zip(names(after.colour[:, 0].tolist(), colours), wanted, strict=True)
            ]
            away = (after.place - before.place).norm(dim=-1).mean()
            print(f"{method} {strength:g}: colour {sum(right)} of {len(right)}, {away:.1f} pixels away", flush=True)
    mask = torch.zeros(1, 1, *clips.shape[-2:])
    mask[..., : mask.shape[-1] // 2] = 1
    made = edit(pipe, clips, captions, mask=mask, steps=5, seed=1)
    outside = (mask == 0).expand_as(made)
    print(f"mask: kept to the bit {torch.equal(made[outside], clips[outside])}")


if __name__ == "__main__":
    main()
