"""Frames in chunks: what is predicted of all together, and never more frames at once than are asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from videofusion.diffusion import Conditions, Prediction
from videofusion.diffusion.chunks import InChunks
from videofusion.errors import InputError


class Seeing:
    """A denoiser whose frames depend on their own number and on the first frame that it sees, and which notes them."""

    def __init__(self, *, first: bool) -> None:
        self.first, self.seen = first, list[list[int]]()

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        frames = torch.arange(z.shape[1]) if conditions.frames is None else conditions.frames
        self.seen.append(frames.tolist())
        x0 = z + frames[:, None, None, None] + (z[:, :1] if self.first else 0)
        scale = torch.ones(len(z), 1, 1, 1, 1)
        return Prediction(z, x0, z - x0, scale, scale)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_is_what_is_predicted_of_all_together(size: int, first: bool) -> None:
    if first and size == 1:
        pytest.skip("the first frame and another one are two")
    z, t = torch.randn(2, 7, 1, 2, 2), torch.tensor([0.3, 0.7])
    each = Seeing(first=first)
    found, whole = InChunks(each, size, first=first)(z, t, Conditions()), Seeing(first=first)(z, t, Conditions())
    assert torch.equal(found.x0, whole.x0)
    assert torch.equal(found.eps, whole.eps)
    assert max(map(len, each.seen)) <= size
    assert all(seen[0] == 0 for seen in each.seen) == (first or size == 7)


@pytest.mark.parametrize(("size", "first"), [(0, False), (1, True)])
def test_too_small_a_window_is_refused(size: int, first: bool) -> None:
    with pytest.raises(InputError, match=f"window is {size}; it must be at least {size + 1}"):
        InChunks(Seeing(first=first), size, first=first)
