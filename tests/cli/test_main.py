"""The table of commands, exit codes, and sentences instead of tracebacks."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import types
import warnings

import pytest

from videofusion import cli
from videofusion.errors import InputError, RunError


def fake_command(monkeypatch: pytest.MonkeyPatch, function: object) -> None:
    """Put a command "fake" into the table that runs `function`."""
    module = types.ModuleType("fake_command")
    module.run = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_command", module)
    monkeypatch.setitem(cli.COMMANDS, "fake", cli.Command("fake_command:run", "for a test"))


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself_without_heavy_imports(name: str) -> None:
    code = (
        "import sys; from videofusion.cli import main; code = main(sys.argv[1:] + ['--help']); "
        "print('HEAVY', *({'torch', 'diffusers', 'sklearn', 'av'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *name.split()], capture_output=True, text=True, check=True)
    assert f"videofusion {name}" in done.stdout
    assert done.stdout.splitlines()[-1] == "HEAVY"


@pytest.mark.parametrize("command", cli.COMMANDS.values())
def test_every_command_leads_to_a_function(command: cli.Command) -> None:
    module, _, function = command.place.partition(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_overview_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in cli.COMMANDS)


def test_a_group_lists_its_own_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data"]) == 0
    out = capsys.readouterr().out
    assert "data check" in out
    assert "generate " not in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["generat", "x"], 'did you mean "generate"?'),
        (["data", "mak"], 'did you mean "data make"?'),
        (["data", "mak", "--help"], 'command "data mak" is unknown'),
        (["nothing-like-it"], "there are generate"),
    ],
)
def test_unknown_commands_are_refused_with_the_list(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (InputError("frames is 0; it must be at least 2"), 2, "videofusion: frames is 0; it must be at least 2"),
        (RunError("the disk is full"), 1, "videofusion: the disk is full"),
        (OSError(28, "No space left on device", "a.mp4"), 1, "videofusion: a.mp4: No space left on device"),
        (KeyError("a bug"), 1, "videofusion: unexpected KeyError: 'a bug' (VIDEOFUSION_DEBUG=1 shows where)"),
        (KeyboardInterrupt(), 130, "videofusion: stopped"),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(
    error: BaseException, code: int, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        raise error

    monkeypatch.delenv("VIDEOFUSION_DEBUG", raising=False)
    fake_command(monkeypatch, run)
    assert cli.main(["fake"]) == code
    assert capsys.readouterr().err == sentence + "\n"


def test_debug_shows_where_an_error_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        raise RunError("the disk is full")

    monkeypatch.setenv("VIDEOFUSION_DEBUG", "1")
    fake_command(monkeypatch, run)
    with pytest.raises(RunError):
        cli.main(["fake"])


def test_a_command_s_own_exit_code_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_command(monkeypatch, lambda: 3)
    assert cli.main(["fake"]) == 3


def test_a_warning_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("the model does not know zebra", stacklevel=1)

    fake_command(monkeypatch, run)
    assert cli.main(["fake"]) == 0
    assert capsys.readouterr().err == "videofusion: warning: the model does not know zebra\n"


@pytest.mark.parametrize("words", [["generate"], ["generate", "a", "-o", "a.mp4", "--franes", "2"], ["train", "tiny"]])
def test_wrong_options_are_refused_with_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert words[0] in captured.err
    assert "Traceback" not in captured.err


def test_a_misspelled_option_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generate", "a red three", "-o", "x.mp4", "--setps", "3"]) == 2
    assert "--setps, 3; did you mean --steps?" in capsys.readouterr().err


def test_a_reader_that_has_enough_ends_a_command_quietly() -> None:
    command = [sys.executable, "-m", "videofusion", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # before anything is written
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_broken_pipe_of_the_command_s_own_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(words: list[str]) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(cli, "_run", broken)
    assert cli.main(["models"]) == 1
    assert "Broken pipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("own", "kept"), [({}, "1000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "a"}, None)]
)
def test_threads_wait_politely_unless_told_otherwise(
    own: dict[str, str], kept: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["--help"]) == 0
    assert os.environ.get("GOMP_SPINCOUNT") == kept
