"""Samplers: each recovers a normal law, at its order; noise keeps its covariance at every step."""

from __future__ import annotations

import pytest
import torch
from gaussian import Gaussian, unit_clips
from torch import Tensor

from videofusion.diffusion import Conditions, DecomposedNoise, Keys, Prediction, Schedule, bind, make_schedule, times
from videofusion.diffusion.samplers import SAMPLERS, angular, ddim, ddpm, dpmpp_2m_sde, langevin
from videofusion.diffusion.schedules import SCHEDULES

ORDERS = {"ddim": 1, "angular": 1, "dpm++": 2, "heun": 2}
SHARE = torch.tensor([[0.5, 0.2, 1.0, 0.9]], dtype=torch.float64)
DECOMPOSED = DecomposedNoise().covariance(SHARE)[0]
MEAN = torch.tensor([0.3, -0.2, 0.1, 0.0], dtype=torch.float64)
POSITION = torch.arange(4.0, dtype=torch.float64)
DATA = 0.4 * torch.exp(-((POSITION[:, None] - POSITION) ** 2) / 2) + 0.05 * torch.eye(4, dtype=torch.float64)
NOTHING = Conditions()


def gaussian(schedule: Schedule) -> Gaussian:
    return Gaussian(schedule, MEAN, DATA, DECOMPOSED)


class Responses:
    """All that a linear sampler does: its answers to a unit of starting noise, and of the noise of every step.

    Clips 0 ... t-1 of the batch get the starting noise of one frame each, the next t the noise of step 0, and so on.
    """

    def __init__(self, frames: int, steps: int) -> None:
        self.frames = frames
        self.clips = frames * (steps + 1)

    def noise(self, step: int) -> Tensor:
        clips = torch.zeros(self.clips, self.frames, 1, 1, 1, dtype=torch.float64)
        clips[step * self.frames : (step + 1) * self.frames] = unit_clips(self.frames)
        return clips

    def covariance(self, clips: Tensor, noise: Tensor) -> Tensor:
        """The covariance of the sampler's clips when every noise that it is given has covariance `noise` [t t]."""
        matrices = clips.reshape(-1, self.frames, self.frames).mT
        return (matrices @ noise @ matrices.mT).sum(0)


def centred(denoiser: Gaussian) -> Gaussian:
    return Gaussian(denoiser.schedule, torch.zeros_like(denoiser.mean), denoiser.data, denoiser.noise)


