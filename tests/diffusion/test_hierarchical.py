"""The hierarchical sampler: plain sampling where it can be, and never more than a window at once."""

from __future__ import annotations

import pytest
import torch
from gaussian import Gaussian
from torch import Tensor

from videofusion.diffusion import Conditions, Prediction, get_sampler, make_schedule, times
from videofusion.diffusion.hierarchical import Hierarchical, key_frames
from videofusion.errors import InputError

SCHEDULE = make_schedule("cosine")
NOTHING = Conditions()


class Recorder:
    """A denoiser whose frames all depend on all that it sees, and which notes what that was."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        frames = range(z.shape[1]) if conditions.frames is None else conditions.frames.tolist()
        self.seen.append(list(frames))
        alpha, sigma = (scale.reshape(*scale.shape, *(1,) * (5 - scale.ndim)) for scale in SCHEDULE.alpha_sigma(t))
        x0 = 0.5 * z + 0.1 * z.mean(dim=1, keepdim=True)
        return Prediction(z, x0, (z - alpha * x0) / sigma, alpha, sigma)


def clips(frames: int) -> Tensor:
    return torch.randn(2, frames, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sampler", ["ddim", "dpm++", "heun"])
@pytest.mark.parametrize("frames", [2, 5, 8])
def test_one_window_is_plain_sampling(sampler: str, frames: int) -> None:
    stops, told = times(SCHEDULE, 4), {"schedule": SCHEDULE, "conditions": NOTHING}
    plain = get_sampler(sampler)(Recorder(), clips(frames), stops, **told)
    assert torch.equal(get_sampler(sampler)(Hierarchical(Recorder(), 8), clips(frames), stops, **told), plain)


@pytest.mark.parametrize("frames", [9, 20, 51, 64])
def test_of_an_image_model_it_is_plain_sampling_at_any_length(frames: int) -> None:
    alone = torch.eye(1, dtype=torch.float64)

    class Alone:
        def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
            found = Gaussian(SCHEDULE, torch.zeros(1, dtype=torch.float64), 0.3 * alone, alone)(
                z.flatten(0, 1)[:, None], t, conditions
            )
            x0, eps = (each[:, 0].unflatten(0, z.shape[:2]) for each in (found.x0, found.eps))
            return Prediction(z, x0, eps, found.alpha, found.sigma)

    t = torch.full((2,), 0.5)
    plain = Alone()(clips(frames), t, NOTHING)
    found = Hierarchical(Alone(), 8)(clips(frames), t, NOTHING)
    torch.testing.assert_close(found.x0, plain.x0)
    torch.testing.assert_close(found.eps, plain.eps)


@pytest.mark.parametrize("frames", [9, 16, 50, 51, 64, 200])
def test_never_more_than_a_window_is_seen(frames: int) -> None:
    denoiser = Recorder()
    found = Hierarchical(denoiser, 8)(clips(frames), torch.full((2,), 0.5), NOTHING)
    assert max(map(len, denoiser.seen)) <= 8
    assert found.x0.isfinite().all()
    torch.testing.assert_close(found.alpha * found.x0 + found.sigma * found.eps, clips(frames))
    together = Recorder()
    Hierarchical(together, 8, together=True)(clips(frames), torch.full((2,), 0.5), NOTHING)
    assert together.seen[0] == key_frames(frames, 8)
    if frames <= 50:
        assert together.seen == denoiser.seen


def test_frames_between_are_seen_with_their_two_key_frames_which_are_not_changed_by_them() -> None:
    denoiser, t = Recorder(), torch.full((2,), 0.5)
    found = Hierarchical(denoiser, 4)(clips(9), t, NOTHING)
    assert denoiser.seen == [[0, 3, 6, 8], [0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8]]
    keys = Recorder()(clips(9)[:, [0, 3, 6, 8]], t, NOTHING)
    torch.testing.assert_close(found.x0[:, [0, 3, 6, 8]], keys.x0)
    group = Recorder()(clips(9)[:, 3:7], t, NOTHING)
    torch.testing.assert_close(found.x0[:, 4:6], group.x0[:, 1:-1])


def test_frames_may_stand_at_times_of_their_own_and_have_conditions_of_their_own() -> None:
    t = torch.linspace(0.2, 0.8, 18).reshape(2, 9)
    told = Conditions(share=torch.linspace(0, 1, 18).reshape(2, 9))
    shares: list[Tensor] = []

    class Looks(Recorder):
        def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
            shares.append(conditions.share)
            return super().__call__(z, t, conditions)

    found = Hierarchical(Looks(), 4)(clips(9), t, told)
    torch.testing.assert_close(found.alpha[:, :, 0, 0, 0], SCHEDULE.alpha_sigma(t)[0])
    assert torch.equal(shares[0], told.share[:, [0, 3, 6, 8]])


def test_a_window_has_room_for_a_frame_between() -> None:
    with pytest.raises(InputError, match="window is 2; it must be at least 3"):
        Hierarchical(Recorder(), 2)
