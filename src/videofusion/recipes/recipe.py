"""Everything that decides what a training run does: one dataclass of a few groups of settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from videofusion.errors import InputError, unknown
from videofusion.recipes.flat import FLAT_KEYS, from_flat, is_flat
from videofusion.recipes.groups import (
    Batch,
    Budget,
    Checkpoints,
    Clips,
    Compute,
    Diffusion,
    Log,
    Network,
    Optimizer,
    Sampling,
    Start,
    Text,
)
from videofusion.recipes.system_config import SystemConfig, find_config
from videofusion.settings import Range, Settings, check_value, kinds, read_value


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train, on what, and how.

    Args:
        name: the recipe's name; a run folder belongs to one.
        system: the keys of this system alone; in Python an instance of its class, as `VideoFusionConfig(share=0.5)`.
        network: the networks' sizes.
        text: how captions are read.
        diffusion: the schedule, what is predicted and how errors are weighted.
        clips: what is trained on, and how a folder is read.
        batch: what a step looks at.
        optimizer: how weights follow their gradients.
        start: what the weights start from.
        budget: when the run ends.
        compute: precision, memory and processes.
        log: what the run shows of itself.
        checkpoints: when the run saves its state.
        sampling: how the sample grids are made, and how the model samples by default.
        seed: the seed of everything random.
    """

    name: str
    system: SystemConfig
    network: Network = field(default_factory=Network)
    text: Text = field(default_factory=Text)
    diffusion: Diffusion = field(default_factory=Diffusion)
    clips: Clips = field(default_factory=Clips)
    batch: Batch = field(default_factory=Batch)
    optimizer: Optimizer = field(default_factory=Optimizer)
    start: Start = field(default_factory=Start)
    budget: Budget = field(default_factory=Budget)
    compute: Compute = field(default_factory=Compute)
    log: Log = field(default_factory=Log)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    sampling: Sampling = field(default_factory=Sampling)
    seed: Annotated[int, Range(-(2**63), 2**64 - 1)] = 0

    def __post_init__(self) -> None:
        check_value("seed", kinds(Recipe)["seed"], self.seed)
        if not (self.name.strip() and self.name.isprintable()):
            raise InputError(f"recipe key name is {self.name!r:.60}, but must be a printable word")

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain values, group in group, which `from_json` takes back."""
        return {key: value.to_json() if isinstance(value, Settings) else value for key, value in vars(self).items()}

    def dotted(self) -> dict[str, Any]:
        """Every value by its dotted key; the system's name is that of "system"."""
        values: dict[str, Any] = {}
        for key, value in vars(self).items():
            if not isinstance(value, Settings):
                values[key] = value
                continue
            if isinstance(value, SystemConfig):
                values[key] = value.name
            values |= {f"{key}.{each.name}": getattr(value, each.name) for each in dataclasses.fields(value)}
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe of `to_json`'s values, or of those of an older version, whose keys were in no groups.

        Raises:
            InputError: unknown keys, and values of a wrong kind.
        """
        if "name" not in values:
            raise InputError("a recipe needs the key name")
        if is_flat(values):
            dotted = from_flat(values)
            return cls(name="older", system=find_config(dotted["system"])()).replace(dotted)
        if "system" not in values:
            raise InputError("a recipe needs the key system")
        return cls(**{key: _read(key, value) for key, value in values.items()})

    def replace(self, changes: Mapping[str, Any]) -> Recipe:
        """The recipe with some values changed.

        Args:
            changes: dotted keys to values, or to text, as {"system.share": 0.3, "batch.size": "8"}; whole groups by
                their names; "system" to the name of another system, whose keys are then its defaults.

        Raises:
            InputError: an unknown key (the nearest is named), one of another system, a value that cannot be.
        """
        whole = {key: value for key, value in changes.items() if "." not in key}
        for key in whole:
            if key in FLAT_KEYS and key not in kinds(Recipe):
                raise InputError(f"recipe key {key} is of an older version; it is {FLAT_KEYS[key]} now")
            if key not in kinds(Recipe):
                raise unknown("recipe key", key, self.dotted())
        recipe = dataclasses.replace(self, **{key: _read(key, value) for key, value in whole.items()})
        groups: dict[str, dict[str, Any]] = {}
        for key, value in changes.items():
            group, dot, rest = key.partition(".")
            if dot:
                if not isinstance(getattr(recipe, group, None), Settings):
                    raise unknown("recipe key", key, recipe.dotted())
                groups.setdefault(group, {})[rest] = value
        return dataclasses.replace(recipe, **{key: getattr(recipe, key).changed(of) for key, of in groups.items()})


def _read(key: str, value: Any) -> Any:
    """A whole group, or a key in none, from its json, from a system's name, or as it is."""
    known = kinds(Recipe)
    if key not in known:
        raise unknown("recipe key", key, known)
    kind = known[key]
    if not (isinstance(kind, type) and issubclass(kind, Settings)):
        return read_value(key, kind, value)
    if isinstance(value, kind):
        return value
    if kind is SystemConfig and isinstance(value, str):
        return find_config(value)()
    if not isinstance(value, Mapping):
        raise InputError(f"recipe key {key} cannot be {value!r:.200}: it is a group of keys")
    if kind is SystemConfig:
        if "name" not in value:
            raise InputError("a recipe's group system needs the key name")
        kind = find_config(read_value("system.name", str, value["name"]))
        value = {inner: of for inner, of in value.items() if inner != "name"}
    return kind.from_json(value)
