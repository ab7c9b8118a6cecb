"""The rows of a stage: one Parquet file, written whole, and beside it a journal while the stage is at work."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from videofusion.curation.pool import DIED
from videofusion.curation.stage import BAD, KEY, Job, Row, Stage, key_of, told
from videofusion.errors import InputError, RunError, require

_TOLD = "told"  # column: what a row depends on beside its span
_MARK = b"videofusion.fingerprint"


class Store:
    """Rows of one stage in a folder, those of earlier calls included; a context, in which rows can be added.

    Rows under another fingerprint do not count. A row is in the journal when `add` returns, so that a killed run
    loses only what was in work.

    Args:
        folder: is there.
        stage: whose rows.

    Raises:
        InputError: there is a file of that name that is no table of rows.
    """

    def __init__(self, folder: Path, stage: Stage) -> None:
        self.path = folder / f"{stage.name}.parquet"
        self._journal = folder / f"{stage.name}.partial.jsonl"
        self._types = {**KEY, _TOLD: "string", **stage.columns, BAD: "string"}
        self._fingerprint = stage.fingerprint
        self._stands = stage.stands
        self._rows: dict[tuple[Any, ...], Row] = {}
        for row in [*self._whole(), *self._partial()]:
            if row[BAD] != DIED:  # which the next call tries again
                self._rows[_key(row)] = row

    def __enter__(self) -> Store:
        try:
            self._file = self._journal.open("r+b" if self._length else "wb")
            self._file.truncate(self._length)
            self._file.seek(self._length)
            if not self._length:
                self._write({"fingerprint": self._fingerprint})
        except OSError as error:
            raise RunError(f'"{self._journal}" could not be written: {error.strerror or error}') from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def row(self, job: Job) -> Row | None:
        """What is known of a job, None if it is still to be done."""
        row = self._rows.get(_key({**key_of(job), _TOLD: told(job.known)}))
        return row if row is not None and self._stands(row) else None

    def add(self, jobs: Iterable[Job], rows: Iterable[Row]) -> None:
        """Write down rows, one a job.

        Raises:
            RunError: the disk is full.
        """
        try:
            for job, row in zip(jobs, rows, strict=True):
                whole = {**row, _TOLD: told(job.known)}
                self._rows[_key(whole)] = whole
                self._write(whole)
        except OSError as error:
            raise RunError(f'"{self._journal}" could not be written: {error.strerror or error}') from error

    def finish(self, jobs: Iterable[Job]) -> list[Row]:
        """Write the Parquet file with the rows of these jobs, in their order, and drop the journal.

        Raises:
            RunError: the disk is full.
        """
        rows = [self._rows[_key({**key_of(job), _TOLD: told(job.known)})] for job in jobs]
        write_table(self.path, self._types, rows, {_MARK: self._fingerprint.encode()})
        self._file.close()
        self._journal.unlink(missing_ok=True)
        return rows

    def _write(self, row: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()

    def _whole(self) -> list[Row]:
        if not self.path.is_file():
            return []
        parquet = require("pyarrow.parquet", "curation")
        try:
            table = parquet.read_table(self.path)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path} is not a table of rows; use another folder, or delete it") from error
        marked = (table.schema.metadata or {}).get(_MARK) == self._fingerprint.encode()
        return table.select(list(self._types)).to_pylist() if marked else []

    def _partial(self) -> list[Row]:
        """The journal's rows; notes how many of its bytes count: not a last line that a kill cut."""
        self._length = 0
        if not self._journal.is_file():
            return []
        data = self._journal.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        try:
            rows = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise InputError(f"{self._journal} is not a journal of rows; use another folder, or delete it") from error
        if not rows or rows[0] != {"fingerprint": self._fingerprint}:
            return []
        self._length = len(whole)
        return rows[1:]


def write_table(path: Path, types: Mapping[str, str], rows: list[Row], marks: Mapping[bytes, bytes]) -> None:
    """Write rows as a Parquet file that is there whole or not at all.

    Args:
        path: of the file.
        types: Arrow type by column, "list<double>" for lists.
        rows: with all of these columns.
        marks: for the file's metadata.

    Raises:
        RunError: the disk is full.
    """
    from videofusion.files import write_whole

    arrow = require("pyarrow", "curation")
    parquet = require("pyarrow.parquet", "curation")
    schema = arrow.schema([(name, _type(arrow, kind)) for name, kind in types.items()], metadata=dict(marks))
    file = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), file)
    write_whole(path, file.getvalue())


def _type(arrow: Any, name: str) -> Any:
    if name.startswith("list<"):
        return arrow.list_(_type(arrow, name[5:-1]))
    return getattr(arrow, {"double": "float64", "float": "float32"}.get(name, name))()


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column] for column in (*KEY, _TOLD))
