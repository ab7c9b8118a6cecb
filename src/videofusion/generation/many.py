"""`generate_many`: from a file of prompts to a folder of clips, with a record from which it resumes."""

from __future__ import annotations

import json
import sys
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from videofusion.clip import CLIP_ENDINGS
from videofusion.errors import InputError, printable
from videofusion.generation.maker import Form, Maker, failed
from videofusion.generation.results import Results, open_results
from videofusion.generation.rows import Row, read_rows
from videofusion.models import check_precision, digest_of
from videofusion.on_ray import check_ray
from videofusion.training.signals import exit_code, stop_signal

ENGINES = ("here", "ray")
Work = Generator[list[dict[str, Any]], None, None]  # the lines of a batch, batch after batch


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What became of the rows.

    Args:
        made: rows made now.
        before: rows that an earlier call had made.
        failed: reasons by id.
        left: rows that a signal left to be made.
        stopped_by: the name of a signal, or None.
    """

    made: int
    before: int
    failed: Mapping[str, str]
    left: int
    stopped_by: str | None

    @property
    def exit_code(self) -> int:
        """143, 130 or 129 when SIGTERM, SIGINT or SIGHUP stopped it, 1 when a row failed, else 0."""
        return exit_code(self.stopped_by) or int(bool(self.failed))


def generate_many(
    prompts: Path,
    out: Path,
    *,
    model: str | Path = "moving-digits",
    defaults: Mapping[str, Any] | None = None,
    batch: int = 4,
    form: Form | None = None,
    device: str | None = None,
    precision: str = "float32",
    load: Mapping[str, Any] | None = None,
    engine: str = "here",
    workers: int | None = None,
    bar: bool = True,
) -> Summary:
    """Make a clip for every row of a file, and a line for each in `out`/results.jsonl as soon as it is made.

    The same call resumes where it stopped: a row is done when its line says so, its files exist and its settings are
    those of the line. A row that is done with other settings is refused, so that no clip is lost by a slip; delete its
    file to make it again. A row that failed is tried again. A signal ends the work after the current batch.

    Args:
        prompts: JSONL, see `read_rows`.
        out: the folder; made if missing.
        model: as `load` takes it.
        defaults: settings of rows that do not give their own, see `rows.DEFAULTS`.
        batch: most rows made together, of those with equal settings; it changes no clip (beyond what the pipeline
            says of batches), only speed and memory.
        form: of the files; 8 frames a second as .mp4 by default.
        device: as `load` takes it; with the engine "ray" each actor has one of its own.
        precision: as `load` takes it.
        load: what else it takes: system, controlnet, lora and lora_scale.
        engine: who makes them: one of `ENGINES`, this process ("here") or actors on Ray ("ray") with a model each.
        workers: of the engine "ray": actors, one when None.
        bar: show a progress bar.

    Returns:
        what became of the rows; those that failed are named on stderr, and in the record.

    Raises:
        InputError: no such model or engine, no Ray where that is asked for, a file that cannot be read, a row that is
            done with other settings, a folder that cannot be used or that another process uses.
        RunError: the disk is full; what is made is kept.
    """
    form = form or Form()
    check_precision(precision)
    if batch < 1:
        raise InputError(f"batch is {batch}; it must be at least 1")
    check_engine(engine, workers)
    if form.ending not in CLIP_ENDINGS:
        raise InputError(f'form has the ending "{form.ending}"; it must end in one of {", ".join(CLIP_ENDINGS)}')
    rows = read_rows(prompts, defaults)
    options = {"device": device, "precision": precision, **(load or {})}
    weights = digest_of(model, options)
    with open_results(out) as results:
        todo = []
        for row in rows:
            settings = {**row.settings, **form.settings, "weights": weights}
            if row.reason is None and not results.is_done(row.name, form.files(row), settings):
                todo.append(row)
        wrong = [row for row in rows if row.reason is not None]
        before = len(rows) - len(todo) - len(wrong)
        for row in wrong:
            results.add(failed(row, str(row.reason)))
            tqdm.write(printable(f"{row.label}: {row.reason}"), file=sys.stderr)
        reasons = {row.name: str(row.reason) for row in wrong}
        made, stopped_by = 0, None
        if todo:
            maker = (str(model), weights, out, form, options)
            work = _work(engine, workers, maker, list(_batches(todo, batch)))
            made, stopped_by = _record(work, todo, results, reasons, bar)
    left = len(rows) - before - made - len(reasons)
    return Summary(made=made, before=before, failed=reasons, left=left, stopped_by=stopped_by)


def _record(
    work: Work, todo: Sequence[Row], results: Results, reasons: dict[str, str], bar: bool
) -> tuple[int, str | None]:
    """Write down what comes out of the work, until it ends or a signal comes; adds to `reasons`."""
    labels = {row.name: row.label for row in todo}
    made = 0
    with stop_signal() as signal, tqdm(total=len(todo), unit="clip", disable=not bar) as shown, closing(work):
        for lines in work:
            for line in lines:
                results.add(line)
                shown.update(1)
                if line["state"] == "done":
                    made += 1
                else:
                    reasons[line["id"]] = line["reason"]
                    tqdm.write(printable(f"{labels[line['id']]}: {line['reason']}"), file=sys.stderr)
            if signal.name is not None:
                break
        return made, signal.name


def _batches(rows: Sequence[Row], size: int) -> Iterator[list[Row]]:
    """Rows of equal calls together, at most `size`; groups in the order of their first row."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(json.dumps([row.call, row.image]), []).append(row)
    for group in groups.values():
        for start in range(0, len(group), size):
            yield group[start : start + size]


def _work(
    engine: str,
    workers: int | None,
    maker: tuple[str, str, Path, Form, Mapping[str, Any]],
    batches: Sequence[list[Row]],
) -> Work:
    """The lines of the batches, made by an engine's `Maker`s of these arguments."""
    if engine == "ray":
        from videofusion.generation.ray_prompts import run_ray

        yield from run_ray(*maker, batches, workers or 1)
        return
    here = Maker(*maker)
    for rows in batches:
        yield here.make(rows)


def check_engine(engine: str, workers: int | None) -> None:
    """Refuse an engine that there is not.

    Raises:
        InputError: so; workers without the engine "ray", or none with it; Ray is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f'engine is "{engine}"; it must be one of {", ".join(ENGINES)}')
    if engine == "ray":
        check_ray(1 if workers is None else workers)
    elif workers is not None:
        raise InputError(f'workers is {workers}, but is for the engine "ray" only')
