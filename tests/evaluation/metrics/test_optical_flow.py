"""Optical flow of pictures that move by a known step."""

import math
import sys

import pytest
import torch
from torch.nn.functional import avg_pool2d

from videofusion.errors import InputError
from videofusion.evaluation.metrics.means import MEANS, Seen
from videofusion.evaluation.metrics.optical_flow import optical_flow


def moving(dx: int, dy: int, t: int = 3, size: int = 32) -> torch.Tensor:
    """Two clips of a window on a smooth still picture, so that what is seen moves by (dx, dy) pixels a frame."""
    wide = torch.rand(2, 3, size + 26, size + 26, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        wide = avg_pool2d(wide, 5, 1)
    wide = 1.6 * (wide - wide.amin()) / (wide.amax() - wide.amin()) - 0.8
    frames = [wide[..., 8 - dy * i :, 8 - dx * i :][..., :size, :size] for i in range(t)]
    return torch.stack(frames, dim=1)


@pytest.mark.parametrize(("dx", "dy"), [(2, -1), (0, 0)])
def test_what_moves_has_its_step_as_flow_and_little_is_left_along_it(dx, dy):
    pytest.importorskip("cv2", reason="the extra flow is not installed")
    clips = moving(dx, dy)
    forward, backward = optical_flow(clips)
    assert forward.shape == backward.shape == (2, 2, 2, 32, 32)
    inner = (slice(None), slice(None), slice(None), slice(6, -6), slice(6, -6))
    step = torch.tensor([float(dx), float(dy)]).reshape(1, 1, 2, 1, 1)
    torch.testing.assert_close(forward[inner], step.expand_as(forward[inner]), rtol=0, atol=0.2)
    torch.testing.assert_close(backward[inner], -step.expand_as(forward[inner]), rtol=0, atol=0.2)
    seen = Seen(clips, ["a", "b"], {})
    magnitude, error, change = (MEANS[kind].of(seen, "", "") for kind in ("flow-magnitude", "warping-error", "flicker"))
    torch.testing.assert_close(magnitude.double(), torch.full((2,), math.hypot(dx, dy)).double(), rtol=0, atol=0.2)
    assert (error < 1e-3).all()
    assert (change > 0.02).all() == ((dx, dy) != (0, 0))
    spoilt = Seen(torch.where(torch.arange(3)[:, None, None, None] == 1, 0.5 * clips + 0.4, clips), ["a", "b"], {})
    assert (MEANS["warping-error"].of(spoilt, "", "") > 10 * error).all()


def test_what_has_no_flow():
    with pytest.raises(InputError, match="1 frames of 32x32 pixels; optical flow takes two"):
        optical_flow(moving(0, 0, t=1))
    with pytest.raises(InputError, match="3 frames of 15x15 pixels"):
        optical_flow(moving(0, 0, size=15))


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"videofusion\[flow\]"):
        optical_flow(moving(0, 0))
