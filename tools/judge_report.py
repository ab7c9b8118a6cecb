"""How far the judge itself can be trusted, on real clips only: `python -m tools.judge_report`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

import torch
from torch import Generator
from tqdm import tqdm

from tools.distortions import DISTORTIONS
from tools.report_files import Data, Out, check_out, deliver_text
from videofusion.cli import run_command
from videofusion.cli.options import Force
from videofusion.digits import protocol
from videofusion.digits.domain import GROUNDS_OF
from videofusion.digits.fidelity import REFERENCE_SEED, FidelityMeasure, reference_specs
from videofusion.digits.judge import WEIGHTS, Judge
from videofusion.digits.moving_digits import MovingDigits, evaluation_prompts, render
from videofusion.digits.protocol import QUESTIONS
from videofusion.digits.tracker import SIZE
from videofusion.evaluation.record import checksum, markdown_table

STRENGTHS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
TWO_DIGITS = 0.2  # part of the clips that are spoiled
_SEED = 500


def judge_report(count: int, clips: int, frames: int = 16, grounds: str = "plain") -> tuple[str, dict[str, Any]]:
    """Right answers on rendered clips of the test split, and the validation measure on spoiled ones.

    Args:
        count: clips of one digit, and as many of two; half of them of held-out combinations.
        clips: that are spoiled and measured, against as many others.
        frames: of each clip.
        grounds: what is behind the digits, "plain" or "photos".

    Returns:
        two tables, and the record.
    """
    judge = Judge.load(grounds=grounds)
    rates = {}
    for two in (False, True):
        name = "two digits" if two else "one digit"
        specs = [s for held in (False, True) for s in evaluation_prompts(count // 2, held, _SEED, two, frames, grounds)]
        found = protocol.look_at_real(judge, specs, frames, 1 + two, label=name)
        rates[name] = protocol.rates(protocol.answers(found, specs))
    real, whole = (
        render(reference_specs(clips, frames, TWO_DIGITS, seed=seed, grounds=grounds), frames, SIZE)
        for seed in (REFERENCE_SEED, _SEED)
    )
    measure = FidelityMeasure(judge, real)
    learnt = MovingDigits(frames, SIZE, "train", TWO_DIGITS, grounds=grounds).batch(range(clips), seed=_SEED).clip
    of_train = asdict(measure(learnt, replicates=20))
    distances: dict[str, list[dict[str, Any]]] = {}
    for name, spoil in tqdm(DISTORTIONS.items(), desc="distortions", leave=False):
        distances[name] = []
        for strength in STRENGTHS:
            # In groups, since some distortions do the same to all clips that they are given.
            parts = [spoil(part, strength, Generator().manual_seed(i)) for i, part in enumerate(whole.split(16))]
            distances[name].append(asdict(measure(torch.cat(parts), replicates=20)))
    record = {
        "count": count,
        "clips": clips,
        "strengths": list(STRENGTHS),
        "judge_sha256": checksum(WEIGHTS),
        "rates": {name: {q: rate.record() for q, rate in row.items()} for name, row in rates.items()},
        "distances": distances,
        "distance_of_train_split": of_train,
        "grounds": grounds,
    }
    answers = [[name, row["digit"].count, *(str(row[q]) for q in QUESTIONS)] for name, row in rates.items()]
    spoiled = [
        [name, measured, *(f"{row[measured]['value']:.3g}" for row in rows)]
        for name, rows in distances.items()
        for measured in ("quality", "consistency")
    ]
    trained = " and ".join(f"{name} {spread['value']:.3g}" for name, spread in of_train.items())
    table = "\n\n".join(
        [
            markdown_table(["real test clips", "digits", *QUESTIONS], answers),
            markdown_table(["distortion", "measure", *(f"strength {s:g}" for s in STRENGTHS)], spoiled),
            f"Real clips of the train split, which a model can learn, have {trained}.",
        ]
    )
    return table, record


def main(*, data: Data = None, count: int = 1000, clips: int = 1000, out: Out = None, force: Force = False) -> None:
    """Test the judge of moving digits on real clips: right answers, and the validation measure on spoiled clips.

    Args:
        data: moving-digits (by default) or digits-over-photos
        count: clips with one digit, and as many with two
        clips: spoiled in several ways and measured
        out: a folder for the tables and the record (json)
        force: replace what such a report has written there before
    """
    check_out("judge-report", out, force)

    table, record = judge_report(count, clips, grounds=GROUNDS_OF[data or "moving-digits"])
    deliver_text("judge-report", table, record, out)


if __name__ == "__main__":
    sys.exit(run_command(main, "python -m tools.judge_report"))
