"""Rows on Ray Data: actors with a model each make them into files; the record is written by the process that asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from videofusion.generation.maker import Form, Maker, failed
from videofusion.generation.rows import Row
from videofusion.on_ray import on_actors

TRIES = 3  # of a batch whose actor dies each time
DIED = f"the process that made it died, {TRIES} times"


def run_ray(
    model: str,
    weights: str,
    folder: Path,
    form: Form,
    options: Mapping[str, Any],
    batches: Sequence[Sequence[Row]],
    workers: int,
) -> Iterator[list[dict[str, Any]]]:
    """Lines of the record, batch after batch, as they are made.

    Rows and lines travel as text; the clips' files are written where they are made, so that `folder` has to be at the
    same path on all machines.

    Args:
        model: as of `Maker`, as are the next four.
        weights: the model's digest.
        folder: where the files go.
        form: of the files.
        options: of `load`, the device of each actor among them.
        batches: of rows that are made together.
        workers: actors.
    """
    items = [{"number": n, "rows": json.dumps([asdict(row) for row in rows])} for n, rows in enumerate(batches)]
    left = dict(enumerate(batches))
    arguments = (model, weights, str(folder.resolve()), form, dict(options))
    for row in on_actors(_Worker, arguments, items, workers=workers, device=options.get("device"), tries=TRIES):
        del left[int(row["number"])]
        yield json.loads(row["lines"])
    for rows in left.values():
        yield [failed(row, DIED) for row in rows]


class _Worker:
    """An actor: a model that is loaded once."""

    def __init__(self, model: str, weights: str, folder: str, form: Form, options: Mapping[str, Any]) -> None:
        self._maker = Maker(model, weights, Path(folder), form, options)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        rows = [Row(**row) for row in json.loads(item["rows"])]
        return {"number": item["number"], "lines": json.dumps(self._maker.make(rows))}
