"""What the commands of the reports share: their options, and where the table, the record and the pictures go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from videofusion.cli.options import check_sampling, refuse_existing
from videofusion.errors import InputError
from videofusion.evaluation.making import Sampling
from videofusion.files import write_whole
from videofusion.models import find
from videofusion.systems.pipeline import VideoPipeline

Model = Annotated[str, tyro.conf.arg(metavar="NAME")]
Data = Literal["moving-digits", "digits-over-photos"] | None
Out = Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="DIR")]


@dataclass(frozen=True, kw_only=True)
class ReportSampling:
    """How a report's clips are made.

    Args:
        steps: sampler steps
        sampler: ddim, ddpm, dpm++, dpm++sde, heun, langevin or angular; as the model is made for by default
        guidance: how closely to follow the prompt; 1 is off; as the model is made for by default
        batch: clips made together
    """

    steps: int = 20
    sampler: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    guidance: float | None = None
    batch: int = 16

    def check(self) -> None:
        """Raise InputError for what no model can do, before one is read."""
        check_sampling(self.sampler, self.steps, self.guidance)

    def of(self, pipe: VideoPipeline) -> Sampling:
        """What was asked for, or else what the model is made for, so that the record says it."""
        own = pipe.config
        guidance = own.guidance if self.guidance is None else self.guidance
        return Sampling(sampler=self.sampler or own.sampler, guidance=guidance, steps=self.steps, batch=self.batch)


OWN = ReportSampling()


def check_out(name: str, out: Path | None, force: bool) -> None:
    """Refuse a folder for results that is none, or has some of that name, before there are results."""
    if out is None:
        return
    if out.exists() and not out.is_dir():
        raise InputError(f"--out is {out}, which is a file; it must be a folder")
    refuse_existing([out / f"{name}.json"], force)


def deliver(
    name: str, model: str, table: str, record: dict[str, Any], pictures: dict[str, Any], out: Path | None
) -> None:
    """Print the table; write it, the record and the pictures."""
    from videofusion.evaluation.record import checksum, write_record

    print(table)
    if out is None:
        return
    from videofusion.clip import save_sheet

    write_record(out / f"{name}.json", {"model": model, "model_sha256": checksum(find(model)), **record})
    write_whole(out / f"{name}.md", (table + "\n").encode())
    for kind, (clips, captions) in pictures.items():
        save_sheet(clips, out / f"{name}-{kind}.png", captions)
    print(f"\nwritten to {out}")


def deliver_text(name: str, table: str, record: dict[str, Any], out: Path | None) -> None:
    """Print the table of a report that is of no model; write it and the record."""
    from videofusion.evaluation.record import write_record

    print(table)
    if out is not None:
        write_record(out / f"{name}.json", record)
        write_whole(out / f"{name}.md", (table + "\n").encode())
        print(f"\nwritten to {out}")
