"""Which of the built-in domains a model makes clips of: what only those can be asked applies to no others."""

from __future__ import annotations

import json
from pathlib import Path

from videofusion.data.digits_captions import WORDS
from videofusion.data.moving_digits import GROUNDS_OF
from videofusion.errors import InputError
from videofusion.models import find
from videofusion.training.recipe import OVER_PHOTOS


def domain_of(model: str | Path) -> str | None:
    """The built-in domain of a model, by name; None for any other model and where it is not known.

    Args:
        model: a folder with a `model_index.json`, or a shipped model's name.
    """
    folder = find(model)
    data = json.loads((folder / "model_index.json").read_text(encoding="utf-8")).get("data")
    if data:
        if data in OVER_PHOTOS:
            return "moving-digits"
        return OVER_PHOTOS["moving-digits"] if data in OVER_PHOTOS.values() else None
    # Models of earlier versions do not say it, but know the captions' words, and there was one domain.
    config = folder / "text_encoder" / "config.json"
    words = json.loads(config.read_text(encoding="utf-8")).get("words", ()) if config.is_file() else ()
    return "moving-digits" if set(words) == set(WORDS) else None


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
