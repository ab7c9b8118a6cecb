"""Parts of frames that are given: kept to the bit, and followed place by place as whole frames are."""

from __future__ import annotations

import pytest
import torch
from gaussian import Gaussian, over_frames
from torch import Tensor

from videofusion.diffusion import Conditions, DecomposedNoise, Following, Keys, Known, bind, make_schedule, times
from videofusion.diffusion.samplers import SAMPLERS
from videofusion.errors import InputError

NOTHING = Conditions()
SHARE = torch.tensor([[0.5, 0.2, 1.0, 0.9]], dtype=torch.float64)
DECOMPOSED = DecomposedNoise().covariance(SHARE)
INDEPENDENT = torch.eye(4, dtype=torch.float64)[None]
POSITION = torch.arange(4.0, dtype=torch.float64)
DATA = 0.4 * torch.exp(-((POSITION[:, None] - POSITION) ** 2) / 4) + 0.02 * torch.eye(4, dtype=torch.float64)
MEAN = torch.tensor([0.3, -0.2, 0.1, 0.0], dtype=torch.float64)
SCHEDULE = make_schedule("cosine")
BOTH = pytest.mark.parametrize("noise", [INDEPENDENT, DECOMPOSED], ids=["independent", "decomposed"])


def gaussian(noise: Tensor) -> Gaussian:
    return Gaussian(SCHEDULE, MEAN, DATA, noise[0])


def clips(count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, 1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def moving_mask() -> Tensor:
    """Another column is made anew in each frame, the last frame is kept whole."""
    mask = torch.zeros(4, 1, 3, 4)
    for frame in range(3):
        mask[frame, :, :, frame] = 1
    return mask


@pytest.mark.parametrize("weight", [0.0, 2.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_is_outside_of_the_mask_comes_out_as_it_was_given(sampler: str, weight: float) -> None:
    given, mask = clips(seed=1), moving_mask()
    known = Known(given, range(4), weight, mask=mask)
    following = Following(gaussian(DECOMPOSED), known, DECOMPOSED.expand(2, -1, -1))
    noise = bind(DecomposedNoise(), given.shape, Keys.of([1, 2]), SHARE.expand(2, -1))
    made = SAMPLERS[sampler](
        following, noise(0).double(), times(SCHEDULE, 6), schedule=SCHEDULE, conditions=NOTHING, noise=noise
    )
    outside = (mask == 0).expand_as(given)
    torch.testing.assert_close(made[outside], given[outside])
    assert torch.equal(known.put(made)[outside], given[outside])
    assert torch.equal(known.put(made)[~outside], made[~outside])
    assert (made - given)[~outside].abs().min() > 1e-6


@BOTH
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_mask_of_nothing_is_none_and_one_of_all_gives_nothing(noise: Tensor, weight: float) -> None:
    z, t, given, denoiser = clips(), torch.full((2,), 0.5), clips(seed=1)[:, [0, 3]], gaussian(noise)
    covariance = noise.expand(2, -1, -1)
    whole = Following(denoiser, Known(given, (0, 3), weight), covariance)(z, t, NOTHING)
    kept = Following(denoiser, Known(given, (0, 3), weight, mask=torch.zeros(1, 1, 1, 1)), covariance)(z, t, NOTHING)
    torch.testing.assert_close(kept.x0, whole.x0)
    anew = Known(given, (0, 3), weight, mask=torch.ones(2, 1, 3, 4, dtype=torch.bool))
    torch.testing.assert_close(Following(denoiser, anew, covariance)(z, t, NOTHING).x0, denoiser(z, t, NOTHING).x0)


@BOTH
def test_each_place_follows_the_frames_that_are_given_there(noise: Tensor) -> None:
    """Pixels of this law are independent: each half of the picture is as if its own frames were given whole.

    The weight of 1 is one that an exact denoiser never has bounded (`Following`).
    """
    z, t, given, denoiser = clips(), torch.full((2,), 0.4), clips(seed=3), gaussian(noise)
    covariance = noise.expand(2, -1, -1)
    mask = torch.ones(4, 1, 3, 4)
    left, right = [0, 3], [1]
    mask[left, :, :, :2] = 0
    mask[right, :, :, 2:] = 0
    found = Following(denoiser, Known(given, range(4), 1.0, mask=mask), covariance)(z, t, NOTHING).x0
    for half, frames in ((slice(0, 2), left), (slice(2, 4), right)):
        alone = Following(denoiser, Known(given[:, frames], frames, 1.0), covariance)(z, t, NOTHING).x0
        torch.testing.assert_close(found[..., half], alone[..., half])


def test_a_step_never_makes_the_error_at_given_places_larger() -> None:
    denoiser, z, t, given = gaussian(DECOMPOSED), clips(), torch.full((2,), 0.3), clips(seed=3)
    mask = moving_mask()
    following = Following(denoiser, Known(given, range(4), 1.0, mask=mask), DECOMPOSED.expand(2, -1, -1))
    _, step, most = following._step(z, t, NOTHING, given)
    error = given - denoiser(z, t, NOTHING).x0

    def left(weight: Tensor) -> Tensor:
        rest = (error - weight * step) * (1 - mask)
        total = torch.zeros(2, dtype=torch.float64)
        for x in range(4):  # of each column its own frames are given
            at = [frame for frame in range(4) if not mask[frame, 0, 0, x]]
            column = rest[:, at, :, :, x : x + 1]
            inverse = torch.linalg.inv(DECOMPOSED[0][at][:, at])
            total += (column * over_frames(inverse, column)).sum(dim=(1, 2, 3, 4))
        return total

    assert (most >= 1).all()
    assert (left(most) <= torch.minimum(left(0.99 * most), left(1.01 * most))).all()
    assert (left(most) < left(0 * most)).all()


def test_a_frame_is_known_where_all_of_it_is() -> None:
    known = Known(clips(1)[0], range(4), mask=moving_mask())
    assert known.one(0) is None
    assert torch.equal(known.one(3), clips(1)[0, 3:])
    part = known.part(1)
    assert part is not None
    assert (part.at, part.frames.shape, part.mask.shape) == ((0,), (1, 1, 3, 4), (1, 1, 3, 4))
    assert Known(clips(1)[0, :2], (0, 1)).part(3) is None


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (torch.zeros(4, 1, 3, 5), "mask has the shape (4, 1, 3, 5); of these known frames it must be 4x1x3x4"),
        (torch.zeros(3, 1, 3, 4), "mask has the shape (3, 1, 3, 4)"),
        (torch.zeros(4, 3, 3, 4), "mask has the shape (4, 3, 3, 4)"),
        (torch.zeros(3, 4), "mask has the shape (3, 4)"),
        (torch.full((4, 1, 3, 4), 0.5), "mask holds other values than 0 (kept) and 1 (made anew)"),
        (torch.full((4, 1, 3, 4), torch.nan), "mask holds other values"),
    ],
)
def test_what_no_mask_can_be_is_refused(mask: Tensor, says: str) -> None:
    with pytest.raises(InputError) as refusal:
        Known(clips(1)[0], range(4), mask=mask)
    assert says in str(refusal.value)
