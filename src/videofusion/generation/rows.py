"""Rows of prompts: each line of a JSONL file is an object that asks for one clip."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videofusion.errors import InputError, unknown
from videofusion.files import check_regular, parse_json

# options of sampling, see `SamplingOptions`, with the kind of the value
OPTIONS: dict[str, type] = {
    "spacing": str,
    "eta": float,
    "gamma": float,
    "delta": float,
    "rescale": float,
    "threshold": float,
}
# options of image models, see `image_options.call_of`, likewise; files are named as on the command line
IMAGE: dict[str, type] = {
    "negative": str,
    "structure": str,
    "structure_kind": str,
    "structure_model": str,
    "foreground": str,
    "foreground_model": str,
    "foreground_label": str,
    "control_scale": float,
    "window": int,
    "share": float,
}
# what a row may set beside its prompt and id
KINDS: dict[str, type] = {
    "seed": int,
    "motion_seed": int,
    "frames": int,
    "size": str,
    "steps": int,
    "sampler": str,
    "guidance": float,
    "motion": float,
    **OPTIONS,
    **IMAGE,
}
DEFAULTS: dict[str, Any] = {
    "seed": 0,
    "motion_seed": None,
    "frames": None,
    "size": None,
    "steps": 20,
    "sampler": None,
    "guidance": None,
    "motion": None,
    **dict.fromkeys((*OPTIONS, *IMAGE)),
}
FILE_FPS = 8.0  # frames per second of a file, where nothing else is asked for
_WORDS = {int: "a whole number", float: "a number", str: "a text"}
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Row:
    """One clip that is asked for.

    Args:
        number: of its line in the file, from 1.
        name: its id, or its number with six digits; its files are named so.
        settings: "prompt" and every key of `DEFAULTS`; empty when the line could not be understood.
        reason: why not; None when it could.
    """

    number: int
    name: str
    settings: Mapping[str, Any]
    reason: str | None = None

    @property
    def label(self) -> str:
        """How messages call it: as in `row 3`, or `row 3 (id "cat")`."""
        return f"row {self.number}" + ("" if self.name == f"{self.number:06d}" else f' (id "{self.name}")')

    @property
    def image(self) -> dict[str, Any]:
        """What it sets of the options of image models."""
        return {key: self.settings[key] for key in IMAGE if self.settings.get(key) is not None}

    @property
    def told(self) -> dict[str, Any]:
        """What its file remembers."""
        return {key: value for key, value in self.settings.items() if key not in IMAGE} | self.image

    @property
    def call(self) -> dict[str, Any]:
        """What a pipeline is called with beside prompt, seeds and `image`."""
        width, height = parse_size(self.settings["size"], "size")
        others = {key: self.settings[key] for key in ("frames", "steps", "sampler", "guidance", "motion")}
        options = {key: self.settings[key] for key in OPTIONS if self.settings[key] is not None}
        return {**others, "height": height, "width": width, "sampler_options": options}


def read_rows(path: Path, defaults: Mapping[str, Any] | None = None) -> list[Row]:
    """Read a file of prompts; empty lines are passed over, and a line that is wrong becomes a row with a reason.

    Args:
        path: JSONL in UTF-8: "prompt", and optionally "id" and the keys of `DEFAULTS`; null means not given.
        defaults: replaces some of `DEFAULTS`.

    Raises:
        InputError: the file cannot be read, holds no rows, or two rows of one id; a default of the wrong kind.
    """
    common = {**DEFAULTS, **_checked(defaults or {})}
    try:
        check_regular(path)
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f'prompts "{path}" cannot be read: {error.strerror or error}') from error
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    rows = [_row(number, line, common) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise InputError(f'prompts "{path}" holds no rows; a row is a line like {{"prompt": "a red three"}}')
    # some file systems do not tell A from a
    names = Counter(row.name.casefold() for row in rows)
    twice = [row for row in rows if names[row.name.casefold()] > 1]
    if twice:
        numbers = ", ".join(str(row.number) for row in twice if row.name.casefold() == twice[0].name.casefold())
        raise InputError(f'prompts "{path}": rows {numbers} have the same id "{twice[0].name}"; files are named by it')
    return rows


def check_file(fps: float | None, scale: int | None) -> None:
    """Raise InputError for a frame rate or an enlargement that no file is written with; None stands for a default."""
    if fps is not None and not 0 < fps <= 240:
        raise InputError(f"--fps is {fps:g}, but must be above 0 and at most 240")
    if scale is not None and not 1 <= scale <= 64:
        raise InputError(f"--scale is {scale}, but must be from 1 to 64")


def parse_size(text: str | None, name: str) -> tuple[int | None, int | None]:
    """Width and height of "64x48", or of "32" for both.

    Raises:
        InputError: it is neither; the sentence calls it `name`.
    """
    if text is None:
        return None, None
    match = re.fullmatch(r"(\d{1,5})(?:[x×](\d{1,5}))?", text.strip())
    if not match:
        raise InputError(f'{name} is "{text}", but must be a number of pixels or WIDTHxHEIGHT, as in 64x48')
    width = int(match[1])
    return width, int(match[2] or width)


def _row(number: int, line: bytes, defaults: Mapping[str, Any]) -> Row:
    name = f"{number:06d}"
    try:
        values = parse_json(line.decode("utf-8"))
        if not isinstance(values, dict):
            raise InputError(f"the line holds {json.dumps(values)[:40]}, but must be an object with the key prompt")
        name = _name(values.pop("id", None), name)
        prompt = values.pop("prompt", None)
        if not isinstance(prompt, str):
            raise InputError("prompt is missing" if prompt is None else f"prompt is {prompt!r}, but must be a text")
        settings = {"prompt": prompt, **defaults, **_checked(values)}
        parse_size(settings["size"], "size")
    except InputError as error:
        return Row(number, name, {}, str(error))
    except (ValueError, OverflowError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are of these
        return Row(number, name, {}, f"the line cannot be read as JSON in UTF-8: {error}")
    return Row(number, name, settings)


def _name(given: Any, default: str) -> str:
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, str | int) or not _ID.fullmatch(str(given)):
        raise InputError(
            f"id is {given!r}, but must be a file's name without ending: up to 100 of A-Z, a-z, 0-9, _, - and ."
        )
    return str(given)


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are given, as the kinds that they have to be of."""
    checked = {}
    for key, value in values.items():
        if key not in KINDS:
            raise unknown("key", key, ("id", "prompt", *KINDS))
        if value is not None:
            checked[key] = _as(key, value)
    return checked


def _as(key: str, value: Any) -> Any:
    kind = KINDS[key]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is str:
        if key == "size" and isinstance(value, int) and number:
            return str(value)
        good = isinstance(value, str)
    else:  # tables with gaps write whole numbers as 3.0
        good = number and (kind is float or value == value // 1)
    if not good:
        raise InputError(f"{key} is {value!r}, but must be {_WORDS[kind]}")
    return kind(value)
