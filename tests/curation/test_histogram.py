"""The picture of a column: as many clips as there are, in bars that stand where their values are."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from videofusion.curation.histogram import histogram


def bars(drawn: str, kind: str) -> list[tuple[float, float, float]]:
    figure = ElementTree.fromstring(drawn)
    found = [rect for rect in figure.iter("rect") if rect.get("class") == kind]
    return [tuple(float(rect.get(name)) for name in ("x", "y", "height")) for rect in found]


def test_bars_are_as_tall_as_clips_are_many_and_stand_on_each_other():
    drawn = histogram("a < b", [0, 0, 1, 2], [2, 2, 4], [3], bins=4)
    kept, dropped = bars(drawn, "kept"), bars(drawn, "dropped")
    tallest = 110 / 3  # three clips at 2
    assert [height for *_, height in kept] == pytest.approx([2 * tallest, tallest, tallest, 0], abs=0.1)
    assert [height for *_, height in dropped] == pytest.approx([0, 0, 2 * tallest, tallest], abs=0.1)
    assert dropped[2][1] + dropped[2][2] == pytest.approx(kept[2][1], abs=0.11)
    (line,) = ElementTree.fromstring(drawn).iter("line")
    assert float(line.get("x1")) == pytest.approx(360 * 3 / 4, abs=0.1)


@pytest.mark.parametrize("values", [[], [1.5], [2.0, 2.0]])
def test_one_value_or_none_is_drawn_too(values):
    assert sum(height for *_, height in bars(histogram("a", values, [], [], bins=5), "kept")) == 110 * bool(values)
