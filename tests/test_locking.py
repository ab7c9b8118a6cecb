"""One process at a time in a folder, whatever the others are and however they end."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from videofusion import locking
from videofusion.errors import InputError
from videofusion.locking import FILE, locked

FORKS = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def hold(folder: Path, with_child: bool = False) -> None:
    """Hold a folder's lock until a signal comes."""
    with locked(folder, "folder"):
        if with_child:
            child = FORKS.Process(target=time.sleep, args=(30,))
            child.start()
            (folder / "child").write_text(str(child.pid))
        (folder / "held").touch()
        time.sleep(30)


def held(folder: Path, **options: bool) -> multiprocessing.process.BaseProcess:
    process = FORKS.Process(target=hold, args=(folder,), kwargs=options)
    process.start()
    while not (folder / "held").exists():
        assert process.is_alive()
        time.sleep(0.01)
    return process


def test_a_second_process_is_told_the_folder_and_the_first_ones_number(tmp_path):
    process = held(tmp_path / "a")
    with (
        pytest.raises(InputError, match=rf"^folder .*/a is in use by process {process.pid}; .*$"),
        locked(tmp_path / "a", "folder"),
    ):
        pass
    (tmp_path / "a" / FILE).write_text("")  # as it is between taking the lock and saying who has it
    with pytest.raises(InputError, match="in use by another process"), locked(tmp_path / "a", "folder"):
        pass
    (tmp_path / "a" / FILE).write_text(json.dumps({"pid": 7, "host": "elsewhere"}))
    with pytest.raises(InputError, match="in use by process 7 on elsewhere"), locked(tmp_path / "a", "folder"):
        pass
    process.kill()
    process.join()
    with locked(tmp_path / "a", "folder"):
        pass


def test_a_kill_frees_it_though_a_process_that_was_forked_off_lives_on(tmp_path):
    process = held(tmp_path, with_child=True)
    process.kill()
    process.join()
    child = int((tmp_path / "child").read_text())
    try:
        os.kill(child, 0)  # it lives
        with locked(tmp_path, "folder"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)


def test_one_can_wait_for_the_other(tmp_path):
    process = held(tmp_path)
    began = time.monotonic()
    with pytest.raises(InputError, match="in use"), locked(tmp_path, "folder", patience=0.2):
        pass
    assert time.monotonic() - began >= 0.2
    process.kill()
    with locked(tmp_path, "folder", patience=10):
        process.join()


def test_what_it_made_goes_again_if_nothing_is_in_it(tmp_path):
    with locked(tmp_path / "a" / "b", "folder"):
        assert (tmp_path / "a" / "b" / FILE).exists()
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyError), locked(tmp_path / "mine", "folder"):
        raise KeyError
    assert not list((tmp_path / "mine").iterdir())
    with locked(tmp_path / "c", "folder"):
        (tmp_path / "c" / "made").touch()
    assert {path.name for path in (tmp_path / "c").iterdir()} == {FILE, "made"}


def test_a_place_that_cannot_be_used_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"folder .*file cannot be used: File exists"),
        locked(tmp_path / "file", "folder"),
    ):
        pass
    with pytest.raises(InputError, match="cannot be used: Not a directory"), locked(tmp_path / "file" / "x", "folder"):
        pass


class NoLocks:
    """A network's file system that was mounted without locks."""

    LOCK_EX = LOCK_NB = 0

    @staticmethod
    def flock(file: object, how: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")


@pytest.mark.parametrize(("module", "why"), [(None, "has no flock"), (NoLocks, "Operation not supported")])
def test_where_there_are_no_locks_a_warning_says_so(module, why, tmp_path, monkeypatch):
    monkeypatch.setattr(locking, "fcntl", module)
    with pytest.warns(UserWarning, match=f"run folder .* cannot be locked: .*{why}"), locked(tmp_path, "run folder"):
        pass


def count(folder: Path, rounds: int) -> None:
    """Read a number, wait, and write the next one: what is lost where two do so at a time."""
    for _ in range(rounds):
        with locked(folder, "folder", patience=60):
            path = folder / "number"
            number = int(path.read_text()) if path.exists() else 0
            time.sleep(0.001)
            path.write_text(str(number + 1))


def test_pairs_that_start_at_the_same_moment_lose_nothing(tmp_path):
    """Also where the folder is made, and goes again, by either."""
    pair = [FORKS.Process(target=count, args=(tmp_path / "new", 20)) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join()
        assert process.exitcode == 0
    assert (tmp_path / "new" / "number").read_text() == "40"


def come_and_go(folder: Path, rounds: int, inside: Path) -> None:
    """Make a folder by its lock, and let it go again, over and over; nobody else may be inside."""
    for _ in range(rounds):
        with locked(folder, "folder", patience=60):
            descriptor = os.open(inside, os.O_CREAT | os.O_EXCL)  # fails if the other one is there
            os.close(descriptor)
            inside.unlink()


def test_a_folder_that_comes_and_goes_is_held_by_one_at_a_time(tmp_path):
    arguments = (tmp_path / "a" / "new", 200, tmp_path / "inside")
    pair = [FORKS.Process(target=come_and_go, args=arguments) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join()
        assert process.exitcode == 0
