"""What `videofusion compare` measures of the clips of moving digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from videofusion.comparison.finding import SHOWN, Finding
from videofusion.digits import protocol
from videofusion.digits.fidelity import FidelityMeasure, reference_specs
from videofusion.digits.judge import Findings, Judge
from videofusion.digits.moving_digits import evaluation_prompts, render
from videofusion.digits.spec import DigitClipSpec
from videofusion.digits.tracker import SIZE
from videofusion.errors import InputError
from videofusion.evaluation import making
from videofusion.evaluation.making import Pipe, Sampling
from videofusion.evaluation.metrics.base_frame import base_frame_change
from videofusion.evaluation.metrics.frechet import Spread, bootstrap

SAMPLING = Sampling(
    steps=10, sampler="dpm++", batch=32
)  # half the usual steps: sampling would take as long as training
LEAST_CLIPS = 128  # that the distances take


class DigitsMeasure:
    """The validation measure of moving digits, right answers and colours.

    Args:
        clips: that each model makes.
        frames: of a clip.
        reference: real clips that the distances are from.
        grounds: what is behind the digits, "plain" or "photos".

    Raises:
        InputError: too few clips.
    """

    def __init__(self, clips: int, frames: int = 16, reference: int = 2000, grounds: str = "plain") -> None:
        if clips < LEAST_CLIPS:
            raise InputError(f"clips is {clips}, but the measure of moving digits needs at least {LEAST_CLIPS}")
        self.clips, self.frames, self.reference, self.grounds = clips, frames, reference, grounds
        over = " over photographs" if grounds == "photos" else ""
        self.note = (
            f"Measured over {clips} clips of each run, against {reference} real test clips of moving digits{over}."
        )

    def prompt(self) -> str:
        return evaluation_prompts(1, held_out=False, seed=1)[0].caption

    def real(self) -> dict[str, Any]:
        specs = evaluation_prompts(self.clips, held_out=False, seed=1, frames=self.frames, grounds=self.grounds)
        return _measured(render(specs, self.frames, SIZE), specs, self.reference, self.grounds)

    def __call__(self, pipe: Pipe, sampling: Sampling) -> Finding:
        specs, made = _make(pipe, self.clips, 0, sampling, self.grounds)
        row = _measured(made, specs, self.reference, self.grounds) | {"sampling": asdict(sampling)}
        return Finding(row=row, clips=made[:SHOWN], captions=[spec.caption for spec in specs[:SHOWN]])


def evaluate(
    pipe: Pipe, clips: int, seed: int = 0, sampling: Sampling = SAMPLING, reference: int = 2000
) -> dict[str, Any]:
    """Measure a model: distances from real clips, right answers, places kept, colours.

    All over the same clips of one digit each, for prompts that tell digit, colour and direction.

    Args:
        pipe: the model.
        clips: that it makes.
        seed: of the samples.
        sampling: how clips are made.
        reference: real clips that the distances are from.
    """
    specs, made = _make(pipe, clips, seed, sampling)
    return {**_measured(made, specs, reference), "sampling": asdict(sampling)}


def places_kept(pipe: Pipe, clips: int, seed: int = 0, sampling: Sampling = SAMPLING) -> float:
    """Part of a model's clips in which the digit keeps its place; arguments as of `evaluate`."""
    _, made = _make(pipe, clips, seed, sampling)
    return float(place_kept(Judge.load().look(made)).float().mean())


def place_kept(findings: Findings) -> Bool[Tensor, " b"]:
    """Whether the digit is in every frame, near where it was in the frame before: bool [b]."""
    return findings.place_kept[:, 0]


def colour_shift(made: Float[Tensor, "b t 3 h w"], real: Float[Tensor, "3"]) -> Spread:
    """How far the mean colour of clips is from that of real ones, a distance in RGB of [0, 1].

    Args:
        made: clips in [-1, 1].
        real: the real clips' mean colour, in [-1, 1].
    """
    colours = made.mean(dim=(1, 3, 4)).double().numpy()
    wanted = real.double().numpy()
    return bootstrap(lambda drawn: float(((drawn.mean(axis=0) - wanted) ** 2).sum() ** 0.5) / 2, colours)


def colour_drift(clips: Float[Tensor, "b t 3 h w"]) -> Spread:
    """How far the mean colour of a clip's last frame is from the first one's, a distance in RGB of [0, 1]; mean."""
    ends = clips[:, [0, -1]].mean(dim=(3, 4)).double()
    drift = (ends[:, 1] - ends[:, 0]).norm(dim=-1).numpy() / 2
    return bootstrap(lambda drawn: float(drawn.mean()), drift)


@dataclass(frozen=True)
class _Real:
    """What is kept of the real clips that others are measured against."""

    fidelity: FidelityMeasure
    colour: Tensor
    drift: float
    at_base: float | None


@lru_cache(maxsize=2)
def _reference(count: int, frames: int, grounds: str) -> _Real:
    clips = render(reference_specs(count, frames, 0.0, grounds=grounds), frames, SIZE)
    at_base = base_frame_change(clips)
    return _Real(
        FidelityMeasure(Judge.load(), clips),
        clips.mean(dim=(0, 1, 3, 4)),
        colour_drift(clips).value,
        None if at_base is None else at_base.median,
    )


def _measured(made: Tensor, specs: Sequence[DigitClipSpec], reference: int, grounds: str = "plain") -> dict[str, Any]:
    real, found = _reference(reference, made.shape[1], grounds), Judge.load(grounds=grounds).look(made)
    at_base = base_frame_change(made)
    spreads = {
        **vars(real.fidelity(made)),
        "colour_shift": colour_shift(made, real.colour),
        "colour_drift": colour_drift(made),
    }
    return {
        **{name: asdict(spread) for name, spread in spreads.items()},
        "measures": ["quality", "consistency"],
        "rates": {name: rate.record() for name, rate in protocol.rates(protocol.answers(found, specs)).items()},
        "place_kept": float(place_kept(found).float().mean()),
        "colour_drift_of_real": real.drift,
        "change_at_base_frame": None if at_base is None else {**at_base.record(), "of_real": real.at_base},
    }


def _make(
    pipe: Pipe, clips: int, seed: int, sampling: Sampling, grounds: str = "plain"
) -> tuple[list[DigitClipSpec], Tensor]:
    specs = evaluation_prompts(clips, held_out=False, seed=1, frames=protocol.frames_of(pipe), grounds=grounds)
    seeds = [seed * 1_000_000 + i for i in range(clips)]
    real = render(specs, protocol.frames_of(pipe), SIZE) if sampling.given else None
    captions = [spec.caption for spec in specs]
    return specs, making.make(pipe, captions, seeds, sampling, real=real, label="clips")
