"""Which process works in a run folder, and how it ended: `session.json`, and `crash.txt` for errors."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from videofusion.errors import InputError, RunError
from videofusion.training.run_folder import Result

FILE, CRASH = "session.json", "crash.txt"


@contextmanager
def session(run: Path) -> Iterator[Callable[[Result], None]]:
    """Within the block the run folder says that this process trains in it; after it, how that ended.

    Yields:
        what is told the result, when there is one. An exception instead of it is a crash, whose reason stays in
        the folder.

    Raises:
        RunError: the folder cannot be written to.
    """
    began = {"host": socket.gethostname(), "pid": os.getpid(), "process": process_start(os.getpid())}
    try:
        _write(run, {"state": "running", **began})
    except OSError as error:
        raise RunError(f"could not write to {run}: {error}") from error

    def tell(result: Result) -> None:
        state = "finished" if result.exit_code == 0 else "stopped"
        _write(run, {"state": state, "reason": result.stopped_by, "step": result.step})

    try:
        yield tell
    except KeyboardInterrupt:  # the second one; the first only asks the loop to end
        _try(lambda: _write(run, {"state": "stopped", "reason": "KeyboardInterrupt"}))
        raise
    except BaseException as error:
        _crashed(run, error)
        raise


def process_start(pid: int) -> str | None:
    """When a process began, in the kernel's clock ticks; None if it is not there, or the system does not say so.

    With it a process can be told from a later one of the same number.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]  # a zombie works no more


def is_alive(found: dict[str, Any]) -> bool:
    """Whether the process of a `session.json` of this machine still runs."""
    pid = found["pid"]
    if found.get("process") is not None:
        return process_start(pid) == found["process"]
    try:
        os.kill(pid, 0)  # asks only
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _crashed(run: Path, error: BaseException) -> None:
    text = str(error) if isinstance(error, InputError | RunError) else f"{type(error).__name__}: {error}"
    reason = (text.strip().splitlines() or [type(error).__name__])[0]
    now = time.strftime("%Y-%m-%d %H:%M:%S")

    def write() -> None:
        _write(run, {"state": "crashed", "reason": reason})
        with (run / CRASH).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{now}  {reason}\n\n{''.join(traceback.format_exception(error))}\n")

    _try(write)


def _try(write: Callable[[], None]) -> None:
    """Write if that is possible: a full disk must not hide the error that is to be told."""
    with contextlib.suppress(OSError):
        write()


def _write(run: Path, values: dict[str, Any]) -> None:
    new = run / f".{FILE}.new"
    new.write_text(json.dumps({**values, "time": round(time.time(), 3)}) + "\n", encoding="utf-8")
    new.replace(run / FILE)
