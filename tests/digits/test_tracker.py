"""The tracker on rendered clips, whose contents are known to the pixel."""

import pytest
import torch

from videofusion.digits.drawing import positions
from videofusion.digits.moving_digits import evaluation_prompts, render
from videofusion.digits.networks import CROP
from videofusion.digits.spec import DIGIT_SIZE, ROOM
from videofusion.digits.tracker import COLOUR_NAMES, DIRECTION_NAMES, SPEED_NAMES, STILL, crops, track
from videofusion.errors import InputError


@pytest.fixture(scope="module")
def specs():
    return evaluation_prompts(96, held_out=True, seed=3)


@pytest.fixture(scope="module")
def found(specs):
    return track(render(specs, 16, 32))


def test_colour_direction_and_speed_of_real_clips(specs, found):
    things = [spec.objects[0] for spec in specs]
    assert [COLOUR_NAMES[i] for i in found.colour[:, 0]] == [thing.colour for thing in things]
    assert [DIRECTION_NAMES[i] for i in found.direction[:, 0]] == [thing.direction for thing in things]
    assert [SPEED_NAMES[i] for i in found.speed[:, 0]] == [thing.speed for thing in things]


def test_place_moves_with_the_digit_to_a_fraction_of_a_pixel(specs, found):
    truth = positions([spec.objects[0] for spec in specs], 16).float() * ROOM * 32 + DIGIT_SIZE * 16
    # The centre of the ink is not that of the square, but its distance from it does not change.
    offset = found.place[:, :, 0] - truth
    assert (offset - offset.mean(1, keepdim=True)).abs().max() < 0.5


@pytest.mark.parametrize("size", [32, 64])
def test_size_and_background_make_no_difference(specs, found, size):
    again = track(render(specs[:16], 16, size))
    assert torch.equal(again.colour, found.colour[:16])
    assert torch.allclose(again.place, found.place[:16], atol=0.6)
    assert torch.equal(again.direction, found.direction[:16])


def test_two_digits_are_told_apart_by_their_colours():
    specs = evaluation_prompts(64, held_out=False, seed=4, two_digits=True)
    found = track(render(specs, 16, 32), 2)
    right = 0
    for i, spec in enumerate(specs):
        by_colour = {COLOUR_NAMES[c]: k for k, c in enumerate(found.colour[i].tolist())}
        assert set(by_colour) == {thing.colour for thing in spec.objects}
        for thing in spec.objects:
            right += DIRECTION_NAMES[found.direction[i, by_colour[thing.colour]]] == thing.direction
    assert right >= 0.97 * 2 * len(specs)


def test_a_clip_that_stands_still_has_no_direction(specs):
    found = track(render(specs[:8], 16, 32)[:, :1].expand(-1, 16, -1, -1, -1))
    assert (found.direction == STILL).all()
    assert (found.speed == STILL).all()
    assert found.displacement.max() == 0


def test_an_empty_clip_has_no_ink_but_a_place():
    found = track(torch.full((1, 4, 3, 32, 32), -0.9))
    assert found.mass.sum() == 0
    assert torch.isfinite(found.place).all()


def test_time_reversed_is_the_opposite_course_where_nothing_bounces(specs):
    clips = render(specs[:24], 9, 32)  # frames 0 to 8 of every clip are free of bounces
    there, back = track(clips), track(clips.flip(1))
    assert torch.allclose(there.place, back.place.flip(1), atol=1e-4)
    assert torch.allclose(there.velocity, -back.velocity, atol=0.1)


def test_crops_are_the_same_wherever_the_digit_is(found):
    outline = crops(found, CROP)[:, :, 0]
    assert outline.shape == (96, 16, CROP, CROP)
    weight = outline / outline.sum((-1, -2), keepdim=True)
    axis = torch.arange(CROP, dtype=torch.float32) - (CROP - 1) / 2
    assert (weight.sum(-2) @ axis).abs().max() < 1
    # The digit's ink, moved by fractions of a pixel, stays nearly the same picture.
    assert (outline - outline.mean(1, keepdim=True)).abs().mean() < 0.03


@pytest.mark.parametrize(
    ("shape", "count"),
    [((1, 16, 3, 16, 16), 1), ((1, 16, 3, 32, 64), 1), ((16, 3, 32, 32), 1), ((1, 16, 3, 32, 32), 3)],
)
def test_what_it_cannot_look_at_is_refused(shape, count):
    with pytest.raises(InputError, match=r"clips|count"):
        track(torch.zeros(shape), count)
