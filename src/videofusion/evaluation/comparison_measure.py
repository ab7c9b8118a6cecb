"""What `videofusion compare` measures of every trained system."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from videofusion.data.moving_digits import MovingDigits, render
from videofusion.evaluation import protocol
from videofusion.evaluation.fidelity import FidelityMeasure, reference_specs
from videofusion.evaluation.judge import Findings, Judge
from videofusion.evaluation.protocol import Pipe, Sampling
from videofusion.evaluation.tracker import SIZE

TWO_DIGITS = 0.2  # part of the clips with two digits, as the recipes train
_JUMP = 2.5  # pixels of 32 between two frames; the fast digits go 1


def evaluate(
    pipe: Pipe, clips: int, seed: int = 0, sampling: Sampling | None = None, reference: int = 2000
) -> dict[str, Any]:
    """Measure a model: distances from real clips, right answers on prompts with one digit, places kept.

    Args:
        pipe: the model.
        clips: made for the distances; as many again, at most 128, for the answers.
        seed: of the samples.
        sampling: how clips are made.
        reference: real clips that the distances are from.
    """
    sampling = sampling or Sampling()
    frames, judge = protocol.frames_of(pipe), Judge.load()
    measure = FidelityMeasure(judge, render(reference_specs(reference, frames, TWO_DIGITS), frames, SIZE))
    specs = reference_specs(clips, frames, TWO_DIGITS, seed=1)
    seeds = [seed * 1_000_000 + i for i in range(clips)]
    made = protocol.make(pipe, [s.caption for s in specs], seeds, sampling, label="distances")
    fidelity = measure(made)
    asked = MovingDigits(frames, split="test", two_digits=0.0, full_captions=True).specs(
        range(min(clips, 128)), seed=seed + 2
    )
    seeds = [seed * 1_000_000 + 500_000 + i for i in range(len(asked))]
    one = protocol.make(pipe, [s.caption for s in asked], seeds, sampling, label="answers")
    found = judge.look(one)
    rates = protocol.rates(protocol.answers(found, asked))
    return {
        **{name: asdict(spread) for name, spread in vars(fidelity).items()},
        "rates": {name: rate.record() for name, rate in rates.items()},
        "place_kept": float(place_kept(found).float().mean()),
        "sampling": asdict(sampling),
    }


def place_kept(findings: Findings) -> Bool[Tensor, " b"]:
    """Whether the digit is in every frame, near where it was in the frame before: bool [b]."""
    place, mass = findings.tracks.place[:, :, 0], findings.tracks.mass[:, :, 0]
    return ((place.diff(dim=1).norm(dim=-1) < _JUMP).all(1)) & (mass > 0).all(1)
