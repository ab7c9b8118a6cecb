"""From the recipes and models that a user names to the runs of a comparison and its measure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from videofusion.comparison.compare import Budget, Run
from videofusion.comparison.finding import Measure
from videofusion.comparison.runs import results, run_recipe
from videofusion.domains import domain_with, domains
from videofusion.errors import InputError
from videofusion.evaluation.model_domain import domain_of
from videofusion.models import find, trained_model
from videofusion.recipes.catalogue import RECIPES, get_recipe
from videofusion.recipes.recipe import Recipe
from videofusion.training.estimate.sizes import steps_within

SYSTEMS = "systems"  # what a folder is said to belong to where no plan is
FULL = " at full size"
LEAST_SIDE = 32  # of a clip, in pixels: what feature networks that ship need
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LARGE = {"": 1.0, "T": 1e12, "P": 1e15, "E": 1e18}
_ARITHMETIC = re.compile(r"(\d+(?:\.\d*)?(?:e\d+)?)([TPE]?)FLOPs?", re.IGNORECASE)
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?[smhd])+")


def budget_of(text: str) -> dict[str, float | None]:
    """What `Budget` takes of a budget such as "30m" or "20PFLOP": its seconds or its flops.

    Raises:
        InputError: it is neither.
    """
    found = _ARITHMETIC.fullmatch(text)
    if found is None:
        return {"seconds": seconds_of(text)}
    return {"flops": float(found[1]) * _LARGE[found[2].upper()]}


def by_flops(folder: Path, runs: Sequence[Run], budget: Budget, data: str | None) -> list[Run]:
    """The runs, those that are trained and measured with as many steps as the budget's arithmetic is enough for.

    Args:
        folder: of the comparison.
        runs: of it.
        budget: without `flops` nothing changes.
        data: what they train on instead of what their recipes make.

    Raises:
        InputError: it is not enough for a step of one of them.
    """
    if budget.flops is None:
        return list(runs)
    limited = []
    for run in runs:
        if run.recipe and run.measured:
            try:
                steps = steps_within(run_recipe(folder, run, data), budget.flops)
            except InputError as error:
                raise InputError(f"the run {run.name} cannot be made: {error}") from error
            run = replace(run, seconds=None, overrides={**run.overrides, "budget.steps": steps})
        limited.append(run)
    return limited


def seconds_of(text: str) -> float:
    """Seconds of a duration such as "90", "30m" or "1h30m".

    Raises:
        InputError: it is none.
    """
    try:
        seconds = float(text)
    except ValueError:
        if not _DURATION.fullmatch(text):
            raise InputError(
                f'budget is "{text}", which is neither a time nor an amount of arithmetic; write seconds, numbers '
                "with s, m, h or d (30m, 1h30m), or FLOP (20PFLOP, 3e15FLOP)"
            ) from None
        seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)([smhd])", text))
    if not 0 < seconds < 1e9:
        raise InputError(f'budget is "{text}"; it must be above 0')
    return seconds


def system_runs(names: Sequence[str], budget: Budget) -> list[Run]:
    """A run of each recipe at each seed, and a line of each model.

    Args:
        names: recipes by name or the path of a json file; models by their folder, or the folder of their run.
        budget: seconds and seeds.

    Raises:
        InputError: a name that is neither.
    """
    runs = []
    for seed in range(budget.seeds):
        for name in names:
            model = trained_model(name)
            if model is None:
                system = name if name in RECIPES else _file_name(name)
                keys = {"log.sample_interval": 0, "seed": seed}
                runs.append(
                    Run(name=f"{system}-{seed}", recipe=name, overrides=keys, seconds=budget.seconds, system=system)
                )
            elif seed == 0:
                runs.append(_model(name, model))
    return runs


def _file_name(path: str) -> str:
    """The name of a recipe's file; of a run's recipe.json, that of the run."""
    file = Path(path).resolve()
    name = file.parent.name if file.stem == "recipe" else file.stem
    return re.sub(r"[^\w.-]+", "-", name) or "recipe"


def _model(name: str, folder: Path) -> Run:
    own = folder.resolve()
    place = str(folder) if folder == Path(name) / "model" else name
    return Run(name=f"model-{own.parent.name if own.name == 'model' else own.name}", model=place)


class Shape(NamedTuple):
    """What the clips of a run are."""

    frames: int
    height: int
    width: int


class Alike(NamedTuple):
    """What systems have in common: their clips' shape, and a recipe that says how clips are cut, if there is any."""

    recipe: Recipe | None
    shape: Shape
    models: Mapping[str, str] = MappingProxyType({})  # those that are not trained here, and where they lie


