"""Which of the built-in domains a model makes clips of: what only those can be asked applies to no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from videofusion.digits.moving_digits import GROUNDS_OF
from videofusion.digits.words import WORDS
from videofusion.errors import InputError
from videofusion.models import find
from videofusion.recipes.recipe import OVER_PHOTOS


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
        if data in OVER_PHOTOS:
            return "moving-digits"
        return OVER_PHOTOS["moving-digits"] if data in OVER_PHOTOS.values() else None
    # Models of earlier versions do not say it, but know the captions' words, and there was one domain.
    config = folder / "text_encoder" / "config.json"
    words = _settings(config).get("words") if config.is_file() else None
    return "moving-digits" if isinstance(words, list) and sorted(map(str, words)) == sorted(WORDS) else None


def _settings(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{file} cannot be read: it holds no json object")
    return values


def grounds_of(model: str, data: str | None) -> str:
    """What is behind the digits that a model is judged on, "plain" or "photos".

    Args:
        model: its folder or name.
        data: the domain, where it is told; the model's own otherwise.

    Raises:
        InputError: it is not told, and the model is not known to make digits.
    """
    domain = domain_of(model) if data is None else data
    if domain is None:
        raise InputError(
            f"data is not given, and {model} is not known to make moving digits; --data with "
            f"{' or '.join(GROUNDS_OF)} judges it as if it did"
        )
    return GROUNDS_OF[domain]
