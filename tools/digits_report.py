"""Judges a model on moving digits: `python -m tools.digits_report`."""

from __future__ import annotations

import sys
from typing import Annotated

import tyro

from tools.report_files import OWN, Data, Model, Out, ReportSampling, check_out, deliver
from videofusion.cli import run_command
from videofusion.cli.options import Force
from videofusion.digits import prompt_report
from videofusion.digits.domain import grounds_of
from videofusion.models import find, load


def digits_report(
    *,
    model: Model = "moving-digits",
    data: Data = None,
    count: int = 400,
    two_digits: int = 100,
    sampling: Annotated[ReportSampling, tyro.conf.OmitArgPrefixes] = OWN,
    seed: int = 0,
    out: Out = None,
    force: Force = False,
) -> None:
    """Judge a model on moving digits: what was asked for, variety, distance to training clips; prints a table.

    Args:
        model: a name that `videofusion models` lists, or the folder of a model
        data: what it is judged on, moving-digits or digits-over-photos; as it was trained by default
        count: prompts with one digit, half of them of combinations that training never shows
        two_digits: prompts with two digits, likewise
        sampling: how clips are made
        seed: chooses prompts and samples
        out: a folder for the table, the record (json) and a picture
        force: replace what such a report has written there before
    """
    check_out("digits-report", out, force)
    find(model)
    sampling.check()

    plan = prompt_report.Protocol(count=count, two_digits=two_digits, seed=seed, grounds=grounds_of(model, data))
    pipe = load(model)
    report = prompt_report.digits_report(pipe, plan, sampling.of(pipe))
    pictures = {"sheet": (report.clips[:24], report.captions[:24])}
    deliver("digits-report", model, report.table, report.record, pictures, out)


if __name__ == "__main__":
    sys.exit(run_command(digits_report, "python -m tools.digits_report"))
