"""Bounds by value and by percentile."""

from __future__ import annotations

import pytest

from videofusion.curation.thresholds import Bound, check_columns, parse, reasons
from videofusion.errors import InputError

CLIPS = [{"motion": float(value), "text_area": None if value == 3 else 0.1} for value in range(11)]


def kept(*bounds: Bound) -> list[int]:
    return [number for number, against in enumerate(reasons(CLIPS, bounds)) if not against]


def test_by_value_the_bound_itself_is_kept():
    assert kept(parse("motion=4", least=True)) == [4, 5, 6, 7, 8, 9, 10]
    assert kept(parse("motion=4", least=False)) == [0, 1, 2, 3, 4]
    assert kept(parse("motion=4", least=True), parse("motion=5.5", least=False)) == [4, 5]
    assert kept() == list(range(11))


@pytest.mark.parametrize("percent", [0, 10, 25, 50, 100])
def test_a_percentile_drops_its_share(percent):
    assert len(kept(parse(f"motion=p{percent}", least=True))) == 11 - percent * 10 // 100 - (percent == 25)
    assert kept(parse("motion=p100", least=False)) == list(range(11))


def test_every_reason_is_named_with_its_value():
    against = reasons(CLIPS, [parse("motion=p50", least=True), parse("text_area=0.05", least=False)])
    assert against[2] == ["motion 2 is below 5 (p50)", "text_area 0.1 is above 0.05"]
    assert against[3] == ["motion 3 is below 5 (p50)", "no text_area"]


@pytest.mark.parametrize("text", ["motion", "motion=", "=1", "motion=x", "motion=p101", "motion=p-1", "motion=nan"])
def test_what_is_no_bound_is_refused(text):
    with pytest.raises(InputError, match=r"--min is"):
        parse(text, least=True)


def test_a_column_that_there_is_not_is_refused():
    check_columns([parse("motion=1", least=True)], ["motion"])
    with pytest.raises(InputError, match=r'"max motoin=p5" .* seconds, motion'):
        check_columns([parse("motoin=p5", least=False)], ["seconds", "motion"])
