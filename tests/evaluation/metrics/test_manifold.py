"""Precision, recall, density and coverage: of arranged sets, and against all distances at once."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from videofusion.errors import InputError
from videofusion.evaluation.metrics import manifold
from videofusion.evaluation.metrics.manifold import density_coverage, precision_recall


def both(real, made, k):
    pr, dc = precision_recall(real, made, k=k, allow_few=True), density_coverage(real, made, k=k, allow_few=True)
    return pr.precision, pr.recall, dc.density, dc.coverage


@pytest.mark.parametrize("block", [7, 1024])
@pytest.mark.parametrize("k", [1, 4])
def test_agrees_with_all_distances_at_once(monkeypatch, block, k):
    monkeypatch.setattr(manifold, "_BLOCK", block)
    rng = np.random.default_rng(0)
    real, made = rng.normal(size=(60, 3)) + 50, rng.normal(0.4, 0.8, size=(45, 3)) + 50
    across = cdist(real, made)
    real_radii, made_radii = (np.sort(cdist(x, x), axis=1)[:, k] for x in (real, made))
    within = across <= real_radii[:, None]
    expected = (
        within.any(axis=0).mean(),
        (across <= made_radii).any(axis=1).mean(),
        within.sum(axis=0).mean() / k,
        within.any(axis=1).mean(),
    )
    assert both(real, made, k) == pytest.approx(expected)
    assert 0 < min(expected[:2]) <= max(expected[:2]) < 1  # the sets tell something
    assert both(real[::-1], made[::-1], k) == pytest.approx(expected)


def test_half_of_it_far_away_is_half_as_precise():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(80, 2))
    precision, recall, density, coverage = both(real, np.concatenate([real, real + 1000]), 3)
    assert precision == 0.5
    assert recall == coverage == 1
    assert density == pytest.approx((3 + 1) / 3 / 2)  # a sample lies in its own ball and, on average, in k others


def test_a_missing_mode_is_missed_by_recall_and_coverage():
    rng = np.random.default_rng(2)
    modes = rng.normal(size=(2, 60, 2)) + np.array([0, 1000])[:, None, None]
    precision, recall, _, coverage = both(modes.reshape(-1, 2), modes[0], 3)
    assert precision == 1
    assert recall == coverage == 0.5


def test_one_far_outlier_stretches_recall_but_not_coverage():
    # What Naeem et al. 2020 hold against recall: a made outlier's ball swallows all real samples.
    rng = np.random.default_rng(3)
    real, made = rng.normal(size=(100, 2)) + 30, rng.normal(size=(100, 2))
    made[0] = 1000
    _, recall, _, coverage = both(real, made, 3)
    assert recall == 1
    assert coverage == 0


def test_bad_input_is_refused():
    features = np.random.default_rng(4).normal(size=(300, 2))
    for measure in (precision_recall, density_coverage):
        with pytest.raises(InputError, match="allow_few"):
            measure(features, features[:200])
        with pytest.raises(InputError, match="k is 300"):
            measure(features, features, k=300)
        with pytest.raises(InputError, match="finite"):
            measure(features, features * np.nan)
