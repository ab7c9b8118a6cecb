"""Saves and loads accumulators, so that a stopped evaluation can resume."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videofusion.errors import InputError
from videofusion.evaluation.metrics.inception_score import InceptionScore
from videofusion.evaluation.metrics.moments import FeatureSample, RunningMoments
from videofusion.files import write_whole

Accumulator = RunningMoments | FeatureSample | InceptionScore

_KINDS = {kind.__name__: kind for kind in (RunningMoments, FeatureSample, InceptionScore)}


def state_file(result: Path, depends_on: Sequence[Any]) -> Path:
    """Where the state of an evaluation lies until its result is there: beside it.

    The name covers everything that the evaluation depends on, so no other one resumes from it.

    Args:
        result: the file of the result.
        depends_on: all that changes what is accumulated, as `repr` shows it.
    """
    told = hashlib.sha256(repr(list(depends_on)).encode()).hexdigest()[:16]
    return result.with_name(f"{result.name}.{told}.state")


def save_state(path: str | Path, accumulators: Mapping[str, Accumulator], *, done: int) -> None:
    """Write all accumulators of an evaluation; the file is whole or absent, so they never disagree.

    Args:
        path: a safetensors file.
        accumulators: under names without "/".
        done: clips that have gone through, where the evaluation is to go on.

    Raises:
        InputError: a name with "/".
        RunError: it cannot be written.
    """
    from safetensors.numpy import save

    wrong = [name for name in accumulators if "/" in name]
    if wrong:
        raise InputError(f'the name "{wrong[0]}" of an accumulator has a "/" in it, which is not allowed')
    arrays = {f"{name}/{part}": array for name, each in accumulators.items() for part, array in each.state().items()}
    kinds = {f"kind/{name}": type(each).__name__ for name, each in accumulators.items()}
    write_whole(path, save(arrays, {**kinds, "done": str(done)}))


def load_state(path: str | Path) -> tuple[dict[str, Accumulator], int]:
    """Read what `save_state` wrote: the accumulators, and the number of clips that have gone through.

    Raises:
        InputError: there is no such file, or it is another's.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            meta = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it has no iteration)
    except (OSError, SafetensorError) as error:
        raise InputError(f'"{path}" is not the state of an evaluation: {error}') from error
    kinds = {entry.removeprefix("kind/"): kind for entry, kind in meta.items() if entry.startswith("kind/")}
    if "done" not in meta or not _KINDS.keys() >= set(kinds.values()):
        raise InputError(f'"{path}" is not the state of an evaluation, or that of another version: it says {meta}')
    found: dict[str, Accumulator] = {}
    for name, kind in kinds.items():
        parts = {key.removeprefix(f"{name}/"): a for key, a in arrays.items() if key.startswith(f"{name}/")}
        found[name] = _KINDS[kind].from_state(parts)
    return found, int(meta["done"])
