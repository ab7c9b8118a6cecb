"""`videofusion models`."""

from __future__ import annotations

import textwrap

from videofusion.models import SHIPPED


def models() -> None:
    """List the models that --model knows by name, and the words that each understands."""
    for model in SHIPPED.values():
        if not model.folder.is_dir():
            print(f"{model.name}  (missing from this installation)\n  {model.summary}")
            continue
        print(f"{model.name}  ({model.shape}, {model.megabytes:.1f} MB)\n  {model.summary}")
        print(f'  for example: videofusion generate "{model.example}" --model {model.name} -o clip.mp4')
        print(textwrap.fill(f"words: {', '.join(model.words)}", 100, initial_indent="  ", subsequent_indent="    "))
