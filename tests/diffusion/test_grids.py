"""Grids of times: their ends, even spacing in what they say, and the same stops as diffusers' schedulers."""

from __future__ import annotations

import math

import pytest
import torch
from gaussian import Gaussian, unit_clips
from torch import Tensor

from videofusion.diffusion import Conditions, DecomposedNoise
from videofusion.diffusion.grids import SPACINGS, times
from videofusion.diffusion.samplers import SAMPLERS
from videofusion.diffusion.schedules import SCHEDULES, Cosine, make_schedule
from videofusion.errors import InputError

NAMES = [*SCHEDULES, "edm:700", "rectified_flow:3"]
OF_TRAINING = [spacing for spacing in SPACINGS if spacing.startswith("sd")]
ANYWHERE = [spacing for spacing in SPACINGS if spacing not in OF_TRAINING]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spacing", ANYWHERE)
@pytest.mark.parametrize(("steps", "start"), [(1, 1.0), (2, 0.6), (50, 1.0), (50, 0.0005)])
def test_times_fall_to_zero(name: str, spacing: str, steps: int, start: float) -> None:
    t = times(make_schedule(name), steps, spacing=spacing, start=start)
    assert t.shape == (steps + 1,)
    assert (t.diff() < 0).all()
    assert t[-1] == 0
    if spacing != "leading":
        assert t[0] == torch.tensor(start)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
def test_times_are_the_steps_of_diffusers(spacing: str) -> None:
    from diffusers import DDIMScheduler

    peer = DDIMScheduler(timestep_spacing=spacing)
    peer.set_timesteps(20)
    schedule = make_schedule("linear")
    told = schedule.network_time(times(schedule, 20, spacing=spacing)[:-1])
    torch.testing.assert_close(told, peer.timesteps.float(), rtol=0, atol=1e-3)


def test_stable_diffusion_3_s_grid_is_for_rectified_flow() -> None:
    with pytest.raises(InputError, match="spacing is 'sd3', which is for the schedule 'rectified_flow'"):
        times(make_schedule("cosine"), 4, spacing="sd3")
    t = times(make_schedule("rectified_flow"), 4, spacing="sd3", start=0.5)
    assert (t.diff() < 0).all()
    assert t[0] == 0.5
    assert t[-1] == 0


def test_even_spacing_in_logsnr() -> None:
    schedule = make_schedule("cosine")
    widths = schedule.logsnr(times(schedule, 30, spacing="logsnr").double()[1:-1]).diff()
    torch.testing.assert_close(widths, widths.mean().expand(28), rtol=1e-3, atol=0)


@pytest.mark.parametrize(("spacing", "own"), [("sd", "leading"), ("sd-trailing", "trailing")])
@pytest.mark.parametrize("steps", [1, 7, 20, 30, 50, 500])
def test_stable_diffusion_s_grid_is_that_of_its_scheduler(spacing: str, own: str, steps: int) -> None:
    from diffusers import DDIMScheduler

    peer = DDIMScheduler(steps_offset=1, set_alpha_to_one=False, timestep_spacing=own)
    peer.set_timesteps(steps)
    schedule = make_schedule("scaled_linear")
    t = times(schedule, steps, spacing=spacing)
    torch.testing.assert_close(schedule.network_time(t[:-1]), peer.timesteps.float(), rtol=0, atol=1e-3)
    assert schedule.network_time(t[-1]) == 0  # the first training step, which diffusers takes for clean
    assert t[-1] == 1 / 1000


@pytest.mark.parametrize(("high", "name"), [(80.0, "edm"), (700.0, "edm:700")])
def test_karras_times_are_those_of_diffusers(high: float, name: str) -> None:
    from diffusers import EDMEulerScheduler

    peer = EDMEulerScheduler(sigma_min=0.002, sigma_max=high)
    peer.set_timesteps(12)
    alpha, sigma = make_schedule(name).alpha_sigma(times(make_schedule(name), 12, spacing="karras").double())
    torch.testing.assert_close((sigma / alpha).float(), peer.sigmas, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["cosine", "scaled_linear", "edm", "rectified_flow:3"])
