"""A histogram as inline SVG: how many clips have which value, kept ones and dropped ones apart."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

_WIDTH, _HEIGHT, _FOOT = 360, 110, 18


def histogram(title: str, kept: Sequence[float], dropped: Sequence[float], limits: Sequence[float], bins: int) -> str:
    """Draw one.

    Args:
        title: of what.
        kept: values of clips that are kept.
        dropped: values of the others, drawn on top of them.
        limits: values at which a line is drawn.
        bins: how many bars.
    """
    values = np.array([*kept, *dropped], float)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    high = high if high > low else low + 1
    edges = np.linspace(low, high, bins + 1)
    below, above = (np.histogram(np.array(part, float), edges)[0] for part in (kept, dropped))
    tallest = max(1, int((below + above).max()))
    bar = _WIDTH / bins
    shapes = []
    for number, (first, second) in enumerate(zip(below, above, strict=True)):
        told = f"{edges[number]:.4g} to {edges[number + 1]:.4g}: {first} kept, {second} dropped"
        tall, more = (_HEIGHT * int(count) / tallest for count in (first, second))
        box = f'x="{number * bar:.1f}" width="{bar - 1:.1f}"'
        shapes.append(
            f'<g><title>{escape(told)}</title><rect class="kept" {box} y="{_HEIGHT - tall:.1f}" height="{tall:.1f}"/>'
            f'<rect class="dropped" {box} y="{_HEIGHT - tall - more:.1f}" height="{more:.1f}"/></g>'
        )
    for limit in limits:
        x = _WIDTH * min(1.0, max(0.0, (limit - low) / (high - low)))
        shapes.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{_HEIGHT}"><title>{limit:.4g}</title></line>')
    foot = f'y="{_HEIGHT + 14}"'
    feet = f'<text x="0" {foot}>{low:.4g}</text><text x="{_WIDTH}" {foot} class="right">{high:.4g}</text>'
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT + _FOOT}" '
        f'width="{_WIDTH}" height="{_HEIGHT + _FOOT}">{"".join(shapes)}{feet}</svg></figure>'
    )
