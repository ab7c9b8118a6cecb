"""What a recipe says of its system: a `SystemConfig` of the system's own, found by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar

from videofusion.errors import InputError, unknown
from videofusion.settings import Settings, kinds


@dataclass(frozen=True, kw_only=True)
class SystemConfig(Settings, group="system"):
    """The keys that only one system has.

    A system's file has a frozen dataclass below this one, with a name and those keys.
    """

    name: ClassVar[str]
    may_change: ClassVar[tuple[str, ...]] = ()  # keys that may differ between the sessions of one run

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values, and whose they are."""
        return {"name": self.name, **super().to_json()}

    @classmethod
    def unknown_key(cls, key: str) -> InputError:
        """The error for a key that the system has not; one that another system has is told as that one's."""
        others = [name for name in config_names() if key in kinds(find_config(name))]
        if not others:
            return super().unknown_key(key)
        return InputError(
            f"recipe key system.{key} is of the system {' and '.join(map(repr, others))}, and this one is {cls.name!r}, "
            f"which has {', '.join(kinds(cls))}"
        )


# Where each system's class is: imported when a recipe names it, since systems need torch.
_CONFIGS: dict[str, str | type[SystemConfig]] = {
    "videofusion": "videofusion.systems.videofusion:VideoFusionConfig",
    "vdm": "videofusion.systems.vdm:VDMConfig",
}


def register_config(config: type[SystemConfig]) -> type[SystemConfig]:
    """Let recipes name a system; a decorator."""
    _CONFIGS[config.name] = config
    return config


def config_names() -> list[str]:
    """The systems that a recipe may name."""
    return list(_CONFIGS)


def find_config(name: str) -> type[SystemConfig]:
    """The class of a system's keys; raises `InputError` for a name that no system has."""
    if name not in _CONFIGS:
        raise unknown("system", name, _CONFIGS)
    found = _CONFIGS[name]
    if isinstance(found, str):
        module, _, name_there = found.partition(":")
        found = getattr(importlib.import_module(module), name_there)
    return found
