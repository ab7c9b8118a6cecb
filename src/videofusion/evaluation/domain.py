"""Which of the built-in domains a model makes clips of: what only those can be asked applies to no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videofusion.domains import domain_with, domains
from videofusion.errors import InputError
from videofusion.models import find


def domain_of(model: str | Path) -> str | None:
    """The built-in domain of a model, by name; None for any other model and where it is not known.

    Args:
        model: a folder with a `model_index.json`, or a shipped model's name.

    Raises:
        InputError: there is no such model, or it cannot be read.
    """
    folder = find(model)
    data = _settings(folder / "model_index.json").get("data")
    if data:
        domain = domain_with(str(data))
        return None if domain is None else domain.name
    # Models of earlier versions do not say it, but know the captions' words.
    config = folder / "text_encoder" / "config.json"
    words = _settings(config).get("words") if config.is_file() else None
    known = sorted(map(str, words)) if isinstance(words, list) and words else None
    return next((name for name, domain in domains().items() if known == sorted(domain.words())), None)


def _settings(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{file} cannot be read: it holds no json object")
    return values
