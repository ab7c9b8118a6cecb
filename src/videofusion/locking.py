"""A lock on a folder: one process at a time for runs, comparisons and other long work."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from videofusion.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE = ".lock"
_MOST_GONE = 1000  # times that a folder is found to be going
_held: set[IO[str]] = set()  # this process's locks


@contextmanager
def locked(folder: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Within the block no other process is in the folder; the system ends that with the process, however it dies.

    The folder is made if missing, and goes again if nothing is in it afterwards. Over NFS the lock holds where the
    server and all machines have locks (Linux passes them on); a file system without them gives a warning.

    Args:
        folder: that is to be used.
        what: it is, for messages ("run folder").
        patience: seconds to wait for the other process.

    Raises:
        InputError: another process is in the folder, or the folder cannot be used.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        file = _opened(folder, what, time.monotonic() + patience)
    except OSError as error:
        raise InputError(f"{what} {folder} cannot be used: {error.strerror or error}") from error
    _held.add(file)
    try:
        yield
    finally:
        _leave(folder, made)
        _held.discard(file)
        file.close()


def _opened(folder: Path, what: str, until: float) -> IO[str]:
    """The lock's file, held."""
    path = folder / FILE
    gone = 0
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        except (FileNotFoundError, FileExistsError):  # the folder is going with the process that had made it
            gone += 1
            if gone < _MOST_GONE:
                continue
            raise  # it is a link to nothing, or a file
        try:
            if _take(file, folder, what) and _is(file, path):
                break
        except BlockingIOError as error:
            owner = _owner(file)
            file.close()
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            raise InputError(f"{what} {folder} is in use{owner}; wait until it ends, or use another folder") from error
        except BaseException:
            file.close()
            raise
        file.close()
    file.truncate(0)
    file.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
    file.flush()
    return file


def _take(file: IO[str], folder: Path, what: str) -> bool:
    """Take the lock; raises BlockingIOError where another process has it. True, to read as a condition."""
    reason = "this system has no flock"
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            raise
        except OSError as error:  # a network's file system that was mounted without locks
            reason = f"its file system has no locks ({error.strerror or error})"
    warnings.warn(f"{what} {folder} cannot be locked: {reason}; do not start a second process in it", stacklevel=4)
    return True


def _is(file: IO[str], path: Path) -> bool:
    """Whether the open file is still what the path names: the last owner may have removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _owner(file: IO[str]) -> str:
    """Who has the lock, where the file says it already."""
    file.seek(0)
    try:
        found: Any = json.loads(file.read())
        here = found["host"] == socket.gethostname()
        return f" by process {int(found['pid'])}" + ("" if here else f" on {found['host']}")
    except (ValueError, KeyError, TypeError):  # it has only just been taken
        return " by another process"


def _leave(folder: Path, made: list[Path]) -> None:
    """Remove what the lock itself has made, if nothing else is there."""
    with contextlib.suppress(OSError):  # another process has just put something there
        if os.listdir(folder) == [FILE]:
            (folder / FILE).unlink()
            for path in made:
                path.rmdir()


def _let_go() -> None:
    """A process that is forked off, such as one that reads clips, may outlive its parent: it holds no lock."""
    for file in _held:
        file.close()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
