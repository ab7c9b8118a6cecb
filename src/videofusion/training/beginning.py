"""What a run started with, kept in its folder: words, lambda and data, so that changes can be named."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videofusion.data.batch import Dataset
from videofusion.data.items import Item
from videofusion.errors import InputError
from videofusion.files import check_regular, parse_json

FILE = "data.json"
MOST_NAMED = 20_000  # clips that are kept by name, and whose files are looked at; of more a digest of names and texts
_MOST_LISTED = 3  # names in a sentence


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """What a run started with.

    Args:
        words: of its text encoder, in their order; None where that learns none.
        profiles: of the lambda measured on its data; None where it takes none from them.
        count: clips of its data, of all parts; None where they are made, or are not looked at one by one.
        digest: of all clips together; "" likewise.
        clips: a digest of the file and one of what is said of it, by name; none where there are too many.
    """

    words: list[str] | None
    profiles: list[list[float]] | None = None
    count: int | None = None
    digest: str = ""
    clips: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


def beginning(
    dataset: Dataset, words: Sequence[str] | None, profiles: Sequence[Sequence[float]] | None = None
) -> Beginning:
    """What a run that begins now has.

    A file is known by its size and time of change; it is not read. Where there are too many, not even that is asked.

    Args:
        dataset: of the run.
        words: see `Beginning`.
        profiles: likewise.
    """
    words = None if words is None else list(words)
    kept = None if profiles is None else [list(row) for row in profiles]
    items = getattr(dataset, "everything", None)
    if items is None or hasattr(items, "part"):  # which are fetched when one of them is asked for
        return Beginning(words=words, profiles=kept)
    stamps: dict[Path, str] = {}
    clips: dict[str, list[str]] = {}
    total, count = hashlib.blake2b(digest_size=16), len(items)
    for item in items:
        stamp = _short(_stamp((item.origin, item.span), stamps)) if count <= MOST_NAMED else ""
        facts = [stamp, _short(_said(item))]
        total.update(json.dumps([item.name, *facts]).encode())
        if count <= MOST_NAMED:
            clips[item.name] = facts
    return Beginning(words=words, profiles=kept, count=count, digest=total.hexdigest(), clips=clips)


def write_beginning(run: Path, began: Beginning) -> None:
    """Keep it in a run folder; raises OSError."""
    new = run / f".{FILE}.new"
    new.write_text(json.dumps(vars(began)) + "\n", encoding="utf-8")
    new.replace(run / FILE)


def read_beginning(run: Path) -> Beginning | None:
    """What the run in a folder began with; None where it has no checkpoint yet, and so begins.

    Of a run of a version that did not keep it, the words are those of its model.

    Raises:
        InputError: it cannot be read.
    """
    if not any(not path.name.startswith(".") for path in (run / "checkpoints").glob("*step-*")):
        return None
    path, model = run / FILE, run / "model" / "text_encoder" / "config.json"
    try:
        if path.exists():
            return Beginning(**_json(path))
        return Beginning(words=_json(model).get("words") if model.exists() else None)
    except (OSError, ValueError, TypeError, AttributeError) as error:
        kept = path if path.exists() else model
        raise InputError(f"{kept}, which says what the run began with, cannot be read: {error}") from error


def _json(path: Path) -> Any:
    check_regular(path)
    return parse_json(path.read_bytes())


def changes(began: Beginning, now: Beginning) -> str | None:
    """A sentence that names how data changed since a run began; None where they have not, or nothing is known.

    Args:
        began: with what it began.
        now: with what it would begin now.
    """
    if began.count is None or now.count is None or began.digest == now.digest:
        return None
    parts = []
    if began.clips and now.clips:
        both = began.clips.keys() & now.clips.keys()
        found = {
            "added": now.clips.keys() - began.clips.keys(),
            "missing": began.clips.keys() - now.clips.keys(),
            "another file (size or time of change)": {n for n in both if began.clips[n][0] != now.clips[n][0]},
            "another caption or label": {n for n in both if began.clips[n][1] != now.clips[n][1]},
        }
        parts = [f"{what}: {_listed(names)}" for what, names in found.items() if names]
    told = "; ".join(parts) or f"{began.count} clips then, {now.count} now, with other names, captions or order"
    return (
        f"the data are not those that the run began with: {told}; it goes on with what is there now, "
        "and not to the bits that it would have come to"
    )


def unknown_words(captions: Iterable[str], words: Sequence[str]) -> str | None:
    """A sentence that names the captions' words that a run does not know; None where it knows all.

    Args:
        captions: of the data.
        words: that the run began with.
    """
    from videofusion.conditioning.text import split_words

    known = set(words)
    new = {word for caption in captions for word in split_words(caption)} - known
    if not new:
        return None
    return (
        f"the captions have words that the run did not begin with and reads as unknown: {_listed(new)}; "
        "a run with start.model=THIS RUN learns them"
    )


def _listed(names: Iterable[str]) -> str:
    """Some names, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - _MOST_LISTED} more" if len(ordered) > _MOST_LISTED else ""
    return ", ".join(map(_plain, ordered[:_MOST_LISTED])) + more


def _plain(name: str) -> str:
    """A name as a terminal may show it: no control characters."""
    return name if name.isprintable() else ascii(name)


def _said(item: Item) -> str:
    return json.dumps([*item.captions, "", item.label, item.identity, item.action, item.split])


def _stamp(value: Any, stamps: dict[Path, str]) -> str:
    """What tells whether it is the same footage: of files size and time of change, wherever they lie."""
    if isinstance(value, Path):
        if value not in stamps:
            try:
                found = value.stat()
                stamps[value] = f"{found.st_size}-{found.st_mtime_ns}"
            except OSError:
                stamps[value] = "missing"
        return stamps[value]
    if isinstance(value, (tuple, list)):
        return f"({','.join(_stamp(each, stamps) for each in value)})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _stamp(tuple(getattr(value, each.name) for each in dataclasses.fields(value)), stamps)
    return str(value) if isinstance(value, (str, int, float, type(None))) else type(value).__name__


def _short(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
