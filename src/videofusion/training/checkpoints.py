"""Checkpoints that are whole or absent: written aside, synced, then renamed into place.

A checkpoint is a folder `step-00000100` of safetensors and json, never a pickle:

    weights.safetensors     parameters and buffers, "module.parameter"
    ema.safetensors         their moving average
    optimizer.safetensors   "state/parameter", e.g. "exp_avg/base.conv.weight"
    random.safetensors      the states of torch's generators
    state.json              step, seconds, scores, recipe; size and checksum of the files above, and its own checksum

Where the networks are cut (`sharding.py`), the first three are a folder `shards`, to which each process writes a file
of its own (`shards.py`), with names such as "ema/base.conv.weight".
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from videofusion.errors import InputError, RunError
from videofusion.files import aside, parse_json, recover_folder, refuse_pickles, write_folder, writing
from videofusion.training import checkpoint_shards as shards
from videofusion.training.sharding import cut_like
from videofusion.training.world import World

_CUT = ("weights", "ema", "optimizer")  # what may lie in shards
_WHOLE, _SHARDED = 3, 4
_OLDER = {1: _WHOLE, 2: _SHARDED}  # formats whose state.json has no checksum, nor what is frozen
_KEYS = ("step", "seconds", "ema_updates", "validation", "best", "best_step", "recipe")
_UNREADABLE = "unreadable-"  # before the name of a damaged one that the run has gone on without


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Everything that a run needs to resume as though it had never stopped.

    Args:
        step: optimiser steps taken; also the position in the data, which is a function of it.
        seconds: seconds of training spent, over all sessions.
        weights: parameters and buffers by name.
        ema: the moving average by name.
        optimizer: the optimiser's tensors, "state/parameter".
        random: states of torch's generators, uint8.
        recipe: the resolved recipe.
        ema_updates: updates of the moving average so far.
        validation: the last validation loss, None before the first.
        best: the lowest validation loss so far.
        best_step: the step of that loss.
        frozen: a digest of each part that is never trained, and so is in no checkpoint; none where it is not known.
        shards: of one that was read and lies in shards, its folder: weights, average and optimiser are then on the
            device "meta", and `read_into` has their numbers.
    """

    step: int
    seconds: float
    weights: Mapping[str, Tensor]
    ema: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    random: Mapping[str, Tensor]
    recipe: Mapping[str, Any]
    ema_updates: int
    validation: float | None = None
    best: float | None = None
    best_step: int | None = None
    frozen: Mapping[str, str] = field(default_factory=dict)
    shards: Path | None = None

    @property
    def parts(self) -> dict[str, Mapping[str, Tensor]]:
        """What may lie in shards: "weights", "ema" and "optimizer"."""
        return {part: getattr(self, part) for part in _CUT}


def place(folder: Path, step: int) -> Path:
    """The path of the checkpoint of a step in the run's `checkpoints` folder."""
    return folder / f"step-{step:08d}"


def save(folder: Path, checkpoint: Checkpoint, world: World | None = None) -> Path:
    """Write `checkpoint` as `folder/step-00000100` and return that path.

    Args:
        folder: the run's `checkpoints` folder.
        checkpoint: where its tensors are cut, all processes must call; else the first one.
        world: the processes.

    Raises:
        RunError: the disk is full or not writable; no half-written checkpoint is left.
    """
    from safetensors.torch import save_file

    world = world or World()
    target = place(folder, checkpoint.step)
    cut = any(isinstance(tensor, DTensor) for tensor in checkpoint.weights.values())

    def fill(new: Path) -> None:
        files = _write_shards(new, checkpoint, world) if cut else {}
        for name, tensors in {**({} if cut else checkpoint.parts), "random": checkpoint.random}.items():
            path = new / f"{name}.safetensors"
            save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path)
            files |= _facts(new, path)
        plain = {key: getattr(checkpoint, key) for key in (*_KEYS, "frozen")}
        state = {"format": _SHARDED if cut else _WHOLE, **plain, "files": files}
        (new / "state.json").write_text(_sealed(state), encoding="utf-8")

    if world.writes:
        write_folder(target, fill)
    elif cut:
        with writing(target):
            _write_shards(aside(target), checkpoint, world)
    return target


