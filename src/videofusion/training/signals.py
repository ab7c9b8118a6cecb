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


@contextmanager
def stop_signal() -> Iterator[StopSignal]:
    """Within the block the first SIGTERM or SIGINT is only noted; a second one acts as usual."""
    seen = StopSignal()
    if threading.current_thread() is not threading.main_thread():
        yield seen  # Python delivers signals to the main thread only
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        seen.name = signal.Signals(number).name
        restore()

    for number in former:
        signal.signal(number, note)
    try:
        yield seen
    finally:
        restore()
