"""The end of the line is nearer to the truth than any distance on it."""

import numpy as np
import pytest

from videofusion.errors import InputError
from videofusion.evaluation.metrics.extrapolation import frechet_at_infinity
from videofusion.evaluation.metrics.frechet import bootstrap, feature_distance


@pytest.mark.parametrize("n", [800, 1600])
def test_near_the_distance_of_the_gaussians(n):
    rng = np.random.default_rng(0)
    truth = 40 * (0.3**2 + 0.2**2)
    real, made = rng.normal(size=(n, 40)), rng.normal(0.3, 1.2, size=(1000, 40))
    found = frechet_at_infinity(real, made)
    assert found.count == 1000
    assert found.at_count == pytest.approx(feature_distance(real, made), rel=1e-9)
    bias = found.at_count - truth
    assert bias > 0.5
    assert abs(found.at_infinity - truth) < bias / 3
    assert found.misfit < bias
    assert found == frechet_at_infinity(real, made)
    assert "N = 1000" in str(found)


def test_its_interval_covers_the_distance_of_the_gaussians_and_that_of_the_value_at_n_does_not():
    """Over samples of 300: the value's own interval is around a distance that is too large by its bias."""
    rng = np.random.default_rng(2)
    truth = 10 * (0.15**2 + 0.1**2)
    covered, biased, ends = [], [], []
    for seed in range(40):
        real, made = rng.normal(size=(300, 10)), rng.normal(0.15, 1.1, size=(300, 10))
        found = frechet_at_infinity(real, made, points=6, replicates=20, seed=seed)
        low, high = found.interval
        assert (low + high) / 2 == pytest.approx(found.at_infinity)
        covered.append(low < truth < high)
        ends.append(found.at_infinity)
        spread = bootstrap(lambda drawn: feature_distance(real, drawn), made, replicates=20)  # noqa: B023
        biased.append(spread.interval[0] < truth < spread.interval[1])
    assert np.mean(covered) >= 0.85
    assert np.mean(biased) < 0.6
    assert abs(np.mean(ends) - truth) < 4 * np.std(ends) / len(ends) ** 0.5


def test_two_sets_of_one_law_are_not_told_apart_and_the_same_set_twice_is_at_zero():
    rng = np.random.default_rng(3)
    one, two = rng.normal(size=(2, 400, 10))
    low, high = frechet_at_infinity(one, two, replicates=20).interval
    assert low < 0 < high
    for same in (one, one[rng.permutation(400)]):
        found = frechet_at_infinity(one, same, replicates=20)
        assert (found.at_count, found.at_infinity, found.interval) == (0, 0, (0, 0))
    assert frechet_at_infinity(one, two).interval is None


def test_bad_input_is_refused():
    features = np.random.default_rng(1).normal(size=(300, 3))
    with pytest.raises(InputError, match="allow_few"):
        frechet_at_infinity(features, features[:255])
    for wrong in ({"least": 300}, {"least": 1}, {"points": 2}):
        with pytest.raises(InputError, match="least is"):
            frechet_at_infinity(features, features, **wrong)
    with pytest.raises(InputError, match="replicates is 1; it must be 0, or 2 or more"):
        frechet_at_infinity(features, features, replicates=1)
