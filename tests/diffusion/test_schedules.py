"""Schedules: round trips, order, and the same numbers as diffusers."""

from __future__ import annotations

import math

import pytest
import torch

from videofusion.diffusion.schedules import SCHEDULES, Cosine, Discrete, linear_betas, make_schedule, times
from videofusion.errors import InputError

NAMES = list(SCHEDULES)


@pytest.mark.parametrize("name", NAMES)
def test_signal_falls_and_power_is_one(name: str) -> None:
    t = torch.linspace(0, 1, 777, dtype=torch.float64)
    alpha, sigma = make_schedule(name).alpha_sigma(t)
    assert (alpha.diff() < 0).all()
    assert (sigma.diff() > 0).all()
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    assert (alpha[0], sigma[0]) == (1, 0)


@pytest.mark.parametrize("name", NAMES)
def test_time_is_the_inverse_of_logsnr(name: str) -> None:
    schedule = make_schedule(name)
    t = torch.linspace(0.001, 0.9995, 500, dtype=torch.float64).reshape(5, 100)
    torch.testing.assert_close(schedule.time_at(schedule.logsnr(t)), t, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["cosine", "linear_zero_snr", "scaled_linear_zero_snr"])
def test_no_signal_at_the_end_is_exactly_none(name: str) -> None:
    schedule = make_schedule(name)
    for dtype in (torch.float32, torch.float64):
        ends = torch.tensor([0.0, 1.0], dtype=dtype)
        alpha, sigma = schedule.alpha_sigma(ends)
        assert (alpha[1], sigma[1]) == (0, 1)
        assert schedule.logsnr(ends).tolist() == [math.inf, -math.inf]
        torch.testing.assert_close(schedule.time_at(schedule.logsnr(ends)), ends)


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize(("ours", "theirs"), [("linear", "linear"), ("scaled_linear", "scaled_linear")])
def test_discrete_schedules_are_those_of_diffusers(ours: str, theirs: str, zero_snr: bool) -> None:
    from diffusers import DDIMScheduler, DDPMScheduler

    first, last = (0.0001, 0.02) if ours == "linear" else (0.00085, 0.012)
    schedule = make_schedule(ours + "_zero_snr" * zero_snr)
    assert isinstance(schedule, Discrete)
    n = torch.arange(1000)
    t = (n + 1) / 1000
    alpha, sigma = schedule.alpha_sigma(t)
    for scheduler in (DDPMScheduler, DDIMScheduler):
        peer = scheduler(beta_schedule=theirs, beta_start=first, beta_end=last, rescale_betas_zero_snr=zero_snr)
        torch.testing.assert_close(alpha**2, peer.alphas_cumprod, rtol=0, atol=1e-6)
        torch.testing.assert_close(sigma**2, 1 - peer.alphas_cumprod, rtol=0, atol=1e-6)
    torch.testing.assert_close(schedule.network_time(t), n.float(), rtol=0, atol=1e-3)


def test_the_network_of_a_discrete_schedule_is_never_told_a_step_below_the_first() -> None:
    assert make_schedule("linear").network_time(torch.zeros(3)).tolist() == [0, 0, 0]


def test_a_shift_multiplies_noise_to_signal() -> None:
    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    plain, shifted = Cosine(), Cosine(shift=4.0)
    torch.testing.assert_close(shifted.logsnr(t), plain.logsnr(t) - 2 * math.log(4.0))
    torch.testing.assert_close(shifted.time_at(shifted.logsnr(t)), t)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spacing", ["trailing", "leading", "logsnr"])
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


def test_even_spacing_in_logsnr() -> None:
    schedule = make_schedule("cosine")
    widths = schedule.logsnr(times(schedule, 30, spacing="logsnr").double()[1:-1]).diff()
    torch.testing.assert_close(widths, widths.mean().expand(28), rtol=1e-3, atol=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_schedule("quadratic"), "schedule is 'quadratic'.*cosine"),
        (lambda: times(Cosine(), 0), "steps is 0"),
        (lambda: times(Cosine(), 5, start=0.0), "start is 0.0"),
        (lambda: times(Cosine(), 5, start=1.5), "start is 1.5"),
        (lambda: times(Cosine(), 5, spacing="karras"), "spacing is 'karras'"),
        (lambda: Discrete(2 * linear_betas(10, 0.1, 0.9)), "betas go from 0.2 to 1.8"),
    ],
)
def test_bad_input_is_a_sentence(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
