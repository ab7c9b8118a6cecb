"""What `videofusion compare` measures of every trained system."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from videofusion.data.digits_spec import DigitClipSpec
from videofusion.data.moving_digits import evaluation_prompts, render
from videofusion.evaluation import protocol
from videofusion.evaluation.fidelity import FidelityMeasure, reference_specs
from videofusion.evaluation.judge import Findings, Judge
from videofusion.evaluation.protocol import Pipe, Sampling
from videofusion.evaluation.tracker import SIZE

SAMPLING = Sampling(steps=10, batch=32)  # half the usual steps: sampling would take as long as training
_JUMP = 2.5  # pixels of 32 between two frames; the fast digits go 1


def evaluate(
    pipe: Pipe, clips: int, seed: int = 0, sampling: Sampling = SAMPLING, reference: int = 2000
) -> dict[str, Any]:
    """Measure a model: distances from real clips, right answers, places kept.

    All over the same clips of one digit each, for prompts that tell digit, colour and direction.

    Args:
        pipe: the model.
        clips: that it makes.
        seed: of the samples.
        sampling: how clips are made.
        reference: real clips that the distances are from.
    """
    frames, judge = protocol.frames_of(pipe), Judge.load()
    real = render(reference_specs(reference, frames, 0.0), frames, SIZE)
    specs, made = _make(pipe, clips, seed, sampling)
    found = judge.look(made)
    return {
        **{name: asdict(spread) for name, spread in vars(FidelityMeasure(judge, real)(made)).items()},
        "rates": {name: rate.record() for name, rate in protocol.rates(protocol.answers(found, specs)).items()},
        "place_kept": float(place_kept(found).float().mean()),
        "sampling": asdict(sampling),
    }


def places_kept(pipe: Pipe, clips: int, seed: int = 0, sampling: Sampling = SAMPLING) -> float:
    """Part of a model's clips in which the digit keeps its place; arguments as of `evaluate`."""
    _, made = _make(pipe, clips, seed, sampling)
    return float(place_kept(Judge.load().look(made)).float().mean())


def _make(pipe: Pipe, clips: int, seed: int, sampling: Sampling) -> tuple[list[DigitClipSpec], Tensor]:
    specs = evaluation_prompts(clips, held_out=False, seed=1, frames=protocol.frames_of(pipe))
    seeds = [seed * 1_000_000 + i for i in range(clips)]
    return specs, protocol.make(pipe, [spec.caption for spec in specs], seeds, sampling, label="clips")


def place_kept(findings: Findings) -> Bool[Tensor, " b"]:
    """Whether the digit is in every frame, near where it was in the frame before: bool [b]."""
    place, mass = findings.tracks.place[:, :, 0], findings.tracks.mass[:, :, 0]
    return ((place.diff(dim=1).norm(dim=-1) < _JUMP).all(1)) & (mass > 0).all(1)
