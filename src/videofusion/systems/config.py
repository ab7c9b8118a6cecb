"""What a recipe says of its system: a `SystemConfig` of the system's own, found by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from videofusion.settings import Settings
from videofusion.systems.registry import get_system, system_names


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


def config_names() -> list[str]:
    """The systems that a recipe may name."""
    return system_names()


def find_config(name: str) -> type[SystemConfig]:
    """The class of a system's keys; raises `InputError` for a name that no system has."""
    return get_system(name).Config