@pytest.mark.parametrize("name", ["cosine", "linear", "scaled_linear_zero_snr"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_samples_have_the_mean_and_covariance_of_the_data(sampler: str, name: str) -> None:
    schedule = make_schedule(name)
    steps = 64
    responses, t = Responses(4, 2 * steps), times(schedule, steps).double()  # langevin draws twice a step
    options = {"schedule": schedule, "conditions": NOTHING}
    linear = SAMPLERS[sampler](centred(gaussian(schedule)), responses.noise(0), t, noise=responses.noise, **options)
    tolerance = 0.04 if ORDERS.get(sampler) == 2 else 0.16
    error = (responses.covariance(linear, DECOMPOSED) - DATA).norm() / DATA.norm()
    assert error < tolerance
    nothing = torch.zeros(1, 4, 1, 1, 1, dtype=torch.float64)
    middle = SAMPLERS[sampler](gaussian(schedule), nothing, t, noise=lambda step: nothing, **options)
    torch.testing.assert_close(middle.flatten(), MEAN, rtol=0, atol=0.01)


@pytest.mark.parametrize("ends", [(1.0, 0.0), (0.9, 0.1), (0.1, 0.9)], ids=["whole", "inner", "towards noise"])
@pytest.mark.parametrize("sampler", ORDERS)
def test_convergence_order(sampler: str, ends: tuple[float, float]) -> None:
    schedule = make_schedule("cosine")
    denoiser = gaussian(schedule)
    z = torch.randn(3, 4, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = denoiser.flow(z, *torch.tensor(ends))
    counts = torch.tensor([40, 80, 160])
    errors = []
    for steps in counts:
        t = torch.linspace(*ends, int(steps) + 1, dtype=torch.float64)
        errors.append((SAMPLERS[sampler](denoiser, z, t, schedule=schedule, conditions=NOTHING) - exact).norm())
    rise, run = torch.stack(errors).log().diff(), counts.log().diff()
    # steps next to an infinite log-SNR are of width log 2 however many there are: dpm++ pays a factor of log(steps)
    tolerance = 0.3 if sampler == "dpm++" and ends == (1.0, 0.0) else 0.2
    torch.testing.assert_close(-(rise / run)[-1], torch.tensor(float(ORDERS[sampler])).double(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("sampler", ["ddim", "angular", "dpm++", "heun"])
def test_one_step_is_exact_when_nothing_is_left_to_learn(sampler: str) -> None:
    schedule = make_schedule("cosine")
    x0, eps = torch.randn(2, 1, 3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def knows(z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        alpha, sigma = schedule.alpha_sigma(t[:1].double())
        return Prediction(z, x0, eps, alpha, sigma)

    t = torch.tensor([0.9, 0.4, 0.1], dtype=torch.float64)
    (first, _, last), (noisy, _, clean) = schedule.alpha_sigma(t)
    z = SAMPLERS[sampler](knows, first * x0 + noisy * eps, t, schedule=schedule, conditions=NOTHING)
    torch.testing.assert_close(z, last * x0 + clean * eps)


def test_ddim_inverts() -> None:
    schedule = make_schedule("cosine")
    denoiser = gaussian(schedule)
    clip = torch.randn(2, 4, 1, 3, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    t = torch.linspace(0, 1, 501, dtype=torch.float64)
    noise = ddim(denoiser, clip, t, schedule=schedule, conditions=NOTHING)
    assert (noise - clip).norm() > 0.3 * clip.norm()
    back = ddim(denoiser, noise, t.flip(0), schedule=schedule, conditions=NOTHING)
    assert (back - clip).norm() < 0.02 * clip.norm()


def trail(sampler, denoiser: Gaussian, noise: Tensor, steps: int = 12, **options) -> list[tuple[Tensor, Tensor]]:
    """The covariance of the clip after every step, and the time."""
    responses, seen = Responses(len(noise), 2 * steps), []

    def look(z: Tensor, t: Tensor) -> Tensor:
        seen.append((responses.covariance(z, noise), t))
        return z

    t = times(denoiser.schedule, steps).double()
    start = denoiser.schedule.alpha_sigma(t[:1])[1] * responses.noise(0)
    options |= {"schedule": denoiser.schedule, "conditions": NOTHING, "on_state": look, "noise": responses.noise}
    sampler(denoiser, start, t, **options)
    return seen


STOCHASTIC = [
    (ddpm, {"gamma": 0.0}),
    (ddim, {"eta": 1.0}),
    (ddim, {"eta": 0.4}),
    (dpmpp_2m_sde, {}),
]


@pytest.mark.parametrize(("sampler", "options"), STOCHASTIC)
def test_around_a_known_clip_the_noise_keeps_its_covariance_at_every_step(sampler, options: dict) -> None:
    known = Gaussian(make_schedule("cosine"), torch.zeros(4).double(), torch.zeros(4, 4).double(), DECOMPOSED)
    for covariance, t in trail(sampler, known, DECOMPOSED, **options):
        torch.testing.assert_close(covariance, known.schedule.alpha_sigma(t)[1] ** 2 * DECOMPOSED)


def test_where_data_is_like_the_noise_every_step_has_unit_marginals_and_the_shares_covariance() -> None:
    like = Gaussian(make_schedule("cosine"), torch.zeros(4).double(), DECOMPOSED, DECOMPOSED)
    seen = trail(ddpm, like, DECOMPOSED, gamma=1.0)  # the upper variance is exact there
    for covariance, _ in seen[:-1]:
        torch.testing.assert_close(covariance, DECOMPOSED)
        torch.testing.assert_close(covariance.diagonal(), torch.ones(4).double())
        torch.testing.assert_close(covariance[0, 1], (SHARE[0, 0] * SHARE[0, 1]).sqrt())
    # a whole draw of real noise, the source's own
    source, shape, share = DecomposedNoise(), (2, 4, 3, 48, 48), SHARE.float().expand(2, -1)
    step_noise, states = bind(source, shape, Keys.of([3, 4]), share), []
    ddpm(
        like,
        step_noise(0).double(),
        times(like.schedule, 6),
        schedule=like.schedule,
        conditions=NOTHING,
        noise=step_noise,
        gamma=1.0,
        on_state=lambda z, t: states.append(z) or z,
    )
    for z in states[:-1]:
        samples = z.transpose(0, 1).flatten(1)
        torch.testing.assert_close(samples @ samples.T / samples.shape[1], DECOMPOSED, rtol=0, atol=0.05)


def test_the_variances_of_ddpm_lie_between_their_bounds() -> None:
    flat = Gaussian(make_schedule("cosine"), torch.zeros(1).double(), torch.zeros(1, 1).double(), torch.eye(1).double())
    one = torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
    t = torch.tensor([0.8, 0.5], dtype=torch.float64)

    def deviation(gamma: float) -> Tensor:
        z = ddpm(flat, 0 * one, t, schedule=flat.schedule, conditions=NOTHING, noise=lambda step: one, gamma=gamma)
        return z.squeeze()

    (alpha_t, alpha_s), (sigma_t, sigma_s) = flat.schedule.alpha_sigma(t)
    upper = sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2
    torch.testing.assert_close(deviation(1.0) ** 2, upper)
    torch.testing.assert_close(deviation(0.0) ** 2, upper * sigma_s**2 / sigma_t**2)
    torch.testing.assert_close(deviation(0.3), deviation(0.0) ** 0.7 * deviation(1.0) ** 0.3)


def test_ddim_with_all_noise_fresh_is_ddpm_with_the_lower_variance() -> None:
    schedule = make_schedule("linear")
    noise = bind(DecomposedNoise(0.5), (1, 4, 1, 3, 3), Keys.of([0]))
    options = {"schedule": schedule, "conditions": NOTHING, "noise": noise}
    start, t = noise(0).double(), times(schedule, 7)
    all_fresh = ddim(gaussian(schedule), start, t, eta=1.0, **options)
    torch.testing.assert_close(all_fresh, ddpm(gaussian(schedule), start, t, **options))


def test_angular_is_ddim() -> None:
    schedule = make_schedule("cosine")
    z = torch.randn(1, 4, 1, 3, 3, generator=torch.Generator().manual_seed(0)).double()
    options = {"schedule": schedule, "conditions": NOTHING}
    clips = [sampler(gaussian(schedule), z, times(schedule, 9), **options) for sampler in (ddim, angular)]
    torch.testing.assert_close(*clips, rtol=1e-5, atol=1e-6)


def test_the_second_order_of_an_sde_pays() -> None:
    """Twice the steps leave less than 1 / 2.5 of the error, and it is a quarter of that of first order."""
    schedule = make_schedule("cosine")

    def error(sampler, steps: int) -> float:
        responses, t = Responses(4, steps), times(schedule, steps).double()
        options = {"schedule": schedule, "conditions": NOTHING, "noise": responses.noise}
        clips = sampler(centred(gaussian(schedule)), responses.noise(0), t, **options)
        return float((responses.covariance(clips, DECOMPOSED) - DATA).norm())

    assert error(dpmpp_2m_sde, 128) < error(dpmpp_2m_sde, 64) / 2.5
    assert error(dpmpp_2m_sde, 128) < error(ddpm, 128) / 4


def correction(schedule: Schedule, noise: Tensor, time: float, delta: float) -> tuple[Tensor, Tensor, Tensor]:
    """What one correction at a time makes of the clip and of its fresh noise [t t], and the covariance to keep.

    The sampler's step before it is so short that it does nothing.
    """
    units, none = unit_clips(4), torch.zeros(4, 4, 1, 1, 1, dtype=torch.float64)
    t = torch.tensor([time, time - 1e-12], dtype=torch.float64)
    law = Gaussian(schedule, torch.zeros(4, dtype=torch.float64), DATA, noise)
    options = {"schedule": schedule, "conditions": NOTHING, "delta": delta}
    kept = langevin(law, units, t, noise=lambda step: none, **options).reshape(4, 4).mT
    fresh = langevin(law, none, t, noise=lambda step: units if step == 2 else none, **options).reshape(4, 4).mT
    alpha, sigma = schedule.alpha_sigma(t[1])
    return kept, fresh, alpha**2 * DATA + sigma**2 * noise


def stationary(kept: Tensor, fresh: Tensor, noise: Tensor) -> Tensor:
    """The covariance q = kept q kept' + fresh noise fresh' at which corrections end."""
    whole = torch.eye(16, dtype=torch.float64) - torch.kron(kept, kept)
    return torch.linalg.solve(whole, (fresh @ noise @ fresh.mT).flatten()).reshape(4, 4)


@pytest.mark.parametrize("noise", [torch.eye(4).double(), DECOMPOSED], ids=["independent", "decomposed"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_figures_of_langevin_corrections(name: str, noise: Tensor) -> None:
    """They keep the clip's variance: q⁻¹ = p⁻¹ - delta/4 p⁻¹ (sigma² Σ) p⁻¹ at every time, p as the noise goes.

    With sqrt(1 - delta) in place of 1 - delta/2, what is kept of z - alpha x0 differs, and 2.6 % are lost.
    """
    schedule = make_schedule(name)
    for delta in (0.1, 0.7):
        for time in (0.01, 0.3, 0.8):
            kept, fresh, law = correction(schedule, noise, time, delta)
            found = stationary(kept, fresh, noise)
            sigma = schedule.alpha_sigma(torch.tensor(time).double())[1]
            inverse = torch.linalg.inv(law)
            expected = torch.linalg.inv(inverse - delta / 4 * sigma**2 * inverse @ noise @ inverse)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    kept, fresh, law = correction(schedule, noise, 0.01, 0.1)
    took = (1 - 0.9**0.5) / 0.05  # of what is taken from eps
    older = stationary(torch.eye(4) - took * (torch.eye(4) - kept), fresh, noise)
    ours, theirs = (float(q.trace() / law.trace() - 1) for q in (stationary(kept, fresh, noise), older))
    print(
        f"\nlangevin at time 0.01 of {name}: variance {100 * ours:+.2f} %, with sqrt(1 - delta) {100 * theirs:+.2f} %"
    )
    assert abs(ours) < 1e-3
    assert theirs == pytest.approx(0.1 / (2 * (1 - 0.9**0.5)) - 1, abs=1e-3)


@pytest.mark.parametrize("delta", [0.1, 0.7])
def test_langevin_corrections_make_the_noise_around_a_known_clip_larger_by_less_than_their_share(delta: float) -> None:
    known = Gaussian(make_schedule("cosine"), torch.zeros(4).double(), torch.zeros(4, 4).double(), DECOMPOSED)
    for covariance, t in trail(langevin, known, DECOMPOSED, delta=delta)[:-1]:
        growth = covariance[0, 0] / (known.schedule.alpha_sigma(t)[1] ** 2 * DECOMPOSED[0, 0])
        torch.testing.assert_close(covariance / covariance[0, 0], DECOMPOSED / DECOMPOSED[0, 0])
        assert 1 <= growth <= 1 / (1 - delta / 4)


def test_langevin_without_corrections_is_ddpm() -> None:
    schedule = make_schedule("cosine")
    noise = bind(DecomposedNoise(0.5), (1, 4, 1, 3, 3), Keys.of([0]))
    start, t = noise(0).double(), times(schedule, 7)
    options = {"schedule": schedule, "conditions": NOTHING}
    ours = langevin(gaussian(schedule), start, t, noise=noise, delta=0.0, **options)
    every_other = ddpm(gaussian(schedule), start, t, noise=lambda step: noise(2 * step - 1), **options)
    torch.testing.assert_close(ours, every_other, rtol=1e-5, atol=1e-5)


def test_langevin_steps_mend_what_predictor_steps_get_wrong() -> None:
    """Few steps leave too little variance; corrections bring it nearer to the law at each time."""
    schedule = make_schedule("cosine")
    steps = 8
    responses, t = Responses(4, 2 * steps), times(schedule, steps).double()

    def error(delta: float) -> Tensor:
        clips = langevin(
            centred(gaussian(schedule)),
            responses.noise(0),
            t,
            schedule=schedule,
            conditions=NOTHING,
            noise=responses.noise,
            delta=delta,
        )
        return (responses.covariance(clips, DECOMPOSED) - DATA).norm() / DATA.norm()

    assert error(0.3) < 0.95 * error(0.0)
