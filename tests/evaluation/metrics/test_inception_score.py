"""The Inception Score where it is known."""

import numpy as np
import pytest

from videofusion.errors import InputError
from videofusion.evaluation.metrics.inception_score import InceptionScore, inception_score


def test_no_class_known_scores_one():
    found = inception_score(np.full((300, 7), 1 / 7))
    assert found.value == pytest.approx(1)
    assert found.deviation == pytest.approx(0, abs=1e-12)


def test_all_classes_surely_known_score_their_number():
    assert inception_score(np.eye(5)[np.arange(300) % 5], splits=3).value == pytest.approx(5)


def test_splits_are_scored_apart():
    # The first half shows one class, the second half two: scores 1 and 2.
    found = inception_score(np.eye(2)[np.r_[np.zeros(150, int), np.arange(150) % 2]], splits=2)
    assert found.value == pytest.approx(1.5)
    assert found.deviation == pytest.approx(0.5)


def test_logits_are_what_probabilities_come_from():
    logits = 3 * np.random.default_rng(0).normal(size=(301, 6)) + 800
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    assert inception_score(logits=logits).value == pytest.approx(inception_score(p).value)


@pytest.mark.parametrize("size", [1, 13, 300])
def test_parts_score_as_the_whole_does(size):
    logits = np.random.default_rng(1).normal(size=(301, 6))
    found = InceptionScore(6, 301, 10)
    for start in range(0, 301, size):
        found.update(logits=logits[start : start + size])
    whole = inception_score(logits=logits)
    assert found.score().value == pytest.approx(whole.value, rel=1e-12)
    assert found.score().deviation == pytest.approx(whole.deviation, rel=1e-9)


def test_bad_input_is_refused():
    p = np.full((300, 4), 0.25)
    for give in ({}, {"probabilities": p, "logits": p}):
        with pytest.raises(InputError, match="either"):
            inception_score(**give)
    with pytest.raises(InputError, match="sum to 1"):
        inception_score(2 * p)
    with pytest.raises(InputError, match="allow_few"):
        inception_score(p[:200])
    with pytest.raises(InputError, match="splits"):
        inception_score(p[:5], splits=6, allow_few=True)
    started = InceptionScore(4, 310)
    started.update(p)
    with pytest.raises(InputError, match="300 of 310"):
        started.score()
    with pytest.raises(InputError, match="600"):
        started.update(p)
