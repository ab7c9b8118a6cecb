"""The runs of a comparison: a training run in a process of its own, and the folder that keeps what is finished."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch

from videofusion.domains import domains
from videofusion.errors import InputError, RunError
from videofusion.files import write_whole
from videofusion.locking import locked
from videofusion.recipes.catalogue import get_recipe
from videofusion.recipes.groups import Clips
from videofusion.recipes.recipe import Recipe

CLAIM, RESULTS = "budget.json", "results.jsonl"  # files of a comparison's folder
_GRACE = 120  # seconds that a run has to write its checkpoint when the time is up


@dataclass(frozen=True, kw_only=True)
class Run:
    """One line of a comparison: a model that is trained, or one that is only measured.

    Args:
        name: the run's folder, and its name in the results.
        recipe: what it starts from: a recipe's name, or the path of a recipe.json; "" where nothing is trained.
        overrides: dotted keys of the recipe that differ.
        base: the run whose image model it starts from.
        start: the recipe's key that names that run: "start.model" where all of its model is taken.
        seconds: of training; None for as many steps as the recipe says.
        system: what runs of several seeds have in common; the name when "".
        model: of a line without training, the model's folder, or a shipped model's name.
        of: of a line without training, the run whose model it is.
        sampling: what of the clips' sampling differs from the comparison's, as `Sampling` takes it.
        measured: "all", "cost" (size and speed only), or "" for a run that others start from.
    """

    name: str
    recipe: str = ""
    overrides: dict[str, Any] = field(default_factory=dict)
    base: str | None = None
    start: str = "start.image_model"
    seconds: float | None = None
    system: str = ""
    model: str | None = None
    of: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    measured: str = "all"

    @property
    def group(self) -> str:
        """What runs of several seeds have in common."""
        return self.system or self.name

    def model_in(self, folder: Path) -> str | Path:
        """The model, once it is trained."""
        return self.model if self.model is not None else folder / (self.of or self.name) / "model"

    def settings(self, folder: Path) -> dict[str, Any]:
        """The overrides, the base's place among them."""
        return dict(self.overrides) | ({} if self.base is None else {self.start: str(folder / self.base)})


def run_recipe(folder: Path, run: Run, data: str | None = None) -> Recipe:
    """The recipe that a run trains, its budget left out; `data` as for `train_run`.

    Raises:
        InputError: there is no such recipe, or a key that is none.
    """
    kind = {} if data is None else {"clips.kind": _kind(run, data)}
    return get_recipe(run.recipe, {**kind, **run.settings(folder)})


def _kind(run: Run, data: str) -> str:
    """What a run's recipe is to train on, where the comparison's data are these."""
    if data in domains():  # an image model that others start from keeps to stills
        return domains()[data].like(get_recipe(run.recipe).clips.kind)
    return data if data in get_args(get_type_hints(Clips)["kind"]) else "folder"


def train_run(
    folder: Path, run: Run, threads: int, data: str | None = None, is_over: Callable[[], bool] = lambda: False
) -> bool:
    """Train a run in a process of its own, or go on with it; False when it was to stop first.

    Args:
        folder: of the comparison.
        run: with a recipe.
        threads: cores of the process.
        data: what `train --data` takes.
        is_over: asked again and again; at the first yes the process writes its checkpoint and ends.

    Raises:
        RunError: training failed.
    """
    command = [sys.executable, "-m", "videofusion.cli.supervised", *train_command(folder, run, data)[1:]]
    if run.seconds is not None:
        command += ["--steps", "1000000", *_budget(run.seconds, threads)]
    with locked(folder / run.name, "run folder", patience=_GRACE):
        pass  # the training of a comparison that was killed writes its checkpoint yet
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    # it ends when the other end of its input is closed, as it is when this process is gone
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    try:
        while (code := _code(process)) is None:
            if is_over():
                _end(process, run)
                return False
    except BaseException:
        _end(process, run)
        raise
    finally:
        process.communicate()  # closes its input
    if code != 0:
        if is_over():  # Ctrl-C in a terminal goes to both
            return False
        said = " ".join(["videofusion", *command[3:]])
        raise RunError(f"the run {run.name} ended with code {code}; {said} says why")
    return True


def train_command(folder: Path, run: Run, data: str | None = None) -> list[str]:
    """The words of the command that trains a run, its budget left out."""
    words = ["videofusion", "train", run.recipe, "--run", str(folder / run.name)]
    words += [] if data is None else ["--data", _kind(run, data) if data in domains() else data]
    settings = run.settings(folder)
    values = run_recipe(folder, run, data).dotted() if settings else {}
    return words + [word for key in settings for word in option_words(key, values[key])]


