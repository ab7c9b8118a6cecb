"""Groups of settings: frozen dataclasses whose values are checked when they are made, and named by dotted keys."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from videofusion.errors import InputError, unknown
from videofusion.registry import knows


@dataclass(frozen=True)
class Range:
    """The lowest and the highest value that a number may have: metadata of a key, `Annotated[int, Range(1, 8)]`."""

    low: float
    high: float


@dataclass(frozen=True)
class Names:
    """The names that a key may have, where packages of others may add to them: metadata of a key, as `Range` is.

    Args:
        own: those of this package.
        table: "module:TABLE", whose keys are all of them; imported for other names only.
    """

    own: tuple[str, ...]
    table: str


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A group of settings of a recipe; a group is a frozen dataclass below this one.

    A number outside the `Range` of its annotation, and a name that is not in its `Literal` or `Names`, are refused.
    """

    group: ClassVar[str]  # what its keys begin with

    def __init_subclass__(cls, group: str | None = None) -> None:
        super().__init_subclass__()
        if group is not None:
            cls.group = group

    def __post_init__(self) -> None:
        for key, kind in kinds(type(self)).items():
            check_value(f"{self.group}.{key}", kind, getattr(self, key))

    def refusal(self, key: str, reason: str) -> InputError:
        """The error for a value that does not go with others.

        Args:
            key: of this group.
            reason: behind "but", as in "must be empty".
        """
        return InputError(f"recipe key {self.group}.{key} is {getattr(self, key)!r}, but {reason}")

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values, which `from_json` takes back."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> typing.Self:
        """The settings of `to_json`'s values, or of some of them; raises `InputError` as `changed` does."""
        return cls(**cls._read(values))

    def changed(self, values: Mapping[str, Any]) -> typing.Self:
        """The settings with other values for some keys, which may be text; all else stays.

        Raises:
            InputError: no such key (the nearest is named), a value of another kind or outside its range.
        """
        return dataclasses.replace(self, **self._read(values))

    @classmethod
    def unknown_key(cls, key: str) -> InputError:
        """The error for a key that the group has not, which names the nearest."""
        return unknown("recipe key", f"{cls.group}.{key}", [f"{cls.group}.{each}" for each in kinds(cls)])

    @classmethod
    def _read(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        known = kinds(cls)
        for key in values:
            if key not in known:
                raise cls.unknown_key(key)
        return {key: read_value(f"{cls.group}.{key}", known[key], value) for key, value in values.items()}


def kinds(settings: type) -> dict[str, Any]:
    """The annotations of a group's keys, with their metadata."""
    return _kinds(settings)


@functools.cache
def _kinds(settings: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(settings, include_extras=True)
    return {each.name: hints[each.name] for each in dataclasses.fields(settings)}


def check_value(key: str, kind: Any, value: Any) -> None:
    """Raise `InputError` for a value outside the `Range`, the `Literal` or the `Names` of its key's kind."""
    names = next((each for each in getattr(kind, "__metadata__", ()) if isinstance(each, Names)), None)
    if names is not None and value not in names.own:
        module, _, attribute = names.table.partition(":")
        table = getattr(importlib.import_module(module), attribute)
        if not knows(table, value):
            every = ", ".join(dict.fromkeys((*names.own, *table)))
            raise InputError(f"recipe key {key} is {value!r:.60}, but must be one of {every}")
    kind, allowed = _bare(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if value is None:
            return
        kind, inner = _bare(next(each for each in typing.get_args(kind) if each is not type(None)))
        allowed = allowed or inner
    if allowed is not None and not allowed.low <= value <= allowed.high:
        raise InputError(f"recipe key {key} is {value}, but must be in [{allowed.low:g}, {allowed.high:g}]")
    values = value if typing.get_origin(kind) is tuple else (value,)
    kind = typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind
    for each in values if typing.get_origin(kind) is Literal else ():
        if each not in typing.get_args(kind):
            raise InputError(f"recipe key {key} is {each!r}, but must be one of {', '.join(typing.get_args(kind))}")


def read_value(key: str, kind: Any, value: Any) -> Any:
    """A value as its key's kind, from what json holds or from text.

    Args:
        key: dotted, for messages.
        kind: the key's annotation.
        value: a plain value, or text such as "0.5", "true", "none" and "32, 64".

    Raises:
        InputError: it is none of that kind.
    """
    try:
        return _read(kind, value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"recipe key {key} cannot be {value!r:.200}: it is of kind {_kind_name(kind)}") from error


def _read(kind: Any, value: Any) -> Any:
    kind, _ = _bare(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        optional = next(argument for argument in arguments if argument is not type(None))
        return None if value is None or value == "none" else _read(optional, value)
    if origin is Literal:
        return value if isinstance(value, str) else _wrong()
    if origin is tuple:
        if isinstance(value, str):  # a json list where an item holds a comma, else items between commas
            value = json.loads(value) if value.startswith("[") else [item for item in value.split(",") if item.strip()]
        items = value if isinstance(value, (list, tuple)) else _wrong()
        return tuple(_read(arguments[0], item.strip() if isinstance(item, str) else item) for item in items)
    if kind is bool:
        if isinstance(value, bool):
            return value
        return value == "true" if value in ("true", "false") else _wrong()
    if kind is str:
        return value if isinstance(value, str) else _wrong()
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return _wrong()
    if kind is int and isinstance(value, float) and not value.is_integer():
        return _wrong()
    return kind(value)


def _wrong() -> Any:
    raise TypeError


def _bare(kind: Any) -> tuple[Any, Range | None]:
    """A kind without its metadata, and the range that is among it."""
    if typing.get_origin(kind) is not typing.Annotated:
        return kind, None
    return kind.__origin__, next((each for each in kind.__metadata__ if isinstance(each, Range)), None)


def _kind_name(kind: Any) -> str:
    kind, _ = _bare(kind)
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
