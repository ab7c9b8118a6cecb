"""Closed forms of the Fréchet distance, and what its spread must do."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from videofusion.errors import InputError
from videofusion.evaluation.metrics.frechet import bootstrap, feature_distance, frechet_distance, moments


def gaussian(rng, d, rank=None):
    factor = rng.normal(size=(d, rank or d))
    return rng.normal(size=d), factor @ factor.T


def test_equal_gaussians_are_at_distance_zero():
    mu, cov = gaussian(np.random.default_rng(0), 12)
    assert frechet_distance(mu, cov, mu, cov) == pytest.approx(0, abs=1e-9 * np.trace(cov))


def test_one_dimension_has_the_textbook_form():
    distance = frechet_distance([1.0], [[4.0]], [-2.0], [[9.0]])
    assert distance == pytest.approx(3**2 + (2 - 3) ** 2)


def test_commuting_covariances_reduce_to_their_eigenvalues():
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    a, b = rng.uniform(0.1, 3, size=(2, 6))
    expected = np.sum((np.sqrt(a) - np.sqrt(b)) ** 2)
    zero = np.zeros(6)
    found = frechet_distance(zero, rotation * a @ rotation.T, zero, rotation * b @ rotation.T)
    assert found == pytest.approx(expected)


def test_agrees_with_the_matrix_square_root():
    rng = np.random.default_rng(2)
    mu1, cov1 = gaussian(rng, 8)
    mu2, cov2 = gaussian(rng, 8)
    overlap = np.trace(sqrtm(cov1 @ cov2)).real
    expected = np.sum((mu1 - mu2) ** 2) + np.trace(cov1 + cov2) - 2 * overlap
    assert frechet_distance(mu1, cov1, mu2, cov2) == pytest.approx(expected, rel=1e-8)


def test_symmetric_and_unmoved_by_a_rotation():
    rng = np.random.default_rng(3)
    mu1, cov1 = gaussian(rng, 5)
    mu2, cov2 = gaussian(rng, 5)
    q = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    there = frechet_distance(mu1, cov1, mu2, cov2)
    assert frechet_distance(mu2, cov2, mu1, cov1) == pytest.approx(there)
    turned = frechet_distance(q @ mu1, q @ cov1 @ q.T, q @ mu2, q @ cov2 @ q.T)
    assert turned == pytest.approx(there)


def test_singular_covariances_are_nothing_special():
    rng = np.random.default_rng(4)
    mu, cov = gaussian(rng, 20, rank=3)
    other = np.zeros((20, 20))
    # Against a point mass only the trace is left.
    assert frechet_distance(mu, cov, mu, other) == pytest.approx(np.trace(cov))
    assert frechet_distance(mu, cov, mu, cov) == pytest.approx(0, abs=1e-8 * np.trace(cov))


def test_features_that_are_constant_add_the_variance_of_the_other_set():
    rng = np.random.default_rng(12)
    mu1, cov1 = gaussian(rng, 6)
    mu2, cov2 = gaussian(rng, 6)
    cov1[[1, 4]] = cov1[:, [1, 4]] = 0
    rest = [0, 2, 3, 5]
    expected = frechet_distance(mu1[rest], cov1[np.ix_(rest, rest)], mu2[rest], cov2[np.ix_(rest, rest)])
    expected += np.sum((mu1 - mu2)[[1, 4]] ** 2) + np.trace(cov2[np.ix_([1, 4], [1, 4])])
    assert frechet_distance(mu1, cov1, mu2, cov2) == pytest.approx(expected)
    assert frechet_distance(mu2, cov2, mu1, cov1) == pytest.approx(expected)


def test_a_shift_of_the_features_is_its_square():
    features = np.random.default_rng(5).normal(size=(50, 4))
    assert feature_distance(features, features + 3, allow_few=True) == pytest.approx(4 * 9)


def test_spread_shrinks_with_the_samples_and_its_value_is_theirs():
    rng = np.random.default_rng(6)
    real = rng.normal(size=(4000, 3))
    made = rng.normal(size=(2000, 3)) + 1
    few = bootstrap(lambda f: feature_distance(real, f, allow_few=True), made[:50])
    many = bootstrap(lambda f: feature_distance(real, f), made)
    assert many.deviation < few.deviation / 3
    assert many.value == feature_distance(real, made)
    assert abs(many.value - 3) < 4 * many.deviation
    assert bootstrap(lambda f: feature_distance(real, f, allow_few=True), made[:50]) == few


@pytest.mark.parametrize("features", [np.zeros((1, 3)), np.zeros(3), np.full((4, 2), np.nan)])
def test_features_that_have_no_moments_are_refused(features):
    with pytest.raises(InputError, match="features"):
        moments(features)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="frechet_distance"):
        frechet_distance(np.zeros(2), np.eye(2), np.zeros(3), np.eye(3))
    with pytest.raises(InputError, match="finite"):
        frechet_distance(np.zeros(2), np.eye(2), np.zeros(2), np.eye(2) * np.nan)


@pytest.mark.parametrize(("n", "m"), [(30, 30), (30, 200), (200, 30)])
def test_few_samples_take_another_way_to_the_same_value(n, m):
    rng = np.random.default_rng(7)
    real, made = rng.normal(size=(n, 80)), rng.normal(size=(m, 80)) * rng.uniform(0, 2, 80) + 0.3
    expected = frechet_distance(*moments(real), *moments(made))
    assert feature_distance(real, made, allow_few=True) == pytest.approx(expected, rel=1e-9)


def test_under_256_samples_are_refused_unless_asked_for():
    few, enough = np.random.default_rng(8).normal(size=(255, 2)), np.random.default_rng(9).normal(size=(256, 2))
    feature_distance(enough, enough)
    for pair in ((few, enough), (enough, few)):
        with pytest.raises(InputError, match="255"):
            feature_distance(*pair)


def test_interval_covers_what_it_is_of_in_about_95_of_100_cases():
    rng = np.random.default_rng(10)
    spreads = [bootstrap(lambda x: float(x.mean()), rng.normal(2, 1, 60), seed=i) for i in range(300)]
    covered = [low < 2 < high for low, high in (spread.interval for spread in spreads)]
    assert 0.89 < np.mean(covered) < 0.985


def test_interval_of_a_distance_covers_the_mean_over_samples_of_that_number():
    rng = np.random.default_rng(11)
    mu, cov = np.zeros(2), np.eye(2)

    def distance(x):
        return frechet_distance(mu, cov, *moments(x))

    spreads = [bootstrap(distance, rng.normal(0.3, 1.2, (256, 2)), replicates=30, seed=i) for i in range(40)]
    mean = np.mean([spread.value for spread in spreads])
    assert np.mean([spread.interval[0] < mean < spread.interval[1] for spread in spreads]) > 0.8
