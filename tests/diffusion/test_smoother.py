"""The interleaved-frame smoother: what is smooth stays, what flickers does so less, at the chosen steps only."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from videofusion.diffusion import Conditions, Prediction, get_sampler, make_schedule, times
from videofusion.diffusion.smoother import InterleavedSmoother, along_flow, halfway
from videofusion.errors import InputError

SCHEDULE = make_schedule("cosine")
STOPS = times(SCHEDULE, 10)


def prediction(x0: Tensor, t: Tensor) -> Prediction:
    alpha, sigma = (scale.reshape(1, 1, 1, 1, 1) for scale in SCHEDULE.alpha_sigma(t.double()))
    eps = torch.ones_like(x0)
    return Prediction(alpha * x0 + sigma * eps, x0, eps, alpha, sigma)


def flickering(frames: int = 7) -> Tensor:
    return torch.randn(2, frames, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("frames", [1, 2, 5, 6])
def test_a_static_clip_and_one_that_changes_evenly_stay_as_they_are(frames: int) -> None:
    smoother = InterleavedSmoother(STOPS, range(10))
    still = flickering(1).expand(-1, frames, -1, -1, -1)
    even = still + torch.arange(frames).reshape(1, -1, 1, 1, 1) * flickering(1).flip(-1)
    for t in STOPS[:-1]:
        for clip in (still, even):
            torch.testing.assert_close(smoother(prediction(clip, t), t).x0, clip)


def test_a_static_clip_stays_static_through_an_autoencoder_that_has_errors() -> None:
    smoother = InterleavedSmoother(
        STOPS, (4, 5), decode=lambda z: 0.9 * z.round(decimals=2), encode=lambda clip: clip.round(decimals=1)
    )
    still = flickering(1).expand(-1, 6, -1, -1, -1)
    found = smoother(prediction(still, STOPS[4]), STOPS[4]).x0
    assert torch.equal(found, found[:, :1].expand_as(found))
    assert not torch.equal(found, still)


def test_odd_frames_are_replaced_at_one_step_and_even_ones_at_the_next() -> None:
    smoother, clip = InterleavedSmoother(STOPS, (4, 5)), flickering()
    changed = []
    for number, t in enumerate(STOPS[:-1]):
        found = smoother(prediction(clip, t), t)
        assert torch.equal(found.eps, torch.ones_like(clip))  # the noise that was predicted is kept
        if not torch.equal(found.x0, clip):
            changed.append((number, (found.x0 != clip).flatten(2).any(2)[0].nonzero().flatten().tolist()))
    assert changed == [(4, [1, 3, 5]), (5, [2, 4])]
    found = smoother(prediction(clip, STOPS[5]), STOPS[5]).x0
    torch.testing.assert_close(found[:, 2], (clip[:, 1] + clip[:, 3]) / 2)


def test_a_long_clip_is_smoothed_a_few_frames_at_once() -> None:
    seen: list[int] = []

    def decode(z: Tensor) -> Tensor:
        seen.append(z.shape[1])
        return z

    smoother, clip = InterleavedSmoother(STOPS, (4, 5), decode=decode, encode=lambda clip: clip), flickering(21)
    for step, first in ((4, 1), (5, 2)):
        expected = clip.clone()
        for frame in range(first, 20, 2):
            expected[:, frame] = (clip[:, frame - 1] + clip[:, frame + 1]) / 2
        torch.testing.assert_close(smoother(prediction(clip, STOPS[step]), STOPS[step]).x0, expected)
    assert max(seen) <= 10


def test_another_interpolator_is_asked_with_neighbours() -> None:
    asked: list[tuple[Tensor, Tensor]] = []

    def after_it(before: Tensor, after: Tensor) -> Tensor:
        asked.append((before, after))
        return after

    clip = flickering()
    found = InterleavedSmoother(STOPS, (0,), interpolate=after_it)(prediction(clip, STOPS[0]), STOPS[0]).x0
    assert torch.equal(asked[0][0].unflatten(0, (2, 3)), clip[:, [0, 2, 4]])
    assert torch.equal(found[:, [1, 3, 5]], clip[:, [2, 4, 6]])


def blob(x: float, size: int = 64) -> Tensor:
    """A round thing with its centre there [1 3 h w]."""
    place = torch.arange(float(size))
    picture = torch.exp(-((place - x) ** 2 + (place[:, None] - size / 2) ** 2) / 50)
    return (2 * picture - 1).expand(1, 3, -1, -1)


def test_along_the_flow_things_move_where_the_mean_has_them_twice() -> None:
    pytest.importorskip("cv2")
    before, after, right = blob(24), blob(36), blob(30)
    errors = [float((how(before, after) - right).square().mean()) for how in (along_flow, halfway)]
    assert errors[0] < 0.3 * errors[1]
    torch.testing.assert_close(along_flow(before, before), before, rtol=0, atol=0.02)
    with pytest.raises(InputError, match="optical flow takes 16x16 pixels or more"):
        along_flow(before[..., :8], after[..., :8])


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_sampled_with_it_a_clip_flickers_less(sampler: str) -> None:
    def denoiser(z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        alpha, sigma = (scale.reshape(-1, 1, 1, 1, 1) for scale in SCHEDULE.alpha_sigma(t.double()))
        x0 = alpha * z  # of data with unit variance, every frame by itself
        return Prediction(z, x0, sigma * z, alpha, sigma)

    def flicker(**hook) -> float:
        told = {"schedule": SCHEDULE, "conditions": Conditions()}
        made = get_sampler(sampler)(denoiser, flickering(), STOPS, **told, **hook)
        return float(made.diff(n=2, dim=1).square().mean())

    assert flicker(on_prediction=InterleavedSmoother(STOPS)) < 0.8 * flicker()


def test_by_default_it_smooths_where_the_published_code_does() -> None:
    smoother = InterleavedSmoother(times(SCHEDULE, 50))
    assert sorted(smoother._turns.items(), key=lambda item: item[1]) == [
        (float(times(SCHEDULE, 50)[30]), 0),
        (float(times(SCHEDULE, 50)[31]), 1),
    ]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": (4, 10)}, "steps are .* they must be numbers from 0 to 9, in order"),
        ({"steps": (5, 4)}, "in order"),
        ({"decode": lambda z: z}, "decode and encode go together"),
    ],
)
def test_refusals(options: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        InterleavedSmoother(STOPS, **options)
