"""What a recipe says of its system: a `SystemConfig` of the system's own, found by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from videofusion.errors import InputError
from videofusion.registry import get_system, system_names, usable_systems
from videofusion.settings import Settings, kinds


@dataclass(frozen=True, kw_only=True)
class SystemConfig(Settings, group="system"):
    """The keys that only one system has.

    A system's file has a frozen dataclass below this one, with a name and those keys.
    """

    name: ClassVar[str]
    may_change: ClassVar[tuple[str, ...]] = ()  # keys that may differ between the sessions of one run

    @property
    def pictures(self) -> int:
        """Pictures, single frames of other clips, that a step looks at beside each clip."""
        return 0

    @property
    def groups_clips(self) -> bool:
        """Whether clips of one identity or action share noise, so that processes tell each other whose theirs are."""
        return False

    def outline(self, theirs: bool) -> SystemConfig:
        """The same, without what needs data or weights and changes no size: for a system on torch's meta device.

        Args:
            theirs: whether the image network is a U-Net of diffusers, which has sizes of its own.
        """
        return self

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values, and whose they are."""
        return {"name": self.name, **super().to_json()}

    @classmethod
    def unknown_key(cls, key: str) -> InputError:
        """The error for a key that the system has not; a key of another system is named as such."""
        others = [name for name in usable_systems() if key in kinds(find_config(name))]
        if not others:
            return super().unknown_key(key)
        return InputError(
            f"recipe key system.{key} is of the system {' and '.join(map(repr, others))}, and this is {cls.name!r}, "
            f"which has {', '.join(kinds(cls))}"
        )


def config_names() -> list[str]:
    """The systems that a recipe may name."""
    return system_names()


def find_config(name: str) -> type[SystemConfig]:
    """The class of a system's keys; raises `InputError` for a name that no system has."""
    return get_system(name).Config


def make_config(name: str, **values: Any) -> SystemConfig:
    """A system's keys by its name; for recipes, which are listed without importing a system.

    Args:
        name: of the system.
        values: of its keys that are not as its class has them.
    """
    return find_config(name).from_json(values)
