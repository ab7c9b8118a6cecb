"""Built-in domains: clips that the package draws itself, and measures for models of such clips.

The library knows a domain by this table alone; a domain's module may import all of the library, and nothing of it
imports the module but by name, when a domain is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

# Modules with a function `domains()` that gives theirs.
MODULES = ("videofusion.digits.domain",)


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Clips of one kind that need no files. What takes torch is a function, imported when it is called.

    Args:
        name: what a recipe's `data` and `videofusion compare --data` call it.
        kinds: of a recipe's data that belong to it; the first is `name`, others are, for example, stills.
        dataset: from a recipe and a split ("train", "val", "test") to a `Dataset`.
        still: from a kind to the kind that is single frames of it.
        like: from a kind of any domain to the one here that shows the same, as stills for stills.
        about: from a recipe to what else tells its training clips from others of the domain, in words.
        measure: from a number of clips and of frames to how a comparison measures clips of the domain.
        rates: of the right answers that such a measure finds, those that stand in a table.
        shares: parts of the clips, in [0, 1], that stand beside them under names of their own.
        extractors: feature networks of its own by name, each a function of the name.
        metrics: that any protocol can add (`Metric`), of such networks.
        protocols: of its own (`Preset`).
        recipes: functions that return a `Recipe` for clips of the domain, by name.
        words: that only models of this domain know, where a model does not say what it was trained on; none otherwise.
    """

    name: str
    kinds: tuple[str, ...]
    dataset: Callable[[Any, str], Any]
    still: Mapping[str, str] = field(default_factory=dict)
    like: Callable[[str], str]
    about: Callable[[Any], tuple[str, ...]]
    measure: Callable[[int, int], Any]
    rates: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    extractors: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
    metrics: Callable[[], tuple[Any, ...]] = tuple
    protocols: Callable[[], tuple[Any, ...]] = tuple
    recipes: Callable[[], Mapping[str, Callable[[], Any]]] = dict
    words: Callable[[], tuple[str, ...]] = tuple


@lru_cache(maxsize=1)
def domains() -> dict[str, Domain]:
    """The domains by name."""
    found = (domain for module in MODULES for domain in importlib.import_module(module).domains())
    return {domain.name: domain for domain in found}


def domain_with(kind: str) -> Domain | None:
    """The domain that a kind of data belongs to; None for a folder."""
    return next((domain for domain in domains().values() if kind in domain.kinds), None)
