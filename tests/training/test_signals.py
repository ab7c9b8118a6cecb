"""SIGTERM, SIGINT and SIGHUP as wishes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from videofusion.training.signals import exit_code, stop_signal

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def raising() -> Iterator[None]:
    """What signals do outside: raise, so that they can be seen."""

    def act(number, frame):
        raise ChildProcessError(signal.Signals(number).name)

    former = {number: signal.signal(number, act) for number in SIGNALS}
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_is_noted_and_the_second_acts(number):
    with stop_signal() as seen:
        assert (seen.name, seen.number) == (None, 0)
        send(number)
        assert (seen.name, seen.number) == (number.name, number)
        with pytest.raises(ChildProcessError, match=number.name):
            send(number)


@pytest.mark.parametrize("patient", [False, True])
def test_afterwards_all_is_as_before(patient):
    with stop_signal(patient=patient):
        pass
    for number in SIGNALS:
        with pytest.raises(ChildProcessError):
            send(number)


def test_the_patient_note_every_sigterm_but_one_sigint():
    with stop_signal(patient=True) as seen:
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGTERM):
            send(number)
        assert seen.name == "SIGTERM"
        send(signal.SIGINT)
        with pytest.raises(ChildProcessError, match="SIGINT"):
            send(signal.SIGINT)


def test_what_is_ignored_stays_so():
    """As SIGHUP is under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_signal() as seen:
        send(signal.SIGHUP)
        assert seen.name is None
        send(signal.SIGTERM)
    assert seen.name == "SIGTERM"
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_command_ends_with_the_signals_number():
    assert {name: exit_code(name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "steps", None)} == {
        "SIGTERM": 143, "SIGINT": 130, "SIGHUP": 129, "steps": 0, None: 0
    }  # fmt: skip


@pytest.mark.parametrize("patient", [False, True])
def test_an_error_of_the_patient_is_told_before_sigterm_ends_them(patient):
    with pytest.raises(ValueError, match="told"), stop_signal(patient=patient):
        raise ValueError("told")
    if patient:
        send(signal.SIGTERM)
    else:
        with pytest.raises(ChildProcessError):
            send(signal.SIGTERM)
    with pytest.raises(ChildProcessError, match="SIGINT"):
        send(signal.SIGINT)
