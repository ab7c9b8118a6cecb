"""SIGTERM, SIGINT and SIGHUP (a terminal that was closed) as requests to stop, which the loop reads between steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP is not known to Windows
STOPS = tuple(signal.Signals[name] for name in ("SIGTERM", "SIGINT", "SIGHUP") if name in signal.Signals.__members__)


def exit_code(name: str | None) -> int:
    """What a command ends with after the signal of that name, 128 + its number; 0 if the name is of none."""
    return 128 + signal.Signals[name] if name is not None and name in signal.Signals.__members__ else 0


class StopSignal:
    """The signal that came, if one did: `name` is None or that of one of `STOPS`."""

    name: str | None = None

    @property
    def number(self) -> int:
        """Its number; 0 if none came."""
        return 0 if self.name is None else signal.Signals[self.name]


@contextmanager
def stop_signal(*, patient: bool = False) -> Iterator[StopSignal]:
    """Within the block the first of `STOPS` is only noted; a second one acts as usual.

    What is ignored stays so, as SIGHUP under nohup.

    Args:
        patient: a second SIGTERM or SIGHUP is only noted, too: a scheduler sends it to all processes of a job, and
            torchrun then once more to those that it started. So is one that comes after an error, which is still to be
            told: where a process of several ended, torchrun sends it to the others at once.
    """
    seen = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield seen  # Python delivers signals to the main thread only
        return
    former = {number: signal.getsignal(number) for number in STOPS}
    former = {number: handler for number, handler in former.items() if handler != signal.SIG_IGN}

    def restore(*numbers: signal.Signals) -> None:
        for number in numbers:
            signal.signal(number, former[number])

    def note(number: int, frame: FrameType | None) -> None:
        seen.name = signal.Signals(number).name
        if not (patient and number != signal.SIGINT):
            restore(*former)

    for number in former:
        signal.signal(number, note)
    try:
        yield seen
    except BaseException:
        restore(*(number for number in former if not patient or number == signal.SIGINT))
        raise
    restore(*former)
