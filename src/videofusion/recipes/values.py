"""How the values of a recipe's keys are read from text and from json."""

from __future__ import annotations

import json
import types
import typing
from typing import Any, Literal


def read_value(kind: Any, value: Any) -> Any:
    """A value as a key's kind, from text as a command line gives it or from what json gives.

    Args:
        kind: the key's annotation.
        value: text, or a plain value.

    Raises:
        TypeError, ValueError: it is none of that kind.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        optional = next(argument for argument in arguments if argument is not type(None))
        return None if value is None or value == "none" else read_value(optional, value)
    if origin is Literal:
        return value if isinstance(value, str) else _wrong()
    if origin is tuple:
        if isinstance(value, str):  # a json list where an item holds a comma, else items between commas
            value = json.loads(value) if value.startswith("[") else [item for item in value.split(",") if item.strip()]
        items = value if isinstance(value, (list, tuple)) else _wrong()
        return tuple(read_value(arguments[0], item.strip() if isinstance(item, str) else item) for item in items)
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


def kind_name(kind: Any) -> str:
    """A kind as messages name it."""
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
