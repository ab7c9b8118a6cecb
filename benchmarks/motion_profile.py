"""How evenly do a model's digits move? Pixels a frame along a clip, of real clips and of a model's.

    python benchmarks/motion_profile.py runs/mine/model --clips 128 --guidance 4 --motion-guidance 1

Then, where a single call of the denoiser puts the digits of real clips, noised to several times: how much too near to
the middle frame's place, for each frame. (At the last times nothing of a clip is seen, but what its prompt says and,
for VideoFusion's "image-first", the middle frame.)
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from videofusion.conditioning.motion import Motion
from videofusion.conditioning.prompt import text_conditions
from videofusion.diffusion.guidance import ClassifierFree
from videofusion.diffusion.noise import Keys, base_frame
from videofusion.diffusion.prediction import expand
from videofusion.diffusion.schedules import make_schedule
from videofusion.digits import protocol
from videofusion.digits.comparison import SAMPLING, place_kept
from videofusion.digits.fidelity import FidelityMeasure, reference_specs
from videofusion.digits.judge import Judge
from videofusion.digits.moving_digits import evaluation_prompts, render
from videofusion.digits.tracker import SIZE
from videofusion.evaluation import making
from videofusion.evaluation.record import markdown_table
from videofusion.models import load
from videofusion.systems.videofusion_pipeline import VideoFusionPipeline

FRAMES, BATCH = 16, 32
TIMES = (1.0, 0.93, 0.8, 0.5, 0.3)
FAR = 1.0  # pixels from the middle frame's place, from which on inwards and outwards are told apart
REFERENCE = 2000  # real clips that the distances are from, as in the comparison


def places(clips: Tensor) -> Tensor:
    """Where the digit is [b t 2], in pixels."""
    return Judge.load().look(clips.clamp(-1, 1)).tracks.place[:, :, 0]


def steps(place: Tensor) -> list[str]:
    """Mean pixels from each frame to the next."""
    return [f"{step:.2f}" for step in place.diff(dim=1).norm(dim=-1).mean(0).tolist()]


@torch.no_grad()
def predicted(
    pipe: VideoFusionPipeline, clips: Tensor, captions: list[str], t: float, guidance: float, first: int
) -> Tensor:
    """What one call makes of real clips, noised to a time [b t c h w]."""
    keys = Keys.of(list(range(first, first + len(clips))))
    motion = next(each for each in pipe.conditions if isinstance(each, Motion))
    share = motion.share(FRAMES).expand(len(clips), -1)
    conditions = replace(text_conditions(pipe.text, captions), share=share)
    if pipe.variant.decides == "given":
        middle = base_frame(FRAMES)
        conditions = replace(conditions, middle_frame=clips[:, middle : middle + 1])
    noise = pipe.noise_source().draw(clips.shape, keys, 1, share).eps
    time = torch.full((len(clips),), t)
    alpha, sigma = (expand(scale, clips) for scale in make_schedule(pipe.config.schedule).alpha_sigma(time))
    return ClassifierFree(pipe.denoiser(), guidance)(alpha * clips + sigma * noise, time, conditions).x0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model of moving digits, 16 frames at 32x32")
    parser.add_argument("--clips", type=int, default=128, help="at least 128")
    parser.add_argument("--guidance", type=float, default=SAMPLING.guidance, help="the model's own by default")
    parser.add_argument("--motion-guidance", type=float, help="of the frames around the middle one; likewise")
    parser.add_argument("--steps", type=int, default=SAMPLING.steps, help="of the sampler (default: %(default)s)")
    args = parser.parse_args()

    pipe = load(args.model)
    pipe.set_progress_bar_config(disable=True)
    if args.motion_guidance is not None:
        pipe.register_to_config(motion_guidance=args.motion_guidance)
    specs = evaluation_prompts(args.clips, held_out=False, seed=1, frames=FRAMES)
    captions, real = [spec.caption for spec in specs], render(specs, FRAMES, SIZE)
    sampling = replace(SAMPLING, guidance=args.guidance, steps=args.steps)
    made = making.make(pipe, captions, list(range(args.clips)), sampling, label="clips")
    found = Judge.load().look(made)
    fidelity = FidelityMeasure(Judge.load(), render(reference_specs(REFERENCE, FRAMES, 0.0), FRAMES, SIZE))(made)
    rates = protocol.rates(protocol.answers(found, specs))
    print(
        f"quality {fidelity.quality.value:.1f}, consistency {fidelity.consistency.value:.1f}, "
        f"place kept {place_kept(found).float().mean():.0%}, directions {rates['direction'].value:.0%}"
    )
    header = ["pixels a frame", *(f"{i}-{i + 1}" for i in range(FRAMES - 1))]
    true = places(real)
    print(markdown_table(header, [["real", *steps(true)], ["made", *steps(found.tracks.place[:, :, 0])]]))

    own = pipe.config.guidance if args.guidance is None else args.guidance
    scale = pipe.frames_guidance(own)
    middle = base_frame(FRAMES)
    away = true - true[:, middle : middle + 1]
    far = away.norm(dim=-1)
    outward = away / far.clamp_min(1e-6)[..., None]
    body: list[list[object]] = []
    for t in TIMES:
        parts = [
            predicted(pipe, real[i : i + BATCH], captions[i : i + BATCH], t, scale, i)
            for i in range(0, args.clips, BATCH)
        ]
        inward = -((places(torch.cat(parts)) - true) * outward).sum(-1)
        row = [inward[far[:, k] > FAR, k] for k in range(FRAMES)]
        body.append([f"t = {t:g}", *(f"{each.mean():.2f}" if len(each) else "–" for each in row)])
    print(markdown_table(["too far in, pixels", *map(str, range(FRAMES))], body))


if __name__ == "__main__":
    main()
