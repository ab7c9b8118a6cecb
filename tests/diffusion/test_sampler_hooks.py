"""Samplers: hooks, evaluations, schedules that are no rotation, bad input."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from gaussian import Gaussian
from torch import Tensor

from videofusion.diffusion import Conditions, Prediction, Schedule, make_schedule, times
from videofusion.diffusion.samplers import SAMPLERS, ddim, ddpm, dpmpp_2m, dpmpp_2m_sde, get_sampler
from videofusion.errors import InputError

NOTHING = Conditions()


def gaussian(schedule: Schedule) -> Gaussian:
    position = torch.arange(4.0, dtype=torch.float64)
    data = 0.4 * torch.exp(-((position[:, None] - position) ** 2) / 2)
    return Gaussian(schedule, position / 10, data, torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_hooks_replace_what_they_get(sampler: str) -> None:
    schedule = make_schedule("cosine")
    target = torch.full((1, 4, 1, 2, 2), 0.25, dtype=torch.float64)
    noise, t, seen = torch.zeros_like(target), times(schedule, 5), []

    def towards(prediction: Prediction, t: Tensor) -> Prediction:
        return prediction.with_x0(target)

    options = {"schedule": schedule, "conditions": NOTHING, "noise": lambda step: noise}
    z = SAMPLERS[sampler](gaussian(schedule), noise, t, on_prediction=towards, **options)
    torch.testing.assert_close(z, target)
    z = SAMPLERS[sampler](gaussian(schedule), noise, t, on_state=lambda z, t: seen.append(t) or target + t, **options)
    torch.testing.assert_close(z, target)
    assert seen == list(t[1:])


@pytest.mark.parametrize("sampler", ["ddim", "dpm++"])
def test_a_hook_may_change_the_clip_and_keep_the_noise(sampler: str) -> None:
    schedule = make_schedule("cosine")
    z, t = torch.ones(1, 4, 1, 2, 2, dtype=torch.float64), torch.tensor([0.6, 0.5], dtype=torch.float64)
    kept = gaussian(schedule)(z, t[:1], NOTHING).eps
    result = SAMPLERS[sampler](
        gaussian(schedule),
        z,
        t,
        schedule=schedule,
        conditions=NOTHING,
        on_prediction=lambda p, t: replace(p, x0=0 * p.x0),
    )
    torch.testing.assert_close(result, schedule.alpha_sigma(t[1])[1] * kept)


def test_dpm_extrapolates_the_clip_that_the_hook_gave() -> None:
    schedule = make_schedule("cosine")
    t = torch.tensor([0.7, 0.6, 0.5], dtype=torch.float64)
    given = iter([torch.zeros(1, 4, 1, 1, 1).double(), torch.ones(1, 4, 1, 1, 1).double()])
    z = dpmpp_2m(
        gaussian(schedule),
        torch.zeros(1, 4, 1, 1, 1).double(),
        t,
        schedule=schedule,
        conditions=NOTHING,
        on_prediction=lambda p, t: replace(p, x0=next(given), eps=torch.zeros_like(p.eps)),
    )
    alpha, sigma = schedule.alpha_sigma(t)
    widths = (alpha / sigma).log().diff()
    expected = alpha[2] + alpha[2] * (1 - (-widths[1]).exp()) * widths[1] / (2 * widths[0])
    torch.testing.assert_close(z, expected.expand_as(z))


def test_samplers_ask_once_a_step_and_heun_twice_but_for_the_last() -> None:
    schedule, asked = make_schedule("cosine"), []

    def counting(z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        assert t.shape == (2,)
        asked.append(float(t[0]))
        return gaussian(schedule)(z, t, conditions)

    z = torch.zeros(2, 4, 1, 1, 1).double()
    for name, count in {"ddim": 10, "angular": 10, "ddpm": 10, "dpm++": 10, "dpm++sde": 10, "heun": 19}.items():
        asked.clear()
        SAMPLERS[name](counting, z, times(schedule, 10), schedule=schedule, conditions=NOTHING, noise=lambda step: z)
        assert len(asked) == count
        assert min(asked) > 0


def test_progress_wraps_the_steps() -> None:
    steps = []
    schedule = make_schedule("cosine")
    z = torch.zeros(1, 4, 1, 1, 1).double()
    options = {"schedule": schedule, "conditions": NOTHING}
    ddim(gaussian(schedule), z, times(schedule, 3), progress=lambda n: [steps.append(i) or i for i in n], **options)
    assert steps == [0, 1, 2]


class Exploding:
    """A schedule that is not variance preserving."""

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), 80 * t

    def logsnr(self, t: Tensor) -> Tensor:
        return -2 * (80 * t).log()

    def time_at(self, logsnr: Tensor) -> Tensor:
        return (-logsnr / 2).exp() / 80

    def network_time(self, t: Tensor) -> Tensor:
        return t


@pytest.mark.parametrize("sampler", ["ddim", "angular", "dpm++", "heun"])
def test_samplers_need_no_variance_preserving_schedule(sampler: str) -> None:
    schedule = Exploding()
    denoiser = gaussian(schedule)
    z = torch.randn(1, 4, 1, 2, 2, generator=torch.Generator().manual_seed(0)).double() * 80
    t = torch.linspace(1, 0, 301, dtype=torch.float64) ** 3
    exact = denoiser.flow(z, t[0], t[-1])
    result = SAMPLERS[sampler](denoiser, z, t, schedule=schedule, conditions=NOTHING)
    assert (result - exact).norm() < 0.02 * exact.norm()


BAD = {
    "no noise": (ddpm, {}, "noise is None; the sampler 'ddpm'"),
    "no noise of an SDE": (dpmpp_2m_sde, {}, r"noise is None; the sampler 'dpm\+\+sde'"),
    "eta without noise": (ddim, {"eta": 0.5}, "noise is None; the sampler 'ddim'"),
    "eta": (ddim, {"eta": 1.5}, r"eta is 1.5; it must lie in \[0, 1\]"),
    "gamma": (ddpm, {"gamma": -1.0}, r"gamma is -1.0; it must lie in \[0, 1\]"),
    "towards noise": (ddpm, {"noise": torch.zeros, "times": torch.tensor([0.0, 1.0])}, "times increase"),
    "one time": (ddim, {"times": torch.tensor([1.0])}, "at least two times"),
    "outside": (ddim, {"times": torch.tensor([1.5, 0.0])}, r"they must lie in \[0, 1\]"),
    "repeated": (ddim, {"times": torch.tensor([1.0, 0.5, 0.5])}, "they must decrease at every step"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_a_sentence_before_the_denoiser_is_asked(case: str) -> None:
    sampler, options, words = BAD[case]

    def never(z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        raise AssertionError("asked")

    options = {"schedule": make_schedule("cosine"), "times": torch.tensor([1.0, 0.0])} | options
    with pytest.raises(InputError, match=words):
        sampler(never, torch.zeros(1, 4, 1, 1, 1), conditions=NOTHING, **options)


def test_an_unknown_sampler_is_refused_by_name() -> None:
    assert get_sampler("dpm++") is dpmpp_2m
    with pytest.raises(InputError, match=r"sampler is 'plms'.*ddim, angular, ddpm, dpm\+\+, dpm\+\+sde, heun"):
        get_sampler("plms")
