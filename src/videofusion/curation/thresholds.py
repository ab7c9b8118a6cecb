"""Thresholds for keeping a clip: bounds on the stages' columns, by value or by percentile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from videofusion.errors import InputError


@dataclass(frozen=True)
class Bound:
    """A bound on a column, the bound itself allowed.

    Args:
        column: of a stage's rows, or `seconds`.
        least: whether it is the lowest value that is kept, or the highest.
        value: in the column's unit; a percentile of all clips' values if `percent`.
        percent: whether `value` is one, 0 to 100.
    """

    column: str
    least: bool
    value: float
    percent: bool = False

    def __str__(self) -> str:
        return f"{'min' if self.least else 'max'} {self.column}={'p' if self.percent else ''}{self.value:g}"

    def limit(self, values: Sequence[float]) -> float:
        """The value that it is, given those of all clips."""
        if not self.percent:
            return self.value
        return float(np.percentile(values, self.value)) if values else 0.0

    def reason(self, value: Any, limit: float) -> str | None:
        """Why a clip with this value is not kept, None if it is."""
        if value is None:
            return f"no {self.column}"
        if (value < limit) if self.least else (value > limit):
            percentile = f" (p{self.value:g})" if self.percent else ""
            return f"{self.column} {value:.4g} is {'below' if self.least else 'above'} {limit:.4g}{percentile}"
        return None


def parse(text: str, *, least: bool) -> Bound:
    """Read "motion=0.5" or, for a percentile, "motion=p10".

    Raises:
        InputError: it is neither.
    """
    option = "--min" if least else "--max"
    column, equals, word = text.partition("=")
    percent = word.startswith("p")
    try:
        value = float(word[1:] if percent else word)
    except ValueError:
        value = float("nan")
    if not column or not equals or not np.isfinite(value):
        raise InputError(f'{option} is "{text}"; it must be like motion=0.5, or motion=p10 for the 10th percentile')
    if percent and not 0 <= value <= 100:
        raise InputError(f'{option} is "{text}"; percentiles are from p0 to p100')
    return Bound(column, least, value, percent)


def check_columns(bounds: Sequence[Bound], columns: Sequence[str]) -> None:
    """Refuse bounds on columns that no stage of this run makes.

    Raises:
        InputError: there is one.
    """
    for bound in bounds:
        if bound.column not in columns:
            raise InputError(f'"{bound}" names an unknown column; the stages that run have {", ".join(columns)}')


def reasons(clips: Sequence[dict[str, Any]], bounds: Sequence[Bound]) -> list[list[str]]:
    """For each clip all that speaks against it; none if it is kept.

    Args:
        clips: rows with the bounds' columns; percentiles are of all that have a value.
        bounds: what is asked for.
    """
    found: list[list[str]] = [[] for _ in clips]
    for bound in bounds:
        limit = bound.limit([clip[bound.column] for clip in clips if clip[bound.column] is not None])
        for clip, against in zip(clips, found, strict=True):
            reason = bound.reason(clip[bound.column], limit)
            if reason is not None:
                against.append(reason)
    return found
