"""Diversity at one condition: of copies, of known points, and its spread."""

import pytest
import torch

from videofusion.errors import InputError
from videofusion.evaluation.metrics.diversity import condition_diversity


def test_of_known_points():
    # Distances 5 in the one condition and 1, 1, 2 in the other.
    found = condition_diversity([torch.tensor([[0.0, 0], [3, 4]]), torch.tensor([[0.0, 0], [1, 0], [2, 0]])])
    assert found.value == pytest.approx((5 + 4 / 3) / 2)
    assert found.deviation > 0


def test_of_copies_is_none_and_grows_with_their_scatter():
    points = torch.randn(10, 6, 3, generator=torch.Generator().manual_seed(0))
    assert condition_diversity([points[:1, 0].expand(4, -1)] * 3).value == 0
    once, twice = condition_diversity(list(points)), condition_diversity(list(2 * points + 5))
    assert twice.value == pytest.approx(2 * once.value, rel=1e-5)
    assert condition_diversity(list(points.flip(1))).value == pytest.approx(once.value)


@pytest.mark.parametrize(
    "made", [[], [torch.zeros(3, 2)], [torch.zeros(3, 2), torch.zeros(1, 2)], [torch.full((2, 2), torch.nan)] * 2]
)
def test_bad_input_is_refused(made):
    with pytest.raises(InputError, match="made"):
        condition_diversity(made)
