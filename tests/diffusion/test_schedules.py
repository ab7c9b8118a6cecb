"""Schedules: round trips, order, and the same numbers as diffusers."""

from __future__ import annotations

import math

import pytest
import torch

from videofusion.diffusion.schedules import (
    EDM,
    SCHEDULES,
    Discrete,
    RectifiedFlow,
    linear_betas,
    make_schedule,
)
from videofusion.errors import InputError

NAMES = [*SCHEDULES, "edm:700", "rectified_flow:3"]


@pytest.mark.parametrize("name", NAMES)
def test_signal_falls_and_power_is_one(name: str) -> None:
    t = torch.linspace(0, 1, 777, dtype=torch.float64)
    alpha, sigma = make_schedule(name).alpha_sigma(t)
    assert (alpha.diff() < 0).all()
    assert (sigma.diff() > 0).all()
    power = alpha + sigma if name.startswith("rectified_flow") else alpha**2 + sigma**2
    torch.testing.assert_close(power, torch.ones_like(t))
    assert (alpha[0], sigma[0]) == (1, 0)
    assert (alpha[0], sigma[0]) == (1, 0)


@pytest.mark.parametrize("name", NAMES)
def test_time_is_the_inverse_of_logsnr(name: str) -> None:
    schedule = make_schedule(name)
    t = torch.linspace(0.001, 0.9995, 500, dtype=torch.float64).reshape(5, 100)
    torch.testing.assert_close(schedule.time_at(schedule.logsnr(t)), t, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ["cosine", "linear_zero_snr", "scaled_linear_zero_snr", "rectified_flow:3"])
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
    for name in ("cosine", "rectified_flow"):
        plain, shifted = make_schedule(name), make_schedule(f"{name}:4")
        torch.testing.assert_close(shifted.logsnr(t), plain.logsnr(t) - 2 * math.log(4.0))
        torch.testing.assert_close(shifted.time_at(shifted.logsnr(t)), t)


def test_edm_runs_from_no_noise_to_its_highest_sigma_and_tells_the_network_as_the_paper_does() -> None:
    schedule, t = make_schedule("edm:700"), torch.linspace(0.02, 1, 50, dtype=torch.float64)
    alpha, sigma = schedule.alpha_sigma(t)
    ratio = sigma / alpha
    torch.testing.assert_close(ratio[-1], torch.tensor(700.0).double())
    told = ratio > 0.002
    torch.testing.assert_close(schedule.network_time(t)[told], ratio[told].log() / 4)
    # below what networks are told, and at no noise, they are told the lowest
    torch.testing.assert_close(schedule.network_time(torch.zeros(1)), torch.tensor([0.002]).log() / 4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: make_schedule("quadratic"), "schedule is 'quadratic'.*cosine"),
        (lambda: make_schedule("linear:2"), "schedule is 'linear:2'; only cosine, edm, rectified_flow take a number"),
        (lambda: make_schedule("edm:big"), "schedule is 'edm:big'; after the colon must be its highest sigma"),
        (lambda: make_schedule("rectified_flow:"), "after the colon must be its shift"),
        (lambda: make_schedule("rectified_flow:nan"), "after the colon must be its shift, a number above 0"),
        (lambda: make_schedule("cosine:0"), "schedule is 'cosine:0'; after the colon must be its shift"),
        (lambda: EDM(high=-1.0), "highest sigma is -1.0"),
        (lambda: RectifiedFlow(shift=0.0), "shift is 0.0"),
        (lambda: Discrete(2 * linear_betas(10, 0.1, 0.9)), "betas go from 0.2 to 1.8"),
    ],
)
def test_bad_input_is_a_sentence(call, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()
