"""SIGTERM and SIGINT as a wish to stop, which the loop reads between steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopSignal:
    """The signal that came, if one did: `name` is None, "SIGTERM" or "SIGINT"."""

    name: str | None = None

    @property
    def number(self) -> int:
        """Its number; 0 if none came."""
        return 0 if self.name is None else signal.Signals[self.name]


@contextmanager
def stop_signal(*, patient: bool = False) -> Iterator[StopSignal]:
    """Within the block the first SIGTERM or SIGINT is only noted; a second one acts as usual.

    Args:
        patient: a second SIGTERM is only noted, too: a scheduler sends it to all processes of a job, and torchrun then
            once more to those that it started. So is one that comes after an error, which is still to be told: where
            a process of several ended, torchrun sends it to the others at once.
    """
    seen = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield seen  # Python delivers signals to the main thread only
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore(*numbers: signal.Signals) -> None:
        for number in numbers:
            signal.signal(number, former[number])

    def note(number: int, frame: FrameType | None) -> None:
        seen.name = signal.Signals(number).name
        if not (patient and number == signal.SIGTERM):
            restore(*former)

    for number in former:
        signal.signal(number, note)
    try:
        yield seen
    except BaseException:
        restore(*([signal.SIGINT] if patient else former))
        raise
    restore(*former)