def _write_shards(new: Path, checkpoint: Checkpoint, world: World) -> dict[str, dict[str, int]]:
    """Write this process's shards; the facts of the files of all, each told by the process that wrote it."""
    own = [_facts(new, path) for path in shards.write(new, _flat(checkpoint.parts), world)]
    return {name: facts for files in world.together(own) for name, facts in files.items()}


def _flat(parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}


def _sealed(state: Mapping[str, Any]) -> str:
    """The text of a state.json, which ends with a checksum of all that stands before it."""
    own = zlib.crc32(json.dumps(state, indent=1).encode())
    return json.dumps({**state, "crc32": own}, indent=1) + "\n"


def _facts(folder: Path, path: Path) -> dict[str, dict[str, int]]:
    return {path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "crc32": _checksum(path)}}


def load(path: Path, check: bool = True) -> Checkpoint:
    """Read a checkpoint folder; of one in shards, all but the numbers that `read_into` reads.

    Args:
        path: the folder.
        check: compare its files with their checksums; False where another process has done so.

    Raises:
        InputError: it is missing, damaged, of another format, or holds pickles.
        RunError: it lies in shards, which this torch cannot read.
    """
    from safetensors.torch import load_file

    state = read_state(path)
    for name, facts in state["files"].items():
        file = path / name
        if not file.is_file():
            raise InputError(f"checkpoint {path} is damaged: {name} is missing")
        if check and (file.stat().st_size != facts["bytes"] or _checksum(file) != facts["crc32"]):
            raise InputError(f"checkpoint {path} is damaged: {name} is not the file that was written")
    parts: dict[str, Any] = {key: value for key, value in state.items() if key not in ("format", "files")}
    if state["format"] == _SHARDED:
        tensors = shards.describe(path)
        for part in _CUT:
            parts[part] = {key[len(part) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{part}/")}
        parts["shards"] = path
    else:
        parts |= {part: load_file(path / f"{part}.safetensors") for part in _CUT}
    return Checkpoint(**parts, random=load_file(path / "random.safetensors"))


@torch.no_grad()
def read_into(found: Checkpoint, targets: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Copy what a checkpoint holds into tensors; of one in shards, all processes must call.

    Args:
        found: the checkpoint.
        targets: by part, as in `Checkpoint.parts`, and name; of those that are cut this process's shard is filled.

    Raises:
        RunError: shards can no longer be read.
    """
    if found.shards is None:
        for part, tensors in targets.items():
            for name, tensor in tensors.items():
                tensor.copy_(cut_like(found.parts[part][name], tensor))
        return
    try:
        shards.read(found.shards, _flat(targets))
    except OSError as error:
        raise RunError(f"could not read {found.shards}: {error}") from error


def read_state(path: Path) -> dict[str, Any]:
    """Read the `state.json` of a checkpoint folder; raises `InputError` as `load` does."""
    refuse_pickles(path)
    try:
        text = (path / "state.json").read_bytes().decode()
        state = parse_json(text)
    except FileNotFoundError as error:
        raise InputError(f"checkpoint {path} is not one: it has no state.json") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"checkpoint {path} is damaged: state.json cannot be read") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found in _OLDER and type(found) is int:
        whole = _is_older(path, state)
        state["format"] = _OLDER[found]
    elif found in (_WHOLE, _SHARDED):
        state.pop("crc32", None)
        whole = _sealed(state) == text
    else:
        raise InputError(
            f"checkpoint {path} is of another format than {_WHOLE} and {_SHARDED}, which this version writes"
        )
    if not whole:
        raise InputError(f"checkpoint {path} is damaged: state.json is not the file that was written")
    return state


def _is_older(path: Path, state: dict[str, Any]) -> bool:
    """Whether a state.json without a checksum is whole, as far as can be seen."""
    if state.keys() != {"format", *_KEYS, "files"} or not isinstance(state["files"], dict):
        return False
    step = state["step"]
    named = type(step) is int and (not path.name.startswith("step-") or path == place(path.parent, step))
    facts = state["files"].values()
    return named and all(isinstance(each, dict) and each.keys() == {"bytes", "crc32"} for each in facts)


def newest(folder: Path, note: Callable[[str], None]) -> Checkpoint | None:
    """The newest whole checkpoint of a run, or None where none was ever written.

    Damaged ones after it get another name: they are no part of the run any more, and are kept for whoever can use them.

    Args:
        folder: the run's `checkpoints` folder.
        note: is told one line about every damaged or unfinished one that is passed over.

    Raises:
        InputError: there are checkpoints, and all of them are damaged.
    """
    if not folder.is_dir():
        return None
    for path in sorted(folder.glob(".step-*.new")):
        note(f"ignored {path}: it was not finished when the run was stopped")
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".step-*.gone"):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".step-*.old"):
        recover_folder(folder / path.name[1 : -len(".old")])
    damaged: dict[Path, InputError] = {}
    for path in reversed(_steps(folder)):
        try:
            found = load(path)
        except InputError as error:
            damaged[path] = error
            continue
        for each, reason in damaged.items():
            aside = each.with_name(_UNREADABLE + each.name)
            note(f"ignored: {reason}; it is {aside.name} from now on")
            shutil.rmtree(aside, ignore_errors=True)
            each.rename(aside)
        return found
    if damaged:
        raise InputError(
            f"none of the {len(damaged)} checkpoints in {folder} can be used, and the run does not start "
            f"over: {'; '.join(map(str, damaged.values()))}; put back a copy of one, or use another run folder"
        )
    lost = sorted(path.name for path in folder.glob(f"{_UNREADABLE}step-*"))
    if lost:
        raise InputError(
            f"{folder} has damaged checkpoints only ({', '.join(lost)}), and the run does not start over; "
            "put back a copy of a whole one, or use another run folder"
        )
    return None


def newest_of_all(folder: Path, note: Callable[[str], None], world: World) -> Checkpoint | None:
    """The newest whole checkpoint, in every process: the first one finds it as `newest` does, the others read it.

    Args:
        folder: the run's `checkpoints` folder.
        note: see `newest`.
        world: the processes.

    Raises:
        InputError: a process cannot read what the first one found.
    """
    found = newest(folder, note) if world.writes else None
    step = world.of_first(None if found is None else found.step)
    return load(place(folder, step), check=False) if found is None and step is not None else found


def check_shapes(what: str, mine: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Raise `InputError` unless both hold tensors of the same names and shapes.

    Args:
        what: what is being loaded, for the message.
        mine: the tensors to be filled.
        theirs: the tensors of the file.
    """
    for name in sorted(mine.keys() ^ theirs.keys()):
        raise InputError(f"{what} {'lacks' if name in mine else 'has the unknown tensor'} {name}")
    for name, value in mine.items():
        if value.shape != theirs[name].shape:
            raise InputError(
                f"{what}: {name} has shape {tuple(theirs[name].shape)}, but the system needs {tuple(value.shape)}"
            )


def last_name(folder: Path) -> Path | None:
    """The path of the newest checkpoint folder, or None; it is not opened."""
    paths = _steps(folder)
    return paths[-1] if paths else None


def prune(folder: Path, keep: int) -> None:
    """Delete all checkpoints but the last `keep` and the one with the lowest validation loss."""
    paths = _steps(folder)
    scores: list[tuple[float, Path]] = []
    for path in paths:
        try:
            validation = read_state(path)["validation"]
        except InputError:
            continue  # a damaged one has no score; `newest` says so when it meets it
        if validation is not None:
            scores.append((validation, path))
    best = min(scores, default=(0.0, None), key=lambda pair: pair[0])[1]
    for path in paths[:-keep]:
        if path != best:
            gone = path.with_name(f".{path.name}.gone")  # a kill while deleting must not leave a part under its name
            path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)


def _steps(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total = zlib.crc32(block, total)
    return total
