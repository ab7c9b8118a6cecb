"""The command line: a table of commands, each imported only when it is called.

A command is a typed function that tyro turns into options. To add one, write the function and a line of `COMMANDS`.
Exit codes: 0 done, 1 failed on the way, 2 bad input; `VIDEOFUSION_DEBUG=1` shows where an error came from.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from videofusion.errors import InputError, RunError, printable, unknown


class Command(NamedTuple):
    """A command: where its function is, and a short summary."""

    place: str
    summary: str


COMMANDS = {
    "generate": Command("videofusion.cli.generate:generate", "make a video from a prompt, or many from a file"),
    "extend": Command("videofusion.cli.extend:extend", "extend a video, for as long as you like"),
    "edit": Command("videofusion.cli.edit:edit", "edit a video by a prompt, all of it or behind a mask"),
    "decode": Command(
        "videofusion.cli.decode:decode", "make a video from latents that could not be decoded or written"
    ),
    "train": Command("videofusion.cli.train:train", "train a recipe on built-in data or on your own folder of clips"),
    "runs": Command("videofusion.cli.runs:runs", "list run folders: state, step, loss, speed, last sample"),
    "export": Command("videofusion.cli.models:export", "write a model in half precision, to share it"),
    "models": Command("videofusion.cli.models:models", "list the models that ship, and their words"),
    "data make": Command("videofusion.cli.data:make", "write a folder of built-in clips with captions"),
    "data check": Command("videofusion.cli.data:check", "name every file that cannot be used, and why"),
    "data report": Command("videofusion.cli.data:report", "say what a folder of clips holds"),
    "data convert": Command("videofusion.cli.data:convert", "write shards from a folder, or a folder from shards"),
    "data encode": Command("videofusion.cli.encode:encode", "compute latents and text embeddings once, for training"),
    "data curate": Command("videofusion.cli.curate:curate", "cut videos into shots and keep those worth training on"),
    "evaluate": Command("videofusion.cli.measure:evaluate", "measure generated clips by a published protocol"),
    "results": Command("videofusion.cli.measure:results", "join the records of evaluations into one table"),
    "weights convert": Command("videofusion.cli.weights:convert", "write a feature network's weights as safetensors"),
    "weights unpack": Command("videofusion.cli.weights:unpack", "write the folder of a model that is in one file"),
    "compare": Command("videofusion.cli.compare:compare", "train and measure systems side by side"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: the words after `videofusion`; the process's own by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return _guarded(lambda: _run(words))


def run_command(command: Callable[..., Any], name: str, argv: Sequence[str] | None = None) -> int:
    """Run one function as `main` runs a command, and return its exit code; for commands outside the table.

    Args:
        command: a typed function.
        name: what was typed to run it, as `python -m tools.digits_report`.
        argv: the words after that; the process's own by default.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return _guarded(lambda: _call(command, name, words))


def _guarded(work: Callable[[], int]) -> int:
    """The exit code of some work; its errors as sentences."""
    _wait_politely()
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        warnings.simplefilter("default", UserWarning)
        try:
            code = work()
            sys.stdout.flush()  # so that what cannot be written is told here
            return code
        except SystemExit as stop:  # how tyro ends after --help
            return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except KeyboardInterrupt:
            _say("stopped")
            return 130
        except Exception as error:
            if isinstance(error, BrokenPipeError) and _reader_left():
                return 141
            if os.environ.get("VIDEOFUSION_DEBUG"):
                raise
            _say(_sentence(error))
            return 2 if isinstance(error, InputError) else 1


def _reader_left() -> bool:
    """Whether it is the output that nobody reads any more, as with `| head`, and not a pipe of the command's own."""
    import select

    output = select.poll()
    output.register(1, select.POLLOUT)
    if not any(event & select.POLLERR for _, event in output.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for Python, which writes the rest at its end
    return True


def _wait_politely() -> None:
    """Have threads that wait for each other sleep soon, so that other work on the same cores does not stall them.

    GNU's OpenMP, which PyTorch computes with on Linux, spins some milliseconds by default, long enough to be taken off
    its core while others wait for it (docs/speed.md). It reads this when PyTorch is imported, which commands do.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_overview(COMMANDS))
        return 0
    if words[0] == "--version":
        from videofusion.version import __version__

        print(__version__)
        return 0
    name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
    group = {key: command for key, command in COMMANDS.items() if key.startswith(f"{name} ")}
    if group and words[1:] in ([], ["-h"], ["--help"]):
        print(_overview(group))
        return 0
    if name not in COMMANDS:
        name = " ".join(words[:2]) if group else name
        raise unknown("command", name, group or COMMANDS)

    module, _, function = COMMANDS[name].place.partition(":")
    command: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return _call(command, f"videofusion {name}", words[len(name.split()) :])


def _call(command: Callable[..., Any], name: str, words: list[str]) -> int:
    from videofusion.cli.options import check_quotes, in_options, read_words

    check_quotes(words, command)
    try:
        return read_words(command, name, words)() or 0
    except InputError as error:
        raise InputError(in_options(str(error), command)) from error


def _overview(commands: dict[str, Command]) -> str:
    width = max(map(len, commands))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in commands.items()]
    return "\n".join(
        [
            "usage: videofusion COMMAND ...",
            "",
            "Video diffusion with decomposed noise.",
            "",
            *lines,
            "",
            "videofusion COMMAND --help says what a command takes.",
        ]
    )


def _sentence(error: Exception) -> str:
    """What a person reads of an error; one that nobody foresaw says how to see more."""
    if isinstance(error, InputError | RunError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    first = (str(error).strip().splitlines() or ["no message"])[0]
    return f"unexpected {type(error).__name__}: {first} (VIDEOFUSION_DEBUG=1 shows where)"


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """A warning as a sentence: where in the code it was raised is of no use to who typed the command."""
    if issubclass(category, UserWarning):
        _say(f"warning: {message}")


def _say(sentence: str) -> None:
    process = f", process {os.environ.get('RANK')}" if "TORCHELASTIC_RUN_ID" in os.environ else ""  # of torchrun's
    print(printable(f"videofusion{process}: {sentence}"), file=sys.stderr)
