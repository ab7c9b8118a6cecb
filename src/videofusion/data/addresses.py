"""Addresses of shards: a file alone never causes a fetch, and never provides a command.

The user says what may be fetched, and how: with `--fetch` on the command line, or with `fetching` in Python.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import IO, Any

from videofusion.errors import InputError, printable

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*", re.IGNORECASE)
_LETTERS = re.compile(r"[A-Za-z0-9._~:/?#@&+,=%\[\]-]+")  # none that a shell or a terminal reads in another way
_WAIT = 60.0  # seconds without a byte, after which a server is given up
# Of urllib's handlers those for the web: the default ones also open local files.
_WEB = (
    urllib.request.ProxyHandler,
    urllib.request.HTTPHandler,
    urllib.request.HTTPSHandler,
    urllib.request.HTTPRedirectHandler,
    urllib.request.HTTPDefaultErrorHandler,
    urllib.request.HTTPErrorProcessor,
    urllib.request.UnknownHandler,
)


@dataclass(frozen=True)
class Fetch:
    """How addresses are fetched.

    Args:
        command: a program and its arguments, one of which holds "{}", the place of the address; over the web when
            empty.
    """

    command: tuple[str, ...] = ()

    @staticmethod
    def of(text: str) -> Fetch:
        """What `--fetch` takes: "https", or a command such as "aws s3 cp {} -", which writes the shard to its output.

        Raises:
            InputError: neither.
        """
        if text == "https":
            return Fetch()
        try:
            command = tuple(shlex.split(text))
        except ValueError:
            command = ()
        if not any("{}" in word for word in command[1:]):
            raise InputError(
                f'fetch is "{text}"; it must be "https", or a command with {{}} in place of the address, as in '
                '"aws s3 cp {} -"'
            )
        return Fetch(command)

    def check(self, url: str) -> None:
        """Raise InputError for an address that this does not fetch."""
        scheme = scheme_of(url)
        if scheme in ("pipe", "exec", "file"):
            raise InputError(
                f'"{printable(url)[:80]}" is not an address; an index may not name commands or local files: give a '
                'command with --fetch "COMMAND {}", and local shards by file name'
            )
        if not _LETTERS.fullmatch(url):
            raise InputError(f'"{printable(url)[:80]}" has characters that are not allowed in an address')
        if not self.command and scheme not in ("https", "http"):
            raise InputError(
                f'"{url[:80]}" is not a web address; --fetch "COMMAND {{}}" names a command that fetches it'
            )

    @contextmanager
    def open(self, url: str) -> Iterator[IO[bytes]]:
        """The bytes at an address.

        Raises:
            OSError: they do not come, or not all of them.
        """
        if not self.command:
            opener = urllib.request.OpenerDirector()
            for handler in _WEB:
                opener.add_handler(handler())
            with opener.open(url, timeout=_WAIT) as answer:
                yield answer
            return
        words = [word.replace("{}", url) for word in self.command]
        process: Any
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            try:
                yield process.stdout
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise OSError(f"{words[0]} ended with {process.returncode}")


_allowed: ContextVar[Fetch | None] = ContextVar("_allowed", default=None)


@contextmanager
def fetching(how: str | None) -> Iterator[None]:
    """Allow data that are opened within this context to name shards elsewhere.

    Args:
        how: see `Fetch.of`; nothing is allowed when None.
    """
    token = _allowed.set(None if how is None else Fetch.of(how))
    try:
        yield
    finally:
        _allowed.reset(token)


def allowed(url: str, index: str) -> Fetch:
    """How an address found in a file is fetched.

    Args:
        url: it.
        index: the file, for messages.

    Raises:
        InputError: it is no address that may be fetched.
    """
    how = _allowed.get()
    (how or Fetch(("", "{}"))).check(url)
    if how is None:
        raise InputError(
            f'"{index}" names the address {url[:80]}, which is not fetched unless you allow it with --fetch https '
            "(an option of `train` and of `data check`, `report`, `convert` and `encode`)"
        )
    return how


def scheme_of(url: str) -> str:
    """The scheme of an address in small letters, "" for a name of a file."""
    head, colon, rest = url.strip().partition(":")
    scheme = head.lower() if colon and _SCHEME.fullmatch(head) else ""
    return scheme if rest.startswith("//") or scheme in ("pipe", "exec", "file") else ""
