"""Given frames: kept on their way at every step, exact where one gradient step can be, better with it than without."""

from __future__ import annotations

import pytest
import torch
from gaussian import Gaussian, over_frames
from torch import Tensor

from videofusion.diffusion import (
    ClassifierFree,
    Conditions,
    DecomposedNoise,
    Following,
    Keys,
    Known,
    bind,
    expand,
    make_schedule,
    times,
)
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


def gaussian(noise: Tensor) -> Gaussian:
    return Gaussian(SCHEDULE, MEAN, DATA, noise[0])


def clips(count: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(count, 4, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("weight", [0.0, 2.0])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_given_frames_come_out_as_they_were_given_for_each_clip_its_own(sampler: str, weight: float) -> None:
    given = clips()[:, [0, 3]]
    following = Following(gaussian(DECOMPOSED), Known(given, (0, 3), weight), DECOMPOSED)
    noise = bind(DecomposedNoise(), (2, 4, 1, 3, 3), Keys.of([1, 2]), SHARE.expand(2, -1))
    made = SAMPLERS[sampler](
        following, noise(0).double(), times(SCHEDULE, 6), schedule=SCHEDULE, conditions=NOTHING, noise=noise
    )
    torch.testing.assert_close(made[:, [0, 3]], given)
    assert made.isfinite().all()


@pytest.mark.parametrize("sampler", ["ddim", "angular", "dpm++", "heun"])
def test_a_given_frame_is_noised_with_what_it_began_with(sampler: str) -> None:
    x, eps = clips(1), clips(1, seed=1)
    following = Following(gaussian(DECOMPOSED), Known(x[:, 1:2], (1,)))

    def on_its_way(z: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = SCHEDULE.alpha_sigma(t.double())
        torch.testing.assert_close(z[:, 1], alpha * x[:, 1] + sigma * eps[:, 1])
        return z

    options = {"schedule": SCHEDULE, "conditions": NOTHING, "on_state": on_its_way}
    SAMPLERS[sampler](following, eps, torch.linspace(1, 0, 8, dtype=torch.float64), **options)


@pytest.mark.parametrize("sampler", ["ddpm", "dpm++sde", "langevin"])
def test_noise_that_a_sampler_adds_keeps_its_covariance_with_the_given_frames(sampler: str) -> None:
    """The whole clip is given: what is left at each step is noise, of the source's covariance."""
    x = torch.zeros(1, 4, 3, 64, 64, dtype=torch.float64)
    following = Following(gaussian(DECOMPOSED), Known(x, range(4)))
    noise = bind(DecomposedNoise(), x.shape, Keys.of([5]), SHARE)

    def look(z: Tensor, t: Tensor) -> Tensor:
        _, sigma = SCHEDULE.alpha_sigma(t.double())
        if sigma > 0:
            rows = (z / sigma).transpose(0, 1).flatten(1)
            torch.testing.assert_close(rows @ rows.T / rows.shape[1], DECOMPOSED[0], rtol=0, atol=0.05)
        return z

    options = {"schedule": SCHEDULE, "conditions": NOTHING, "noise": noise, "on_state": look}
    SAMPLERS[sampler](following, noise(0).double(), times(SCHEDULE, 5), **options)


@pytest.mark.parametrize("noise", [INDEPENDENT, DECOMPOSED], ids=["independent", "decomposed"])
@pytest.mark.parametrize("time", [0.3, 0.7])
def test_at_the_right_weight_one_given_frame_makes_the_exact_conditional_mean(noise: Tensor, time: float) -> None:
    denoiser, z, t = gaussian(noise), clips(), torch.full((2,), time)
    alpha, sigma = SCHEDULE.alpha_sigma(t[:1].double())
    given, others = clips(seed=3)[:, :1], [1, 2, 3]
    posterior = torch.linalg.inv(torch.linalg.inv(DATA) + (alpha / sigma) ** 2 * torch.linalg.inv(noise[0]))
    weight = float((sigma / alpha) ** 2 / posterior[0, 0])
    plain = denoiser(z, t, NOTHING).x0
    exact = plain + expand((posterior[:, 0] / posterior[0, 0])[None], z) * (given - plain[:, :1])
    guided = Following(denoiser, Known(given, (0,), weight), noise)(z, t, NOTHING)
    torch.testing.assert_close(guided.x0, exact)
    torch.testing.assert_close(guided.alpha * guided.x0 + guided.sigma * guided.eps, z)
    if noise is DECOMPOSED:  # VDM's formula as it stands is for noise of its own in every frame
        plainly = Following(denoiser, Known(given, (0,), weight))(z, t, NOTHING)
        assert (plainly.x0 - exact)[:, others].norm() > 0.1 * (exact - plain)[:, others].norm()


@pytest.mark.parametrize("noise", [INDEPENDENT, DECOMPOSED], ids=["independent", "decomposed"])
def test_reconstruction_guidance_follows_the_given_frame_better_than_replacement(noise: Tensor) -> None:
    """Against the conditional mean of the other frames, from the mean of the noise."""
    given = torch.full((1, 1, 1, 1, 1), 1.5, dtype=torch.float64)
    wanted = MEAN + DATA[:, 0] / DATA[0, 0] * (1.5 - MEAN[0])

    def error(weight: float) -> float:
        following = Following(gaussian(noise), Known(given, (0,), weight), noise)
        start = torch.zeros(1, 4, 1, 1, 1, dtype=torch.float64)
        t = torch.linspace(1, 0, 65, dtype=torch.float64)
        made = SAMPLERS["ddim"](following, start, t, schedule=SCHEDULE, conditions=NOTHING)
        return float((made.flatten() - wanted)[1:].norm())

    assert error(4.0) < 0.5 * error(0.0)


def test_a_gradient_is_taken_where_the_caller_wants_none_and_through_guidance() -> None:
    def network(z: Tensor, t: Tensor, conditions: Conditions):
        found = gaussian(INDEPENDENT)(z, t, conditions)
        return found.with_x0(found.x0 + 0.1 * expand(conditions.labels, z) * over_frames(DATA, z))

    told = Conditions(labels=torch.tensor([1.0]), null={"labels": torch.tensor([0.0])})
    guided = ClassifierFree(network, 3.0, names=("labels",))
    z, t = clips(1), torch.tensor([0.5])
    with torch.no_grad():
        following = Following(guided, Known(clips(1, 4)[:, :2], (0, 1), 1.0))(z, t, told)
    assert not following.x0.requires_grad
    assert (following.x0 - guided(z, t, told).x0)[:, 2:].abs().min() > 1e-6


@pytest.mark.parametrize(
    ("frames", "at", "weight", "says"),
    [
        (torch.zeros(2, 4, 4), (0, 1), 0.0, "they must be k c h w or b k c h w"),
        (torch.zeros(2, 1, 4, 4), (0,), 0.0, "known frames are 2, and their places [0]; there must be one place"),
        (torch.zeros(0, 1, 4, 4), (), 0.0, "at least one"),
        (torch.zeros(2, 1, 4, 4), (1, 1), 0.0, "different numbers from 0"),
        (torch.zeros(2, 1, 4, 4), (-1, 1), 0.0, "different numbers from 0"),
        (torch.zeros(1, 1, 4, 4), (0,), -1.0, "weight of known frames is -1.0"),
        (torch.full((1, 1, 4, 4), torch.nan), (0,), 0.0, "not finite"),
    ],
)
def test_what_no_frames_can_be_is_refused(frames: Tensor, at: tuple[int, ...], weight: float, says: str) -> None:
    with pytest.raises(InputError) as refusal:
        Known(frames, at, weight)
    assert says in str(refusal.value)