def check_alike(folder: Path, runs: Sequence[Run], data: str | None, *, same_data: bool = True) -> Alike:
    """Refuse systems whose clips cannot be compared, with each other or with those that are finished.

    Args:
        folder: of the comparison.
        runs: of it, one at least.
        data: what they train on instead of what their recipes make.
        same_data: whether they must be trained on the same clips; a plan may want otherwise.

    Raises:
        InputError: clips of unlike sizes or numbers of frames, ones that nothing measures, or unlike data.
    """
    first: Recipe | None = None
    models: dict[str, str] = {}
    shapes: dict[tuple[Any, ...], str] = {}
    kinds: dict[tuple[Any, ...], str] = {}
    for run in runs:
        if not run.measured or run.of is not None:
            continue
        if run.recipe:
            recipe = run_recipe(folder, run, data)
            first = first or recipe
            shapes.setdefault(Shape(recipe.clips.frames, recipe.clips.size, recipe.clips.size), run.name)
            kinds.setdefault(_data_of(recipe), run.name)
        else:
            models[run.name] = str(run.model)
            index = json.loads((find(str(run.model)) / "model_index.json").read_text(encoding="utf-8"))
            shapes.setdefault(Shape(index["frames"], index["height"], index["width"]), run.name)
    for row in results(folder) if same_data else ():
        if "shape" in row:
            shapes.setdefault(Shape(*row["shape"]), row["name"])
        if "recipe" in row:
            kinds.setdefault(_data_of(Recipe.from_json(row["recipe"])), row["name"])
    for found, what in ((shapes, "clips of"), (kinds if same_data else {}, "data")):
        if len(found) > 1:
            (one, a), (other, b) = list(found.items())[:2]
            raise InputError(f"{a} and {b} cannot share a table: they have {what} {_words(one)} and {_words(other)}")
    shape = Shape(*next(iter(shapes)))
    if shape.frames < 2 or shape.height != shape.width or shape.height < LEAST_SIDE:
        raise InputError(
            f"{shapes[shape]} makes clips of {_words(shape)}, but compared are square clips of 2 frames or more, of "
            f"{LEAST_SIDE} pixels or more"
        )
    return Alike(first, shape, models)


def _data_of(recipe: Recipe) -> tuple[Any, ...]:
    """What the training clips of a recipe are."""
    if domain := domain_with(recipe.clips.kind):
        return (recipe.clips.kind, *domain.about(recipe))
    rate = (recipe.clips.fps, recipe.clips.fps_range, recipe.clips.stride, recipe.clips.strides)
    return (recipe.clips.kind, recipe.clips.layout, recipe.clips.fold, recipe.clips.validation_share, *rate)


def _words(value: tuple[Any, ...]) -> str:
    if isinstance(value, Shape):
        return f"{value.frames} frames of {value.height}x{value.width}"
    return ", ".join(str(each) for each in value)


def choose_measure(
    alike: Alike,
    budget: Budget,
    data: str | None,
    *,
    protocol: str = "",
    clips: int | None = None,
    allow_few: bool = False,
    extractors: Callable[[str], Mapping[str, Any]] | None = None,
) -> Measure:
    """How the clips of a comparison are measured.

    Args:
        alike: what the systems have in common.
        budget: says how many clips.
        data: what runs train on instead of what their recipes make.
        protocol: of `videofusion evaluate`, for a folder; what ships when "".
        clips: instead of the protocol's number.
        allow_few: whether there may be fewer than 256 clips of a folder, for a number that is for no comparison.
        extractors: from a protocol's name to its feature networks.

    Raises:
        InputError: data that nothing measures, or that are not given.
    """
    kind = _kind(alike, data)
    if kind in domains():
        if protocol:
            raise InputError(f'protocol is "{protocol}", but clips of {kind} have a measure of their own')
        measure: Measure = domains()[kind].measure(budget.clips, alike.shape.frames)
        return measure
    if kind != "folder":
        raise InputError(f"data is {kind}; compared are clips of {', '.join(domains())} or of a folder (--data)")
    recipe = alike.recipe or _cut(alike)
    if data is None:
        raise InputError(f"data is not given, but {recipe.name} trains on a folder of clips")
    from videofusion.comparison.held_out import held_out_measure, protocol_measure

    place = Path(data)
    if not protocol or extractors is None:
        return held_out_measure(recipe, place, budget.clips, allow_few=allow_few, seen=bool(alike.models))
    return protocol_measure(protocol, recipe, place, extractors(protocol), clips=clips, allow_few=allow_few)


def _kind(alike: Alike, data: str | None) -> str:
    """The kind of data that clips are compared on.

    Raises:
        InputError: it is not told, and a model is not known to make such clips.
    """
    made = {name: domain_of(model) for name, model in alike.models.items()}
    if alike.recipe is not None:
        kind: str = alike.recipe.clips.kind
    elif data is not None:
        kind = data if data in domains() else "folder"
    else:
        kind = next((domain for domain in made.values() if domain), "")
    others = [name for name, domain in made.items() if domain != kind]
    if data is None and others:
        known = made[others[0]] or "no built-in clips as far as is known"
        raise InputError(
            f"data is not given, and {others[0]} makes {known}{f', not {kind}' if kind else ''}; name what all are "
            f"compared on: a folder of clips, or {' or '.join(domains())} (--data)"
        )
    return kind


def _cut(alike: Alike) -> Recipe:
    """How clips are cut from a folder for models alone: as the first was trained on one, if its run is there."""
    shape: dict[str, Any] = {"clips.frames": alike.shape.frames, "clips.size": alike.shape.height}
    for name, model in alike.models.items():
        file = find(model).resolve().parent / "recipe.json"
        if file.is_file():
            recipe = get_recipe(str(file))
            if recipe.clips.kind == "folder":
                return recipe.replace({**shape, "name": name})
    return get_recipe("folder64", {**shape, "name": next(iter(alike.models))})
