"""Shared by commands: option names in messages, and checks of the command line before any work."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import io
import os
import re
import shlex
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import tyro

from videofusion.cli.recipe_keys import takes_keys, with_keys
from videofusion.errors import InputError
from videofusion.recipes.groups import SAMPLERS
from videofusion.recipes.recipe import Recipe

Force = tyro.conf.FlagCreatePairsOff[bool]
_MOST_STEPS = 10_000


def in_options(sentence: str, command: Callable[..., Any]) -> str:
    """A sentence about a function's arguments as one about the command's options, which have their names.

    Sentences name an argument at their beginning ("frames is 0; it must be ..."), in brackets, or by a name that is no
    English (allow_few); keys of recipes as "set diffusion.schedule=linear".

    Args:
        sentence: of an `InputError`.
        command: the function behind the command.
    """
    hints = typing.get_type_hints(command, include_extras=True)
    parameters = dict(inspect.signature(command).parameters)
    for hint in typing.get_type_hints(command).values():  # options that are kept together
        if isinstance(hint, type) and dataclasses.is_dataclass(hint) and hint is not Recipe:
            parameters.update(inspect.signature(hint).parameters)
    for name, parameter in parameters.items():
        option = f"--{name.replace('_', '-')}"
        if parameter.kind is not parameter.KEYWORD_ONLY:
            told = (getattr(each, "metavar", None) for each in getattr(hints.get(name), "__metadata__", ()))
            option = next((each for each in told if each), name.upper()).strip("[]")
        # where the option is all that is to be said
        sentence = re.sub(rf"^{name} is True\b", f"{option} is given", sentence)
        sentence = re.sub(rf"(?:^|(?<=; )){name}(?= (?:is|are|has|have|must)\b)", option, sentence)
        sentence = sentence.replace(f"({name})", f"({option})")
        if "_" in name:
            sentence = re.sub(rf"(?<!recipe key )(?<![\w.\"'/-]){name}(?![\w.=/\"'-])", option, sentence)
    if takes_keys(command):
        sentence = re.sub(
            r"\bset (?=[a-z_]+\.[a-z_]+=)[^;]*", lambda found: f"give {_as_options(found[0][4:])}", sentence
        )
    return sentence


def _as_options(settings: str) -> str:
    """Settings such as "compute.shard=true" as they are typed."""

    def option(found: re.Match[str]) -> str:
        group, key, value = found[1], found[2].replace("_", "-"), found[3]
        if value in ("true", "false"):
            return f"--{group}.{key}" if value == "true" else f"--{group}.no-{key}"
        return f"--{group}.{key} {value}"

    return re.sub(r"\b([a-z_]+)\.([a-z_]+)=(\S+)", option, settings)


def read_words(command: Callable[..., Any], name: str, words: Sequence[str]) -> Callable[[], Any]:
    """A command with the arguments that its words give, ready to be called.

    Args:
        command: a typed function.
        name: what was typed to run it.
        words: behind that.

    Raises:
        InputError: words that it does not take, in one sentence.
    """
    if takes_keys(command):
        _check_once(words)
        command = with_keys(command, words)

    @functools.wraps(command)
    def later(*args: Any, **values: Any) -> Callable[[], Any]:
        return functools.partial(command, *args, **values)

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            ready: Callable[[], Any] = tyro.cli(later, prog=name, args=words)
    except SystemExit as stop:
        if stop.code in (0, None):  # after --help
            raise
        sentence = _sentence(said.getvalue())
        more = "" if sentence.startswith("recipe key") else f" ({name} --help shows the options)"
        raise InputError(f"{sentence}{more}") from stop
    return ready


def _check_once(words: Sequence[str]) -> None:
    """Raise InputError for an option that is given twice, of which one would be lost, and for an empty run folder.

    A run is long, and would not say which value it ignored.
    """
    given: set[str] = set()
    for word, after in zip(words, [*words[1:], "-"], strict=False):
        if word == "--run=" or (word == "--run" and not after):
            raise InputError("run is empty; it must be a folder")
        if not word.startswith("--") or word == "--":
            continue
        option = word.partition("=")[0].replace("_", "-")
        group, dot, key = option.rpartition(".")
        same = f"{group}{dot}{key.removeprefix('no-')}" if dot else option.replace("--no-", "--")
        if same in given:
            raise InputError(f"{option} is given twice; leave one out")
        given.add(same)


def _sentence(box: str) -> str:
    """The first paragraph of a box of tyro's, and the option that it takes for the meant one, in one line."""
    lines = [line.strip("│ ") for line in box.strip().splitlines()]
    rules = [number for number, line in enumerate(lines) if set(line[-3:]) <= set("─-╮╯") and line]
    first, end = [*rules, len(lines)][:2] if rules else (-1, len(lines))
    sentence = " ".join(" ".join(lines[first + 1 : end]).split())
    sentence = re.sub(r"^Error parsing [\w.]+: (?=recipe key )", "", sentence)
    near = re.search(r"Perhaps you meant:[^-]*(--[\w.-]+)", " ".join(lines))
    hint = f"; did you mean {near[1]}?" if near else ""
    return sentence.partition(" Got errors:")[0].rstrip(".") + hint


def check_quotes(words: Sequence[str], command: Callable[..., Any]) -> None:
    """Raise InputError for a prompt of several words, which the shell takes apart where it is not quoted.

    Args:
        words: behind the command's name.
        command: its function; one without a prompt is not looked at.
    """
    parameters = inspect.signature(command).parameters
    if "prompt" not in parameters:
        return
    places = [name for name, each in parameters.items() if each.kind is not each.KEYWORD_ONLY]
    runs: list[tuple[str, list[str]]] = [("", [])]  # of words that are no options, behind the option that may take one
    for word in words:
        if word.startswith("-"):
            runs.append((word, []))
        else:
            runs[-1][1].append(word)
    groups = [each.default for each in parameters.values() if dataclasses.is_dataclass(each.default)]
    several = {  # options that take any number of words
        "--" + field.name.replace("_", "-")
        for group in groups
        for field in dataclasses.fields(group)
        if isinstance(getattr(group, field.name), tuple)
    }
    spare = {option: run[1:] if option else run for option, run in runs if option not in several}
    told = {option: run for option, run in runs if option == "--prompt"} or (spare if places == ["prompt"] else {})
    prompt = max(told.values(), key=len, default=[])
    if len(prompt) > 1 and sum(map(len, spare.values())) > len(places):
        raise InputError(f"there are too many words; quote the prompt: {shlex.quote(' '.join(prompt))}")


def refuse_existing(files: Iterable[Path], force: bool) -> None:
    """Raise InputError for a file that a command would replace, unless it is told to (--force)."""
    for file in files:
        if not force and os.path.lexists(file.expanduser()):
            raise InputError(f'"{file}" exists; name another file, or add --force to replace it')


def check_sampling(sampler: str | None, steps: int, guidance: float | None, motion: float | None = None) -> None:
    """Raise InputError for what no model can be sampled with, before one is read."""
    if sampler not in (None, *SAMPLERS):  # an installed package may have it
        from videofusion.diffusion.samplers import get_sampler

        get_sampler(str(sampler))
    if not 1 <= steps <= _MOST_STEPS:
        raise InputError(f"steps is {steps}; it must be from 1 to {_MOST_STEPS}")
    for name, value, most in (("guidance", guidance, float("inf")), ("motion", motion, 1.0)):
        if value is not None and not 0 <= value <= most:
            at_most = "of at least 0 (1 is off)" if name == "guidance" else "from 0 (still) to 1 (free)"
            raise InputError(f"{name} is {value:g}; it must be a number {at_most}")
