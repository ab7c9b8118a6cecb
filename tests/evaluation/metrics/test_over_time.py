"""Flicker, warping error, drift and consistency, of clips and features whose course is known."""

import math

import pytest
import torch

from videofusion.errors import InputError
from videofusion.evaluation.metrics.over_time import (
    content_drift,
    flicker,
    flow_magnitude,
    frame_consistency,
    unoccluded,
    warping_error,
)

WIDE = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1


def moving(dx: int, dy: int, t: int = 4):
    """A window on a still picture, so that what is seen moves by (dx, dy) pixels a frame, and the flow."""
    frames = [WIDE[..., 8 - dy * i : 16 - dy * i, 12 - dx * i : 20 - dx * i] for i in range(t)]
    flow = torch.tensor([float(dx), float(dy)]).reshape(1, 1, 2, 1, 1).expand(2, t - 1, 2, 8, 8)
    return torch.stack(frames, dim=1), flow


def turning(angle: float, t: int = 5):
    course = angle * torch.arange(t)
    return torch.stack([course.cos(), course.sin()], dim=-1)[None] * torch.rand(1, t, 1).add(0.5)


def test_flicker_is_the_part_of_the_range_that_a_pixel_changes():
    still = WIDE[:, None].expand(2, 4, 3, 24, 24)
    assert flicker(still).tolist() == [0, 0]
    signs = torch.tensor([1.0, -1.0, 1.0]).reshape(1, 3, 1, 1, 1)
    assert flicker(signs.expand(1, 3, 1, 4, 4)).item() == 1
    assert flicker(0.25 * signs.expand(1, 3, 1, 4, 4)).item() == 0.25


@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (0, 2), (1, -2), (-1, 1)])
def test_what_moves_along_its_flow_has_no_warping_error(dx, dy):
    clips, flow = moving(dx, dy)
    torch.testing.assert_close(warping_error(clips, flow), torch.zeros(2).double(), rtol=0, atol=1e-12)
    assert (warping_error(clips, -flow) > 0.05).all()
    assert (warping_error(clips, flow.flip(2)) > 0.05).all() or dx == dy
    torch.testing.assert_close(flow_magnitude(flow), torch.full((2,), math.hypot(dx, dy)))


def test_parts_of_a_pixel_are_interpolated():
    ramp = torch.linspace(-0.5, 0.5, 9).expand(1, 1, 1, 9, 9)
    clips = torch.cat([ramp, ramp - 0.125 / 2], dim=1)  # moved right by half a pixel
    flow = torch.tensor([0.5, 0.0]).reshape(1, 1, 2, 1, 1).expand(1, 1, 2, 9, 9)
    assert warping_error(clips, flow).item() == pytest.approx(0, abs=1e-12)


def test_warping_error_of_a_known_change_is_of_values_in_0_1():
    clips = torch.zeros(1, 2, 3, 8, 8)
    clips[:, 1] = 0.4
    assert warping_error(clips, torch.zeros(1, 1, 2, 8, 8)).item() == pytest.approx(0.2**2)


def test_what_is_not_seen_does_not_count():
    clips, flow = moving(1, 0)
    spoilt, seen = clips.clone(), torch.ones(2, 3, 8, 8, dtype=torch.bool)
    spoilt[:, 0, :, 2, 3] *= -1
    seen[:, 0, 2, 3] = False
    assert (warping_error(spoilt, flow) > 1e-4).all()
    torch.testing.assert_close(warping_error(spoilt, flow, seen), torch.zeros(2).double(), rtol=0, atol=1e-12)
    with pytest.raises(InputError, match="clip 0 has no pixel"):
        warping_error(clips, flow, torch.zeros_like(seen))


def test_there_and_back_tells_what_is_seen():
    _, flow = moving(2, 0)
    found = unoccluded(flow, -flow)
    assert found[..., :6].all()
    assert not found[..., 6:].any()  # these leave the frame
    assert not unoccluded(flow, flow).any()


def test_features_that_turn_drift_by_the_cosine():
    angle = 0.3
    drift = content_drift(turning(angle))
    torch.testing.assert_close(drift[0], 1 - (angle * torch.arange(5).double()).cos(), rtol=0, atol=1e-6)
    assert frame_consistency(turning(angle)).item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_order_matters_to_neighbours():
    features = turning(0.3, 8)
    shuffled = features[:, [0, 4, 1, 6, 3, 7, 2, 5]]
    assert frame_consistency(shuffled).item() < frame_consistency(features).item()


@pytest.mark.parametrize("measure", [content_drift, frame_consistency])
@pytest.mark.parametrize("features", [torch.zeros(1, 3, 4), torch.ones(1, 1, 4), torch.ones(3, 4), torch.ones(0, 3, 4)])
def test_features_without_a_direction_or_a_course_are_refused(measure, features):
    with pytest.raises(InputError, match="features"):
        measure(features)


def test_bad_clips_and_flow_are_refused():
    clips, flow = moving(1, 0)
    with pytest.raises(InputError, match="one frame"):
        flicker(clips[:, :1])
    with pytest.raises(InputError, match="clips"):
        flicker(clips * torch.nan)
    with pytest.raises(InputError, match="flow has the shape"):
        warping_error(clips, flow[:, :1])
    with pytest.raises(InputError, match="finite"):
        warping_error(clips, flow * torch.inf)
    with pytest.raises(InputError, match="bool"):
        warping_error(clips, flow, torch.ones(2, 3, 8, 8))
    with pytest.raises(InputError, match="forward"):
        unoccluded(clips[:, :, :1], flow)
