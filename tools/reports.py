"""The commands of the reports: `python -m tools.digits_report`, `digits_motion`, `judge_report`, `embedded_report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from videofusion.cli.options import Force, check_sampling, refuse_existing
from videofusion.errors import InputError
from videofusion.models import find

if TYPE_CHECKING:
    from videofusion.systems.pipeline import VideoPipeline

Model = Annotated[str, tyro.conf.arg(metavar="NAME")]
Data = Literal["moving-digits", "digits-over-photos"] | None
Out = Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="DIR")]


def digits_report(
    *,
    model: Model = "moving-digits",
    data: Data = None,
    count: int = 400,
    two_digits: int = 100,
    steps: int = 20,
    sampler: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    guidance: float | None = None,
    batch: int = 16,
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
        steps: sampler steps
        sampler: ddim, ddpm, dpm++, dpm++sde, heun, langevin or angular; as the model is made for by default
        guidance: how closely to follow the prompt; 1 is off; as the model is made for by default
        batch: clips made together
        seed: chooses prompts and samples
        out: a folder for the table, the record (json) and a picture
        force: replace what such a report has written there before
    """
    _check_out("digits-report", out, force)
    find(model)
    check_sampling(sampler, steps, guidance)

    from videofusion.digits.domain import grounds_of
    from videofusion.digits.prompt_report import Protocol, digits_report
    from videofusion.evaluation.making import Sampling

    plan = Protocol(count=count, two_digits=two_digits, seed=seed, grounds=grounds_of(model, data))
    pipe = _pipe(model)
    sampling = Sampling(**_own(pipe, sampler, guidance), steps=steps, batch=batch)
    report = digits_report(pipe, plan, sampling)
    pictures = {"sheet": (report.clips[:24], report.captions[:24])}
    _deliver("digits-report", model, report.table, report.record, pictures, out)


def digits_motion(
    *,
    model: Model = "moving-digits",
    data: Data = None,
    pairs: int = 200,
    prompts: int = 100,
    steps: int = 20,
    sampler: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None,
    guidance: float | None = None,
    batch: int = 16,
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
        steps: sampler steps
        sampler: ddim, ddpm, dpm++, dpm++sde, heun, langevin or angular; as the model is made for by default
        guidance: how closely to follow the prompt; 1 is off; as the model is made for by default
        batch: clips made together
        seed: chooses prompts and samples
        out: a folder for the table, the record (json) and pictures
        force: replace what such a report has written there before
    """
    _check_out("digits-motion", out, force)
    find(model)
    check_sampling(sampler, steps, guidance)

    from videofusion.digits.domain import grounds_of
    from videofusion.digits.motion_report import Protocol, digits_motion
    from videofusion.evaluation.making import Sampling

    plan = Protocol(pairs=pairs, prompts=prompts, seed=seed, grounds=grounds_of(model, data))
    pipe = _pipe(model)
    sampling = Sampling(**_own(pipe, sampler, guidance), steps=steps, batch=batch)
    report = digits_motion(pipe, plan, sampling)
    pictures = {"pairs": (report.pairs, report.pair_captions)}
    if report.knob is not None:
        pictures["knob"] = (report.knob, report.knob_captions)
    _deliver("digits-motion", model, report.table, report.record, pictures, out)


def _pipe(model: str) -> VideoPipeline:
    from videofusion.models import load

    return load(model)


def _own(pipe: VideoPipeline, sampler: str | None, guidance: float | None) -> dict[str, Any]:
    """What was asked for, or else what the model is made for, so that the record says it."""
    own = pipe.config
    return {"sampler": sampler or own.sampler, "guidance": own.guidance if guidance is None else guidance}


def _check_out(name: str, out: Path | None, force: bool) -> None:
    """Refuse a folder for results that is none, or has some of that name, before there are results."""
    if out is None:
        return
    if out.exists() and not out.is_dir():
        raise InputError(f"--out is {out}, which is a file; it must be a folder")
    refuse_existing([out / f"{name}.json"], force)


def _deliver(
    name: str, model: str, table: str, record: dict[str, Any], pictures: dict[str, Any], out: Path | None
) -> None:
    """Print the table; write it, the record and the pictures."""
    from videofusion.evaluation.record import checksum, write_record

    print(table)
    if out is None:
        return
    from videofusion.clip import save_sheet, write_whole

    write_record(out / f"{name}.json", {"model": model, "model_sha256": checksum(find(model)), **record})
    write_whole(out / f"{name}.md", (table + "\n").encode())
    for kind, (clips, captions) in pictures.items():
        save_sheet(clips, out / f"{name}-{kind}.png", captions)
    print(f"\nwritten to {out}")


def judge_report(
    *, data: Data = None, count: int = 1000, clips: int = 1000, out: Out = None, force: Force = False
) -> None:
    """Test the judge of moving digits on real clips: right answers, and the validation measure on spoiled clips.

    Args:
        data: moving-digits (by default) or digits-over-photos
        count: clips with one digit, and as many with two
        clips: spoiled in several ways and measured
        out: a folder for the tables and the record (json)
        force: replace what such a report has written there before
    """
    _check_out("judge-report", out, force)

    from tools.judge_report import judge_report
    from videofusion.clip import write_whole
    from videofusion.digits.domain import GROUNDS_OF
    from videofusion.evaluation.record import write_record

    table, record = judge_report(count, clips, grounds=GROUNDS_OF[data or "moving-digits"])
    print(table)
    if out is not None:
        write_record(out / "judge-report.json", record)
        write_whole(out / "judge-report.md", (table + "\n").encode())
        print(f"\nwritten to {out}")


def embedded_report(
    *,
    data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH")] = (),
    distortions: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = (),
    clips: int = 512,
    out: Out = None,
    force: Force = False,
) -> None:
    """Test the feature network that ships, on moving digits or on videos: does a distance grow with the damage?

    Args:
        data: videos, and folders of videos, that it was not trained on; moving digits by default
        distortions: blur, noise, jitter, shuffle, freeze, cut, stutter, warp, "still warp", blocks, colour, or one of
            them followed by ", other colours"
        clips: spoiled in several ways and measured
        out: a folder for the tables and the record (json)
        force: replace what such a report has written there before
    """
    _check_out("embedded-report", out, force)

    from tools.embedded_report import embedded_report
    from videofusion.clip import write_whole
    from videofusion.evaluation.metrics.frechet import check_enough
    from videofusion.evaluation.record import write_record

    check_enough(clips, allow_few=False)
    table, record = embedded_report(data, clips, distortions)
    print(table)
    if out is not None:
        write_record(out / "embedded-report.json", record)
        write_whole(out / "embedded-report.md", (table + "\n").encode())
        print(f"\nwritten to {out}")
