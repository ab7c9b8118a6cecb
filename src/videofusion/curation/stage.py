"""What a stage is: a name, settings with a fingerprint, and a function from a span to a row."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from videofusion.curation.spans import Span
from videofusion.errors import InputError, require

Row = dict[str, Any]  # plain values: numbers, texts, lists of them, None

# What every row begins with. Two rows are of the same thing when these are equal.
KEY = {"source": "string", "stamp": "string", "first": "int64", "count": "int64"}
# Why nothing could be told of a span; null in a good row.
BAD = "bad"


@dataclass(frozen=True)
class Job:
    """A span for a stage to look at, and what earlier stages found that it asks for (`Stage.reads`)."""

    span: Span
    known: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """One measurement of a span; its fields are its settings, and it can be pickled to other processes.

    A new stage is a subclass: what is `ClassVar` here, and `look`.
    """

    # Of the stage and its file of rows.
    name: ClassVar[str]
    # Raised when the same settings come to mean other rows.
    version: ClassVar[int] = 1
    # Column and its Parquet type, beside `KEY` and "bad".
    columns: ClassVar[dict[str, str]]
    # Columns of earlier stages on which its rows depend; "said" is the caption, whoever gave it.
    reads: ClassVar[tuple[str, ...]] = ()
    # Modules it imports, each with the extra that brings it.
    modules: ClassVar[dict[str, str]] = {}
    # Whether it holds a model that there should be one of: then the pool has no part in it.
    alone: ClassVar[bool] = False
    # Settings that say where things are but change no row.
    unmarked: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def look(self, job: Job) -> Row:
        """The values of `columns` for a span.

        Raises:
            Unreadable: the span's frames do not come out of the file.
        """

    def check(self) -> None:
        """Refuse before any work what could never work: an extra that is missing, a setting that is not allowed.

        Raises:
            InputError: which.
        """
        for module, extra in self.modules.items():
            require(module, extra)

    def stands(self, row: Row) -> bool:
        """Whether a row of an earlier call still holds: what it names is still there."""
        return True

    @property
    def fingerprint(self) -> str:
        """Equal where the same span gives the same row."""
        settings = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in self.unmarked}
        said = json.dumps([self.name, self.version, settings, sorted(self.columns)], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]


def key_of(job: Job) -> Row:
    """The columns that say what a row is of."""
    return {"source": job.span.source, "stamp": job.span.stamp, "first": job.span.first, "count": job.span.count}


def told(known: Mapping[str, Any]) -> str:
    """A short name of what a row depends on beside its span, "" where there is nothing."""
    said = json.dumps(known, sort_keys=True) if known else ""
    return hashlib.sha256(said.encode()).hexdigest()[:16] if said else ""


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuse a setting outside of [low, high].

    Raises:
        InputError: it is.
    """
    if not low <= value <= high:
        raise InputError(f"{name} is {value:g}; it must be from {low:g} to {high:g}")


def chunks_of(jobs: Sequence[Job], size: int) -> list[list[Job]]:
    """Jobs in groups for one process each: neighbours of one file, so that it is opened once."""
    groups: list[list[Job]] = []
    for job in jobs:
        if groups and len(groups[-1]) < size and groups[-1][-1].span.path == job.span.path:
            groups[-1].append(job)
        else:
            groups.append([job])
    return groups
