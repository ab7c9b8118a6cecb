"""Editing of clips that the model did not make: what comes back, what is kept, what changes as asked.

    python benchmarks/editing.py --clips 1 --steps 50 --refinements 0 1
    python benchmarks/editing.py --clips 24 --steps 20 --refinements --methods sdedit --strengths 0.7 0.75
    python benchmarks/editing.py --clips 24 --steps 20 --refinements --methods sdedit --strengths 0.8 --around 2
    python benchmarks/editing.py --data CLIPS --model FOLDER --stride 4 --clips 4 --spacing sd
    python benchmarks/editing.py --data CLIPS --model FOLDER --stride 4 --first 8 --prompt TEXT --sheet FILE.png

Test clips of moving digits, by the model that ships; or with --data clips of a folder with captions, as many frames as
the model makes, by any model; with --prompt only a sheet of them and of what becomes of them.

Inverted with their captions and sampled again, without guidance: PSNR in dB, and of models in latents also that of the
autoencoder alone, and that of the latents against the clips'. With a mask: whether what it keeps is kept to the bit,
where clips are made.

Of digits, with another colour in the prompt and guidance as the model is made for: how often a tracker reads that
colour, and how far from the clip's own digit it finds this one, in pixels, the mean over frames. With --around, a mask
keeps all but the clip's own digit and so many pixels around it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from videofusion.clip.sheet import save_sheet
from videofusion.data.folder import VideoFolder
from videofusion.digits.moving_digits import MovingDigits
from videofusion.digits.spec import COLOURS
from videofusion.digits.tracker import names, track
from videofusion.models import load
from videofusion.tasks import METHODS, edit


def psnr(made: Tensor, clips: Tensor, peak: float = 2.0) -> float:
    """In dB, the mean over clips [b t c h w]; `peak` is the range of values."""
    error = (made - clips).square().mean(dim=(1, 2, 3, 4))
    return float((10 * (peak**2 / error).log10()).mean())


def back_and_forth(pipe: Any, clips: Tensor, captions: Sequence[str], args: argparse.Namespace) -> None:
    """Print how closely inverted clips come back."""
    encoded = pipe.space.encode(clips)
    in_latents = pipe.vae is not None
    if in_latents:
        print(f"autoencoder alone: {psnr(pipe.decode(encoded), clips):.1f} dB")
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
                output="latent",
            )
            seconds = (time.perf_counter() - began) / args.clips
            found = f"{psnr(pipe.decode(made), clips):.1f} dB"
            if in_latents:
                found += f", latents {psnr(made, encoded, float(encoded.max() - encoded.min())):.1f} dB"
            print(f"inverted, {spacing}, {count} refinements: {found}, {seconds:.0f} s", flush=True)


def recoloured(pipe: Any, clips: Tensor, captions: Sequence[str], args: argparse.Namespace) -> None:
    """Print what of digits becomes of another colour in the prompt."""
    before = track(clips)
    colours = list(COLOURS)
    was = [next(word for word in text.split() if word in COLOURS) for text in captions]
    wanted = [colours[(colours.index(each) + 3) % len(colours)] for each in was]
    asked = [text.replace(old, new) for text, old, new in zip(captions, was, wanted, strict=True)]
    mask = None
    if args.around is not None:
        ink = (before.ink > 0.3).float().transpose(1, 2).flatten(0, 2)[:, None]
        mask = max_pool2d(ink, 2 * args.around + 1, 1, args.around).unflatten(0, clips.shape[:2])
    for method in args.methods:
        for strength in args.strengths:
            made = edit(
                pipe,
                clips,
                asked,
                method=method,
                strength=strength,
                source=captions,
                steps=args.steps,
                mask=mask,
                sampler=args.sampler,
                refinements=args.refined,
            )
            after = track(made)
            found = names(after.colour[:, 0].tolist(), colours)
            right = sum(one == other for one, other in zip(found, wanted, strict=True))
            away = (after.place - before.place).norm(dim=-1).mean(dim=(1, 2))
            print(
                f"{method} {strength:g}: colour {right} of {len(found)}, {away.mean():.1f} pixels away on average, "
                f"at most 2 in {int((away <= 2).sum())}",
                flush=True,
            )


def sheet(pipe: Any, clips: Tensor, captions: Sequence[str], args: argparse.Namespace) -> None:
    """Write clips, and under each what it becomes by the prompt."""
    rows, texts = list(clips), list(captions)
    for method in args.methods:
        for strength in args.strengths:
            asked = {
                "strength": strength,
                "source": captions,
                "guidance": args.guidance,
                "steps": args.steps,
                "seed": 1,
            }
            rows += list(edit(pipe, clips, [args.prompt] * len(clips), method=method, **asked))
            texts += [f"{args.prompt} ({method} {strength:g})"] * len(clips)
    save_sheet(torch.stack(rows), args.sheet, texts)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="moving-digits")
    parser.add_argument("--system", default=None, help="of an image model")
    parser.add_argument("--data", default=None)
    parser.add_argument("--stride", type=int, default=1, help="every how many frames of --data")
    parser.add_argument("--first", type=int, default=0, help="number of the first clip")
    parser.add_argument("--clips", type=int, default=1)
    parser.add_argument("--prompt", default=None)
    parser.add_argument("--sheet", default="sheet.png")
    parser.add_argument("--guidance", type=float, default=None, help="of the sheet")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--refinements", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--spacing", nargs="+", default=["trailing"])
    parser.add_argument("--methods", nargs="*", default=[], choices=METHODS)
    parser.add_argument("--strengths", type=float, nargs="*", default=[1.0])
    parser.add_argument("--around", type=int, default=None)
    parser.add_argument("--sampler", default=None, help="of edits")
    parser.add_argument("--refined", type=int, default=1, help="refinements of edits")
    args = parser.parse_args()

    pipe = load(args.model, **({} if args.system is None else {"system": args.system}))
    data: Any = MovingDigits(split="test", two_digits=0.0, full_captions=True)
    if args.data is not None:
        data = VideoFolder(args.data, frames=pipe.config.frames, size=pipe.config.height, stride=args.stride)
    samples = [data.sample(index, 0, 0) for index in range(args.first, args.first + args.clips)]
    clips, captions = torch.stack([each.clip for each in samples]), [each.caption for each in samples]
    if args.prompt is not None:
        sheet(pipe, clips, captions, args)
        return
    back_and_forth(pipe, clips, captions, args)
    if args.methods:
        recoloured(pipe, clips, captions, args)
    mask = torch.zeros(1, 1, *clips.shape[-2:])
    mask[..., : mask.shape[-1] // 2] = 1
    made = edit(pipe, clips, captions, mask=mask, steps=5, seed=1, output="latent")
    kept = pipe.space.encode(clips)
    half = kept.shape[-1] // 2
    print(f"mask: kept to the bit {torch.equal(made[..., half:], kept[..., half:])}")


if __name__ == "__main__":
    main()
