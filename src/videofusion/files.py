"""Files: what is opened of those that others wrote, and how ours are written, whole or not at all.

What is written goes to another name in the same folder, which is renamed once the disk has it. What was there before
stays as it was if anything fails.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path
from typing import Any

from videofusion.errors import InputError, RunError

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")  # how files end that can run code when they are opened
_KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
_EMPTY = 100  # a file with so many times the bytes that the disk holds of it is a hole


def check_regular(path: str | Path, most: int | None = None) -> None:
    """Raise `OSError` for a path that is no regular file: a pipe would never end, nor would /dev/zero.

    Args:
        path: symbolic links are followed.
        most: bytes that it may have; any number when None.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in _KINDS if test(found.st_mode)), "a device")
        raise OSError(0, f"it is {kind}, not a regular file", str(path))
    if most is not None and found.st_size > most:
        raise OSError(0, f"it has {found.st_size:,} bytes, at most {most:,} are read", str(path))


def check_whole(path: str | Path) -> None:
    """Raise `OSError` for a path that is no regular file, or a sparse one: terabytes that nobody wrote."""
    check_regular(path)
    found = os.stat(path)
    stored = 512 * getattr(found, "st_blocks", 0)
    if 0 < stored * _EMPTY < found.st_size:
        raise OSError(0, f"it is sparse: {stored:,} of its {found.st_size:,} bytes are on the disk", str(path))


def parse_json(text: str | bytes, *, unique: bool = False, nan_is_null: bool = False) -> Any:
    """What a json text says; all that can be wrong with it is a `ValueError`.

    Args:
        text: in UTF-8, with or without its mark.
        unique: refuse an object that has a key twice, which readers understand in two ways.
        nan_is_null: read NaN and Infinity, which pandas writes where there is nothing, as nothing.
    """
    text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
    try:
        constant = (lambda _: None) if nan_is_null else None
        value = json.loads(text, object_pairs_hook=_once if unique else None, parse_constant=constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        if "set_int_max_str_digits" in str(error):  # of Python's own words the second half helps nobody
            raise ValueError("it has a number of thousands of digits") from None
        raise
    if "\\u" in text or not text.isascii():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("it holds half a character (a lone surrogate)") from None
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice = next(key for key in values if sum(key == each for each, _ in pairs) > 1)
        raise ValueError(f"it has the key {twice!r} twice")
    return values


def refuse_pickles(path: Path) -> None:
    """Raise `InputError` if `path` is, or the folder `path` holds, a pickled checkpoint."""
    found = [path] if path.is_file() else sorted(path.rglob("*")) if path.is_dir() else []
    for file in found:
        if file.suffix in PICKLES:
            raise InputError(
                f"{file} is a pickle, which can run code when it is opened and is refused; convert it where you "
                'trust it: safetensors.torch.save_file(torch.load(file, weights_only=True), "x.safetensors")'
            )


def write_whole(path: str | Path, data: bytes) -> None:
    """Write a file that is there with all of its bytes, or not at all.

    Raises:
        RunError: the disk is full, the folder went away, ...
    """
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: str | Path) -> Iterator[BufferedRandom]:
    """Open a file to be written piece by piece, that is there with all of its bytes, or not at all.

    Raises:
        RunError: the disk is full, the folder went away, ...
    """
    with whole_path(path) as name, name.open("x+b") as file:
        yield file


@contextmanager
def whole_path(path: str | Path) -> Iterator[Path]:
    """A name to write a file to, for a writer that takes names; the file is then there whole, or not at all.

    Raises:
        RunError: the disk is full, the folder went away, ...
    """
    with writing(path), replacing(path) as name:
        yield name


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """As `whole_path`, for who tells of errors in words of its own.

    Raises:
        OSError: the disk is full, the folder went away, ...
    """
    target = Path(path).expanduser().resolve()  # through a link, to what it points at
    name = beside(target)
    try:
        yield name
        give_usual_mode(name)
        sync(name)  # a full disk may show only here
        os.replace(name, target)
    finally:
        name.unlink(missing_ok=True)


def beside(target: Path) -> Path:
    """A name in the folder of a file that no other file has."""
    return target.parent / f".{secrets.token_hex(8)}.part"


def sync(path: Path) -> None:
    """Force a file or a folder's list of names to the disk, so that a rename after it is safe."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_folder(target: Path, fill: Callable[[Path], None]) -> None:
    """Make the folder `target` out of what `fill` writes: whole, or not at all.

    An existing `target` is replaced; it is set aside until the new one stands in its place
    (see `recover_folder`).

    Raises:
        RunError: the disk is full or the place not writable; what was there before is still there.
    """
    new = aside(target)
    old = target.with_name(f".{target.name}.old")
    with writing(target):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            fill(new)
            give_usual_mode(new)
            for path in sorted(new.rglob("*")):
                sync(path)
            sync(new)
            if target.exists():
                shutil.rmtree(old, ignore_errors=True)
                target.rename(old)
            new.rename(target)
            sync(target.parent)
            shutil.rmtree(old, ignore_errors=True)
        except (Exception, KeyboardInterrupt):  # a second Ctrl-C
            recover_folder(target)
            raise


@contextmanager
def writing(target: str | Path) -> Iterator[None]:
    """Within the block an error of the disk is a RunError."""
    try:
        yield
    except Exception as error:
        # safetensors reports a full disk as an error of its own, not as an OSError
        if isinstance(error, OSError) or type(error).__module__.startswith("safetensors"):
            reason = getattr(error, "strerror", None) or error
            raise RunError(f'"{target}" could not be written: {reason}; what was there before is kept') from error
        raise


def aside(target: Path) -> Path:
    """Where `write_folder` has a folder filled, before it takes its place."""
    return target.with_name(f".{target.name}.new")


def recover_folder(target: Path) -> None:
    """Clear away what `write_folder` left where it was stopped; the former `target` comes back if there is none."""
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(aside(target), ignore_errors=True)
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def give_usual_mode(place: Path) -> None:
    """Give a file, or all files in a folder, the mode that new files of this user have; safetensors writes 0600.

    Args:
        place: the file or folder, which no other process uses yet.

    Raises:
        OSError: the disk is full, ...
    """
    files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    # the mask itself cannot be read without setting it for all threads
    probe = place / ".mode" if place.is_dir() else place.with_name(f".{place.name}.mode")
    probe.touch()
    mode = stat.S_IMODE(probe.stat().st_mode)
    probe.unlink()
    for path in files:
        path.chmod(mode)
