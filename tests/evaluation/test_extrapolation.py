"""The end of the line is nearer to the truth than any distance on it."""

import numpy as np
import pytest

from videofusion.errors import InputError
from videofusion.evaluation.extrapolation import frechet_at_infinity
from videofusion.evaluation.frechet import feature_distance


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


def test_bad_input_is_refused():
    features = np.random.default_rng(1).normal(size=(300, 3))
    with pytest.raises(InputError, match="allow_few"):
        frechet_at_infinity(features, features[:255])
    for wrong in ({"least": 300}, {"least": 1}, {"points": 2}):
        with pytest.raises(InputError, match="least is"):
            frechet_at_infinity(features, features, **wrong)
