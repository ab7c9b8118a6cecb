"""The change at the base frame, on clips for which it is known."""

import json

import pytest
import torch

from videofusion.digits.moving_digits import MovingDigits
from videofusion.errors import InputError
from videofusion.evaluation.metrics.base_frame import MOST, base_frame_change, change_at_base_frame, over_clips


def walk(*changes):
    """A clip of grey frames whose value changes by these from frame to frame."""
    values = torch.tensor([0.0, *changes]).cumsum(0) - 0.5
    return values[None, :, None, None, None].expand(1, -1, 3, 4, 4)


@pytest.mark.parametrize(
    ("changes", "ratio"),
    [
        ([0.1, -0.1, 0.1, -0.1, 0.1], 1.0),
        ([0.1, -0.1, 0.4, -0.2, 0.1], 3.0),  # of 6 frames the base is frame 3: steps 2 and 3
        ([0.1, 0.4, 0.1, 0.1, 0.1], 1.0),  # a flash elsewhere is none here, and the median does not see it
        ([0.1, 0.3, 0.2, 0.2, 0.1], 2.0),
        ([0.2, 0.1, 0.05, -0.05, 0.2], 0.25),
        ([0.1, 0.2, 0.3, 0.3, 0.0], 3.0),  # the median of three steps
        ([0.1, 0.4, 0.2, 0.3], 1.5),  # of 5 frames the base is frame 2: steps 1 and 2; median of two steps
    ],
)
def test_known_changes(changes, ratio):
    assert change_at_base_frame(walk(*changes)).item() == pytest.approx(ratio, rel=1e-4)


def test_it_does_not_depend_on_how_much_all_changes():
    clips = torch.rand(4, 8, 3, 5, 5, generator=torch.Generator().manual_seed(0)) - 0.5
    torch.testing.assert_close(change_at_base_frame(clips), change_at_base_frame(clips * 0.1), rtol=1e-4, atol=0)


def test_what_stands_still_is_left_out_and_what_only_flashes_counts_as_most():
    still, flash, moving = walk(*[0.0] * 7), walk(0, 0, 0, 0.3, -0.3, 0, 0), walk(*[0.1, -0.1] * 3, 0.1)
    assert change_at_base_frame(still).isnan().all()
    assert change_at_base_frame(flash).item() == MOST
    found = base_frame_change(torch.cat([still, flash, moving, moving]))
    assert (found.clips, found.still, found.flashing) == (3, 1, 1)
    assert found.median == pytest.approx(1, rel=1e-4)
    assert found.mean == pytest.approx((MOST + 2) / 3, rel=1e-4)
    assert base_frame_change(still) is None
    assert base_frame_change(walk(0.1, 0.1)) is None  # of three frames, every step is at the middle one
    with pytest.raises(InputError, match="clips have 3 frames"):
        change_at_base_frame(walk(0.1, 0.1))
    with pytest.raises(InputError, match="must be finite"):
        change_at_base_frame(moving * float("nan"))


@pytest.mark.parametrize("grounds", ["plain", "photos"])
def test_real_clips_have_no_base_frame_and_a_shifted_hue_is_seen(grounds):
    clips = MovingDigits(16, 32, "test", grounds=grounds).batch(range(64)).clip
    real = base_frame_change(clips)
    assert real.median == pytest.approx(1, abs=0.1)
    assert real.median_interval[0] <= real.median <= real.median_interval[1]
    spoiled = clips.clone()
    spoiled[:, 8] = (spoiled[:, 8] + torch.tensor([0.1, 0.0, -0.1])[:, None, None]).clamp(-1, 1)
    assert base_frame_change(spoiled).median > 1.5
    elsewhere = clips.clone()
    elsewhere[:, 4] = (elsewhere[:, 4] + 0.1).clamp(-1, 1)
    assert base_frame_change(elsewhere).median == pytest.approx(real.median, abs=0.15)


def test_the_interval_covers_the_truth_and_the_record_is_json():
    drawn = torch.Generator().manual_seed(1)
    inside = 0
    for _ in range(60):
        found = over_clips(torch.randn(80, generator=drawn).exp())
        inside += found.median_interval[0] <= 1 <= found.median_interval[1]
    assert inside >= 51
    assert json.loads(json.dumps(found.record()))["clips"] == 80
