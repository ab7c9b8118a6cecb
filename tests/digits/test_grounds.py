from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from videofusion.diffusion.noise import base_frame
from videofusion.digits.grounds import COLUMNS, PHOTOS, TOP, draw_grounds
from videofusion.digits.moving_digits import FASTEST_PAN, MovingDigits, render
from videofusion.digits.spec import COLOURS, GREY_OVER_PHOTO, Ground
from videofusion.errors import InputError


def crop(**changes: object) -> Ground:
    return Ground(**{"photo": 0, "split": "train", "start": (20.0, 60.0), **changes})  # type: ignore[arg-type]


def shared(clips: Tensor) -> Tensor:
    """Squared correlation of the other frames with the middle one, each channel's mean removed: [b t-1]."""
    flat = (clips - clips.mean((3, 4), keepdim=True)).flatten(2)
    middle = base_frame(clips.shape[1])
    base = flat[:, middle : middle + 1]
    rho = (flat * base).sum(2) / (flat.square().sum(2) * base.square().sum(2)).sqrt()
    return torch.cat([rho[:, :middle], rho[:, middle + 1 :]], 1).clamp(min=0).square()


@pytest.mark.parametrize("split", COLUMNS)
def test_frames_share_four_fifths_of_their_variance(split: str) -> None:
    """The domain's reason to be; on plain grounds it is a fifth."""
    over, plain = (
        shared(MovingDigits(16, 32, split, 0.2, grounds=grounds).batch(range(300)).clip)
        for grounds in ("photos", "plain")
    )
    assert over.median() == pytest.approx(0.8, abs=0.05)
    assert plain.median() < 0.3


def test_captions_and_digits_are_those_on_plain_grounds() -> None:
    over, plain = (MovingDigits(two_digits=0.5, grounds=grounds).specs(range(50)) for grounds in ("photos", "plain"))
    assert [spec.objects for spec in over] == [spec.objects for spec in plain]
    assert all(spec.background is None and spec.ground is not None for spec in over)
    assert {spec.ground.photo for spec in over if spec.ground} == set(range(len(PHOTOS)))


@pytest.mark.parametrize("options", [{}, {"only_middle": True, "crop": 16}, {"static": True, "grey": True}])
def test_a_clip_depends_on_its_numbers_only(options: dict) -> None:
    digits = MovingDigits(16, 32, "val", 0.5, grounds="photos", **options)
    batch = digits.batch([4, 700, 4, 2], epoch=1, seed=3)
    assert torch.equal(batch.clip[0], batch.clip[2])
    for row, index in enumerate([4, 700]):
        alone = MovingDigits(16, 32, "val", 0.5, grounds="photos", **options).sample(index, epoch=1, seed=3)
        torch.testing.assert_close(alone.clip, batch.clip[row], rtol=0, atol=1e-5)


def test_splits_show_parts_of_the_photographs_that_do_not_touch() -> None:
    ends = sorted(COLUMNS.values())
    assert (ends[0][0], ends[-1][1]) == (0, 1)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(ends))
    # The farthest corner of a part, and the camera going on over its end, stay in it: no row or column is repeated.
    far = draw_grounds([crop(start=(10_000.0, 10_000.0)), crop(pan=(7.0, 3.0))], 30, 32)
    assert all((edge != 0).any() for edge in (far.diff(dim=-1)[..., -1], far.diff(dim=-2)[..., -1, :]))


def test_the_ground_goes_the_way_of_the_pan() -> None:
    still, whole = (draw_grounds([crop(pan=pan)], 4, 32)[0, :, 0] for pan in ((0.0, 0.0), (1.0, 2.0)))
    assert (still == still[:1]).all()
    for t in range(4):
        torch.testing.assert_close(whole[t, : 32 - 2 * t, : 32 - t], still[0, 2 * t :, t:], rtol=0, atol=1e-5)


def test_the_camera_is_slow_and_rests_in_half_of_the_clips() -> None:
    specs = MovingDigits(grounds="photos").specs(range(600))
    paces = torch.tensor([spec.ground.pan for spec in specs if spec.ground]).norm(dim=1)
    assert paces.max() <= FASTEST_PAN
    assert (paces == 0).float().mean() == pytest.approx(0.5, abs=0.06)
    stills = MovingDigits(3, static=True, grounds="photos").batch(range(20)).clip
    assert (stills == stills[:, :1]).all()


def test_every_colour_stands_out_from_every_ground() -> None:
    """A ground is grey and not above TOP; a colour is not grey, or is above it."""
    ground = draw_grounds([crop(photo=photo, start=(9.0 * i, 9.0 * i)) for photo in (0, 1) for i in range(12)], 1, 32)
    assert ground.min() >= -1
    assert ground.max() <= TOP + 1e-6
    for red_green_blue in (*COLOURS.values(), GREY_OVER_PHOTO):
        values = torch.tensor(red_green_blue) * 2 - 1
        assert values.max() - values.min() > 1 or values.min() > TOP + 0.3


def test_a_larger_canvas_shows_the_same() -> None:
    specs = MovingDigits(3, two_digits=0.5, grounds="photos").specs(range(12))
    small = render(specs, 3, 32)
    for times in (2, 4):
        large = avg_pool2d(render(specs, 3, 32 * times).flatten(0, 1), times).reshape(small.shape)
        shifts = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))
        apart = {shift: (small - large.roll(shift, (-2, -1))).abs().mean() for shift in shifts}
        nearest = apart.pop((0, 0))
        assert nearest < 0.1
        assert nearest < 0.6 * min(apart.values())


def test_unknown_grounds_are_refused() -> None:
    with pytest.raises(InputError, match='grounds is "sand"; it can be plain, photos'):
        MovingDigits(grounds="sand")