def _code(process: subprocess.Popen[bytes]) -> int | None:
    """What a process ended with; None if it goes on for a moment."""
    try:
        return process.wait(0.5)
    except subprocess.TimeoutExpired:
        return None


def _end(process: subprocess.Popen[bytes], run: Run) -> None:
    """Have a run write its checkpoint and end; one that does not is killed, and goes on from its last checkpoint."""
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired as error:
        process.kill()
        raise RunError(
            f"the run {run.name} did not end within {_GRACE} s; run the same command to resume from its last checkpoint"
        ) from error


def _budget(seconds: float, threads: int) -> list[str]:
    """Options for seconds of training: on CPUs those that its threads compute, whatever else the machine does."""
    if torch.cuda.is_available():
        return ["--seconds", str(seconds)]
    return ["--seconds", str(seconds * threads), "--budget.clock", "processor"]


def run_facts(run: Path, threads: int = 1) -> dict[str, Any]:
    """Steps, clips and parameters of a finished run, and the clips that it trained on in a second of its budget.

    Args:
        run: its folder.
        threads: that shared its processor's seconds.
    """
    from safetensors import safe_open

    recipe = get_recipe(str(run / "recipe.json"))
    log = [json.loads(line) for line in whole_lines(run / "log.jsonl")]
    step = max(int(line.get("step", 0)) for line in log)
    parameters = 0
    for part in sorted((run / "model").glob("*/*.safetensors")):
        with safe_open(part, "pt") as file:
            parameters += sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118
    batch = recipe.batch.size * recipe.batch.accumulation
    facts: dict[str, Any] = {"recipe": recipe.to_json(), "steps": step, "clips": step * batch, "parameters": parameters}
    timed = [line for line in log if line.get("seconds") and line.get("step")]
    if timed:
        seconds = timed[-1]["seconds"] / (threads if recipe.budget.clock == "processor" else 1)
        facts["training_clips_per_second"] = timed[-1]["step"] * batch / seconds
    return facts


def results(folder: Path) -> list[dict[str, Any]]:
    """The finished runs of a folder, in the order in which they finished."""
    path = folder / RESULTS
    return [json.loads(line) for line in whole_lines(path)] if path.exists() else []


def whole_lines(path: Path) -> Iterator[str]:
    """Lines that were written to their end; the last one may have been cut off."""
    return (line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n"))


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add a line to a file of them, whole or not at all."""
    lines = [*whole_lines(path)] if path.exists() else []
    write_whole(path, "".join([*lines, json.dumps(row, sort_keys=True) + "\n"]).encode())


def claimed(folder: Path) -> dict[str, Any]:
    """What a folder says that it belongs to; what older versions did not write is what they did."""
    try:
        found = json.loads((folder / CLAIM).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = {}
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / CLAIM} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{folder / CLAIM} cannot be read: it is not a JSON object")
    first = {
        "plan": "decomposed",
        "flops": None,
        "steps": [10],
        "sampler": "dpm++",
        "looks": 1,
        "data": None,
        "protocol": "",
    }
    return {**first, **found}


def claim(folder: Path, mine: Mapping[str, Any]) -> None:
    """Make the folder, or check that it belongs to this plan and budget.

    Raises:
        InputError: it does not, or cannot be used.
    """
    path, mine = folder / CLAIM, json.loads(json.dumps(mine))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(json.dumps(mine) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be used: {error.strerror}") from error
    theirs = claimed(folder)
    unlike = [
        f"{key} {theirs.get(key)}, not {mine.get(key)}"
        for key in dict.fromkeys((*mine, *theirs))
        if theirs.get(key) != mine.get(key)
    ]
    if unlike:
        raise InputError(
            f"{folder} holds a comparison of another plan or budget: {'; '.join(unlike)}; use another folder"
        )


def option_words(key: str, value: Any) -> list[str]:
    """The words that give a recipe's key on the command line of `train`.

    Args:
        key: dotted, or "seed" and the like.
        value: as a recipe holds it.
    """
    group, _, rest = key.replace("_", "-").rpartition(".")
    if isinstance(value, bool):
        return [f"--{group}.{rest}" if value else f"--{group}.no-{rest}"]
    option = f"--{group}.{rest}".replace("--.", "--")
    return [option, *map(str, value if isinstance(value, list | tuple) else [value])]
