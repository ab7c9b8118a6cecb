"""Which built-in domain a model makes clips of, if any."""

from __future__ import annotations

from pathlib import Path

from videofusion.domains import domain_with, domains
from videofusion.models import find
from videofusion.trusted import read_config


def domain_of(model: str | Path) -> str | None:
    """The built-in domain of a model, by name; None for any other model and where it is not known.

    Args:
        model: a folder with a `model_index.json`, or a shipped model's name.

    Raises:
        InputError: there is no such model, or it cannot be read.
    """
    folder = find(model)
    data = read_config(folder / "model_index.json").get("data")
    if data:
        domain = domain_with(str(data))
        return None if domain is None else domain.name
    # Models of earlier versions do not say it, but know the captions' words.
    config = folder / "text_encoder" / "config.json"
    words = read_config(config).get("words") if config.is_file() else None
    known = sorted(map(str, words)) if isinstance(words, list) and words else None
    return next((name for name, domain in domains().items() if known == sorted(domain.words())), None)
