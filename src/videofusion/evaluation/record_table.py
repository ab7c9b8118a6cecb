"""Tables of evaluation records; records that do not compare are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from videofusion.errors import InputError
from videofusion.evaluation.clip_sets import ClipSet
from videofusion.evaluation.extractors import EXTRACTORS, Extractor
from videofusion.evaluation.metric_kinds import Measured
from videofusion.evaluation.metric_table import ADDED
from videofusion.evaluation.metrics.frechet import LEAST
from videofusion.evaluation.metrics.means import LIKE_REAL, MEANS
from videofusion.evaluation.protocols import NOT_COMPARABLE, Preset
from videofusion.evaluation.record import markdown_table
from videofusion.files import check_regular, parse_json

_KIND = "videofusion evaluation"
_UNRELIABLE = f"unreliable: under {LEAST} clips, for no comparison"
_HIGHER = ("is", "precision", "recall", "density", "coverage")  # what these begin with is better when higher


def make_record(
    preset: Preset,
    measured: Mapping[str, Measured],
    made: ClipSet,
    real: ClipSet,
    extractors: Mapping[str, Extractor],
    *,
    seed: int,
    replicates: int,
) -> dict[str, Any]:
    """All that a result depends on and the result; `record.write_record` adds the code's versions.

    Args:
        preset: the protocol, at the number of clips that there were.
        measured: what `evaluate` gave.
        made: generated clips.
        real: real clips.
        extractors: the networks that were used, by name.
        seed: of all draws.
        replicates: draws of the bootstrap.
    """
    few = min(len(made), len(real)) < LEAST
    local = NOT_COMPARABLE if any(name in EXTRACTORS and not EXTRACTORS[name].weights for name in extractors) else ""
    notes = [note for note in dict.fromkeys((preset.note, local, _UNRELIABLE if few else "")) if note]
    own = {metric.name for metric in preset.metrics}
    record = {
        "kind": _KIND,
        "protocol": asdict(preset),
        "notes": notes,
        "extractors": {name: {"sha256": each.checksum} for name, each in extractors.items()},
        "generated": made.describe(),
        "real": real.describe(),
        "clips": {"generated": len(made), "real": len(real)},
        "seed": seed,
        "replicates": replicates,
        "metrics": {name: asdict(each) for name, each in measured.items()},
        "added": {name: asdict(ADDED[name]) for name in measured if name in ADDED and name not in own},
    }
    return json.loads(json.dumps(record))  # as it is when it is read again: lists for tuples


def read_record(path: Path) -> dict[str, Any]:
    """A record that `videofusion evaluate` wrote.

    Raises:
        InputError: no such file, or another one.
    """
    try:
        check_regular(path)
        record = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f'record "{path}" cannot be read: {error}') from error
    if not isinstance(record, dict) or record.get("kind") != _KIND:
        raise InputError(f'"{path}" is not a record of an evaluation')
    return record


def result_table(record: Mapping[str, Any]) -> str:
    """A record as a table to read, with its protocol and what has to be said above it."""
    clips = record["clips"]
    first = f"protocol {record['protocol']['name']}: {clips['generated']} generated clips, {clips['real']} real ones"
    rows = [
        [name, _value(each), _interval(each), _limit(each), _of_real(each), _better(name)]
        for name, each in record["metrics"].items()
    ]
    header = ["metric", "value", "95 % at this N", "at infinite N (95 %)", "of real clips", "better"]
    table = markdown_table(header, rows)
    count = record["real"].get("left_out", 0)
    left_out = [f"{count} real videos are left out, as too short or broken"] if count else []
    return "\n".join([first, *record["notes"], *left_out, "", table])


def joined_table(records: Mapping[str, Mapping[str, Any]]) -> str:
    """Records of one protocol, one network and one real data set as one table, a row each.

    Args:
        records: by the name of the row, from `read_record`.

    Raises:
        InputError: no record, or two that differ in what the numbers depend on.
    """
    if not records:
        raise InputError("no record is given; a table needs at least one")
    (first, reference), *others = records.items()
    for name, record in others:
        reason = _unlike(reference, record)
        if reason:
            raise InputError(f'"{name}" and "{first}" cannot share a table: {reason}')
    names = list(dict.fromkeys(metric for record in records.values() for metric in record["metrics"]))
    rows = [[name, *(_cell(record["metrics"].get(metric)) for metric in names)] for name, record in records.items()]
    of_real = [
        next((_of_real(each["metrics"][metric]) for each in records.values() if metric in each["metrics"]), "")
        for metric in names
    ]
    if any(of_real):
        rows.append(["real clips", *of_real])
    notes = dict.fromkeys(note for record in records.values() for note in record["notes"])
    ranges = any(each["interval"] for record in records.values() for each in record["metrics"].values())
    what = ["in brackets: 95 %, of other clips of the same number"] if ranges else []
    above = [f"protocol {reference['protocol']['name']}", *notes, *what, ""]
    return "\n".join([*above, markdown_table(["", *(f"{metric} ({_better(metric)})" for metric in names)], rows)])


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What keeps two records from being compared; empty if nothing does."""
    mine, theirs = one["protocol"], other["protocol"]
    if mine["name"] != theirs["name"]:
        return f"they are of the protocols {theirs['name']} and {mine['name']}"
    for field in sorted({*mine, *theirs}):
        if mine.get(field) != theirs.get(field):
            return f"{field} of {mine['name']} is {theirs.get(field)} in one and {mine.get(field)} in the other"
    if one["clips"] != other["clips"]:
        return f"one has {other['clips']['real']} real clips and the other {one['clips']['real']}"
    for name in one["extractors"].keys() & other["extractors"].keys():
        if one["extractors"][name] != other["extractors"][name]:
            return f"the weights of {name} have other checksums"
    if one["real"]["items_sha256"] != other["real"]["items_sha256"]:
        return "the real clips are others"
    return ""


def _better(name: str) -> str:
    kind = ADDED[name].kind if name in ADDED else ""
    if kind in MEANS:
        return MEANS[kind].better
    if kind == "diversity":
        return LIKE_REAL
    return "higher" if name.split("-")[0] in _HIGHER else "lower"


def _value(measured: Mapping[str, Any]) -> str:
    deviation = measured["deviation"]
    return f"{measured['value']:.4g}" + ("" if deviation is None else f" ± {deviation:.2g}")


def _limit(measured: Mapping[str, Any]) -> str:
    """The value at infinite N, with its interval and how far the points lie from the line that it comes from."""
    if measured["at_infinity"] is None:
        return ""
    said = [f"misfit {measured['misfit']:.2g}"]
    bounds = measured.get("at_infinity_interval")  # records of older versions do not have it
    if bounds is not None:
        said.insert(0, f"{bounds[0]:.4g} to {bounds[1]:.4g}")
    if measured["at_infinity"] <= 0 or (bounds is not None and bounds[0] <= 0):
        said.append("not told from 0")
    return f"{measured['at_infinity']:.4g} ({'; '.join(said)})"


def _of_real(measured: Mapping[str, Any]) -> str:
    value = measured.get("of_real")  # records of older versions do not have it
    return "" if value is None else f"{value:.4g}"


def _interval(measured: Mapping[str, Any]) -> str:
    bounds = measured["interval"]
    return "" if bounds is None else f"{bounds[0]:.4g} to {bounds[1]:.4g}"


def _cell(measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return ""
    interval = _interval(measured)
    return f"{_value(measured)} ({interval})" if interval else _value(measured)
