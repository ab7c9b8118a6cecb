"""Confidence intervals of rates."""

import numpy as np
import pytest

from videofusion.errors import InputError
from videofusion.evaluation.metrics.proportions import Rate


def test_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for truth in (0.5, 0.9, 0.97):
        hits = rng.binomial(400, truth, size=2000)
        covered = [low <= truth <= high for low, high in (Rate(hits=int(h), count=400).interval for h in hits)]
        assert 0.93 < np.mean(covered) < 0.975


@pytest.mark.parametrize("hits", [0, 7])
def test_interval_at_the_ends_stays_in_range_and_is_not_empty(hits):
    low, high = Rate(hits=hits, count=7).interval
    assert 0 <= low < high <= 1
    assert low <= hits / 7 <= high


def test_counting_and_its_record():
    rate = Rate.of([True, False, True, True])
    assert rate.value == 0.75
    assert rate.record()["hits"] == 3
    assert str(rate).startswith("75.0 %")


def test_no_outcomes_are_refused():
    with pytest.raises(InputError, match="outcome"):
        Rate.of([])
