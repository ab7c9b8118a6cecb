"""`videofusion models`."""

from __future__ import annotations

import textwrap

from videofusion.models import SHIPPED


def models() -> None:
    """List the models that --model knows by name, and the words that each understands."""
    for model in SHIPPED.values():
        print(f"{model.name}  ({model.megabytes:.1f} MB)\n  {model.summary}")
        print(f'  for example: videofusion generate "{model.example}" --model {model.name} -o clip.mp4')
        words = ", ".join(model.words) or "none: it is missing from this installation"
        print(textwrap.fill(f"words: {words}", 100, initial_indent="  ", subsequent_indent="    "))
