"""In parts, in any order, merged, or stopped and gone on with: the same as whole."""

import numpy as np
import pytest

from videofusion.errors import InputError
from videofusion.evaluation.metrics.frechet import feature_distance, moments
from videofusion.evaluation.metrics.inception_score import InceptionScore
from videofusion.evaluation.metrics.moments import FeatureSample, RunningMoments
from videofusion.evaluation.states import load_state, save_state

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(300, 6)) @ RNG.normal(size=(6, 6)) + 3


def running(*parts):
    found = RunningMoments(6)
    for part in parts:
        found.update(part)
    return found


def assert_same(found, features, rel=1e-12):
    mean, covariance = moments(features)
    assert found.count == len(features)
    np.testing.assert_allclose(found.mean, mean, rtol=rel)
    np.testing.assert_allclose(found.covariance, covariance, rtol=rel, atol=rel * np.abs(covariance).max())


@pytest.mark.parametrize("sizes", [[300], [1] * 300, [1, 99, 150, 50]])
def test_moments_in_parts_are_those_of_the_whole(sizes):
    assert_same(running(*np.split(FEATURES, np.cumsum(sizes)[:-1])), FEATURES)


def test_order_of_the_parts_makes_no_difference_to_moments():
    parts = np.split(FEATURES, 10)
    assert_same(running(*parts[::-1]), FEATURES)


def test_moments_merge():
    one, two = running(FEATURES[:40]), running(FEATURES[40:])
    one.merge(RunningMoments(6))
    one.merge(two)
    assert_same(one, FEATURES)
    assert_same(two, FEATURES[40:])


def test_a_mean_far_from_zero_costs_no_digits():
    whole = running(*np.split(FEATURES + 1e6, 30))
    np.testing.assert_allclose(whole.covariance, moments(FEATURES)[1], rtol=1e-7)
    # The sum of squares less the square of the sum would lose them.
    naive = ((FEATURES + 1e6) ** 2).mean(0) - (FEATURES + 1e6).mean(0) ** 2
    assert np.abs(naive / moments(FEATURES)[1].diagonal() - 1).max() > 1e-5


def test_distance_of_streams_is_that_of_the_sets():
    made = FEATURES * 1.2 + 0.1
    found = running(*np.split(FEATURES, 5)).distance(running(made))
    assert found == pytest.approx(feature_distance(FEATURES, made), rel=1e-9)
    with pytest.raises(InputError, match="allow_few"):
        running(FEATURES).distance(running(FEATURES[:255]))


def test_interval_of_a_mean_has_the_textbook_width():
    low, high = running(FEATURES).interval()
    np.testing.assert_allclose((high - low) / 2, 1.959964 * FEATURES.std(0, ddof=1) / 300**0.5, rtol=1e-6)


def sample(features, keys, limit=20, seed=0):
    found = FeatureSample(6, limit, seed)
    for part, some in zip(np.array_split(features, 7), np.array_split(keys, 7), strict=True):
        found.update(part, some.tolist())
    return found


def test_a_sample_depends_on_keys_and_seed_only():
    keys = np.arange(300)
    one = sample(FEATURES, keys)
    order = RNG.permutation(300)
    np.testing.assert_array_equal(one.features, sample(FEATURES[order], keys[order]).features)
    first, second = sample(FEATURES[:90], keys[:90]), sample(FEATURES[90:], keys[90:])
    first.merge(second)
    np.testing.assert_array_equal(one.features, first.features)
    assert one.count == first.count == 300
    assert one.features.shape == (20, 6)
    assert not np.array_equal(one.features, sample(FEATURES, keys, seed=1).features)


def test_a_sample_is_fair():
    # Each of 60 is drawn 10 times in 60, over 400 seeds: binomial, 66.7 expected with a deviation of 7.5.
    values = np.repeat(np.arange(60.0)[:, None], 6, axis=1)
    drawn = np.concatenate([sample(values, np.arange(60), 10, seed).features[:, 0] for seed in range(400)])
    counts = np.bincount(drawn.astype(int), minlength=60)
    assert np.abs(counts - 400 / 6).max() < 4.5 * 7.5


def test_what_is_fewer_than_the_limit_is_kept_whole():
    found = sample(FEATURES, np.arange(300), limit=1000).features
    np.testing.assert_array_equal(np.sort(found, axis=0), np.sort(FEATURES.astype(np.float32), axis=0))


def test_a_sample_that_comes_twice_is_refused():
    found = sample(FEATURES, np.arange(300), limit=300)
    with pytest.raises(InputError, match="twice"):
        found.update(FEATURES[:1], [5])


def test_a_stopped_evaluation_goes_on(tmp_path):
    file = tmp_path / "state.safetensors"
    logits = FEATURES[:, :3]

    def fresh():
        return {"fvd": RunningMoments(6), "kvd": FeatureSample(6, 50, 3), "is": InceptionScore(3, 300, 4)}

    def feed(found, rows):
        found["fvd"].update(FEATURES[rows])
        found["kvd"].update(FEATURES[rows], list(range(300))[rows])
        found["is"].update(logits=logits[rows])

    whole, stopped = fresh(), fresh()
    feed(whole, slice(0, 130))
    feed(whole, slice(130, 300))
    feed(stopped, slice(0, 130))
    save_state(file, stopped, done=130)
    again, done = load_state(file)
    assert done == 130
    feed(again, slice(130, 300))
    np.testing.assert_array_equal(again["fvd"].covariance, whole["fvd"].covariance)
    np.testing.assert_array_equal(again["kvd"].features, whole["kvd"].features)
    assert again["is"].score() == whole["is"].score()
    assert again["kvd"].count == 300


def test_files_that_are_no_state_are_refused(tmp_path):
    from safetensors.numpy import save_file

    wrong = tmp_path / "other.safetensors"
    save_file({"a": np.zeros(2)}, wrong)
    text = tmp_path / "text.safetensors"
    text.write_text("no")
    for file in (wrong, text, tmp_path / "missing.safetensors"):
        with pytest.raises(InputError, match="not the state"):
            load_state(file)
    with pytest.raises(InputError, match="a/b"):
        save_state(wrong, {"a/b": RunningMoments(2)}, done=0)


@pytest.mark.parametrize("features", [np.zeros((3, 5)), np.zeros((0, 6)), np.full((2, 6), np.inf), np.zeros(6)])
def test_a_bad_part_is_refused_and_changes_nothing(features):
    found, few = running(FEATURES), sample(FEATURES, np.arange(300))
    before = few.features
    with pytest.raises(InputError, match="features"):
        found.update(features)
    with pytest.raises(InputError, match="features"):
        few.update(features, list(range(400, 400 + len(features))))
    assert_same(found, FEATURES)
    np.testing.assert_array_equal(few.features, before)


def test_moments_of_too_few_samples_are_none():
    with pytest.raises(InputError, match="at least 2"):
        _ = running(FEATURES[:1]).covariance
    with pytest.raises(InputError, match="at least 1"):
        _ = RunningMoments(3).mean
