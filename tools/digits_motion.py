"""Measures content and motion of a model of moving digits apart: `python -m tools.digits_motion`."""

from __future__ import annotations

import sys
from typing import Annotated

import tyro

from tools.report_files import OWN, Data, Model, Out, ReportSampling, check_out, deliver
from videofusion.cli import run_command
from videofusion.cli.options import Force
from videofusion.digits import motion_report
from videofusion.digits.domain import grounds_of
from videofusion.models import find, load


def digits_motion(
    *,
    model: Model = "moving-digits",
    data: Data = None,
    pairs: int = 200,
    prompts: int = 100,
    sampling: Annotated[ReportSampling, tyro.conf.OmitArgPrefixes] = OWN,
    seed: int = 0,
    out: Out = None,
    force: Force = False,
) -> None:
    """Measure how content and motion come apart in a model of moving digits; prints a table.

    Args:
        model: a name that `videofusion models` lists, or the folder of a model
        data: what it is judged on, moving-digits or digits-over-photos; as it was trained by default
        pairs: pairs of clips with the same content seed and two motion seeds
        prompts: prompts of held-out combinations for which the motion knob is turned; 0 for a model without one
        sampling: how clips are made
        seed: chooses prompts and samples
        out: a folder for the table, the record (json) and pictures
        force: replace what such a report has written there before
    """
    check_out("digits-motion", out, force)
    find(model)
    sampling.check()

    plan = motion_report.Protocol(pairs=pairs, prompts=prompts, seed=seed, grounds=grounds_of(model, data))
    pipe = load(model)
    report = motion_report.digits_motion(pipe, plan, sampling.of(pipe))
    pictures = {"pairs": (report.pairs, report.pair_captions)}
    if report.knob is not None:
        pictures["knob"] = (report.knob, report.knob_captions)
    deliver("digits-motion", model, report.table, report.record, pictures, out)


if __name__ == "__main__":
    sys.exit(run_command(digits_motion, "python -m tools.digits_motion"))