def test_flow_is_even_in_the_time_of_rectified_flow(name: str) -> None:
    schedule = make_schedule(name)
    alpha, sigma = schedule.alpha_sigma(times(schedule, 9, spacing="flow").double())
    widths = (sigma / (alpha + sigma)).diff()
    torch.testing.assert_close(widths, widths.mean().expand(9), rtol=1e-3, atol=0)


def test_shared_noise_spreads_the_flow_grid_over_what_is_shared_and_what_is_not() -> None:
    """Even in the mean of the two rectified times, that of the common noise and that of the rest."""
    share, count = 0.9, 8
    covariance = share * torch.ones(count, count) + (1 - share) * torch.eye(count)
    schedule = make_schedule("cosine")
    t = times(schedule, 10, spacing="flow", covariance=covariance)
    alpha, sigma = schedule.alpha_sigma(t.double())
    common, rest = (power**0.5 * sigma for power in (1 + (count - 1) * share, 1 - share))
    mean = (common / (alpha + common) + rest / (alpha + rest)) / 2
    torch.testing.assert_close(mean.diff(), torch.full((10,), -0.1).double(), rtol=1e-3, atol=0)
    # noise of its own in every frame, and one frame alone, have the plain grid
    plain = times(schedule, 10, spacing="flow")
    for alone in (torch.eye(count), torch.ones(1, 1)):
        torch.testing.assert_close(times(schedule, 10, spacing="flow", covariance=alone), plain)
    # noise that all frames share leaves nothing to the rest, and is no reason for times that are no numbers
    assert (times(schedule, 10, spacing="flow", covariance=torch.ones(count, count)).diff() < 0).all()


def error(spacing: str, share: float, steps: int, sampler: str = "heun", aware: bool = True) -> float:
    """Relative error of the covariance that the exact denoiser of smooth clips of 8 frames samples."""
    position = torch.arange(8).double()
    data = 0.4 * torch.exp(-((position[:, None] - position) ** 2) / 8) + 0.01 * torch.eye(8).double()
    source, schedule = DecomposedNoise(share), make_schedule("cosine")
    noise = source.covariance(source.shares(1, 8).double())[0]
    t = times(schedule, steps, spacing=spacing, covariance=noise if aware else None).double()
    exact = Gaussian(schedule, torch.zeros(8).double(), data, noise)
    clips: Tensor = SAMPLERS[sampler](exact, unit_clips(8), t, schedule=schedule, conditions=Conditions())
    answers = clips.reshape(8, 8).mT
    return float((answers @ noise @ answers.mT - data).norm() / data.norm())


@pytest.mark.parametrize("sampler", ["dpm++", "heun"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_knowing_what_is_shared_pays(share: float, sampler: str) -> None:
    aware, plain, even = (
        error(spacing, share, 8, sampler, aware)
        for spacing, aware in (("flow", True), ("flow", False), ("trailing", False))
    )
    assert aware < 0.9 * plain < 0.9 * 0.7 * even


def test_the_figures_of_even_times_against_even_log_snr() -> None:
    """Errors at 8 steps of dpm++ that a review measured, for shares of 0, 0.5 and 0.9 in turn."""
    even = [error("trailing", share, 8, "dpm++") for share in (0.0, 0.5, 0.9)]
    assert even == pytest.approx([0.097, 0.114, 0.257], abs=0.001)
    assert error("logsnr", 0.5, 8, "dpm++") == pytest.approx(0.008, abs=0.001)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: times(Cosine(), 0), "steps is 0"),
        (lambda: times(Cosine(), 5, start=0.0), "start is 0.0"),
        (lambda: times(Cosine(), 5, start=1.5), "start is 1.5"),
        (lambda: times(Cosine(), 5, start=math.nan), "start is nan"),
        (lambda: times(Cosine(), 5, spacing="even"), "spacing is 'even'; it must be one of trailing, leading"),
        (lambda: times(Cosine(), 5, spacing="sd"), "spacing is 'sd', which is for schedules with training steps"),
        (lambda: times(make_schedule("linear"), 1000, spacing="sd"), "steps is 1000; with the spacing 'sd'"),
        (lambda: times(make_schedule("linear"), 501, spacing="sd-trailing"), "steps is 501.*at most 500"),
        (lambda: times(make_schedule("linear"), 20, spacing="sd", start=0.5), "start is 0.5; with the spacing 'sd'"),
    ],
)
def test_bad_input_is_a_sentence(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
