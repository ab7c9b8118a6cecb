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


FRAMES, GIVEN = 8, [0, 1, 2, 3]
NUMBERS = torch.arange(FRAMES, dtype=torch.float64)
SMOOTH = 0.4 * torch.exp(-((NUMBERS[:, None] - NUMBERS) ** 2) / 8) + 0.01 * torch.eye(FRAMES, dtype=torch.float64)
ALONE = torch.eye(FRAMES, dtype=torch.float64)[None]
SHARED = DecomposedNoise(0.5).covariance(DecomposedNoise(0.5).shares(1, FRAMES).double())


class AsWritten(Following):
    """The formula of VDM with Σ times the gradient, at any weight, and without Σ_aa⁻¹ unless it is asked for."""

    def __init__(self, denoiser: Gaussian, known: Known, covariance: Tensor, inverse: bool) -> None:
        super().__init__(denoiser, known, covariance)
        self._capped = False
        if not inverse:
            self._inverse = None


def conditional_error(weight: float, noise: Tensor, how: str) -> float:
    """Relative error of the covariance of the other frames given the first four, of DDIM with 50 steps, exactly.

    The clip's pixels are a set whose second moments are the law's own: one for each direction of the noise, with
    nothing given, and one for each direction of the given frames, without noise. What is linear in them has its
    covariance as their sum, and a number made of such sums is that of infinitely many pixels.
    """
    law = SMOOTH[GIVEN][:, GIVEN]
    directions = FRAMES + len(GIVEN)
    start = torch.zeros(1, FRAMES, 1, 1, directions, dtype=torch.float64)
    start[0, :, 0, 0, :FRAMES] = torch.linalg.cholesky(noise[0])
    given = torch.zeros(1, len(GIVEN), 1, 1, directions, dtype=torch.float64)
    given[0, :, 0, 0, FRAMES:] = torch.linalg.cholesky(law)
    denoiser = Gaussian(SCHEDULE, torch.zeros(FRAMES, dtype=torch.float64), SMOOTH, noise[0])
    known = Known(given, GIVEN, weight)
    following = (
        Following(denoiser, known, noise) if how == "ours" else AsWritten(denoiser, known, noise, how != "plain")
    )
    t = times(SCHEDULE, 50).double()
    made = SAMPLERS["ddim"](following, start, t, schedule=SCHEDULE, conditions=NOTHING)[0, 4:, 0, 0, :FRAMES]
    right = SMOOTH[4:, 4:] - SMOOTH[4:, :4] @ torch.linalg.solve(law, SMOOTH[:4, 4:])
    return float((made @ made.T - right).norm() / right.norm())


@pytest.mark.parametrize(
    ("noise", "how", "figures"),
    [
        ("decomposed", "plain", (0.66, 7.9, 116.0)),
        ("decomposed", "weighed", (0.14, 0.19, 3.2)),
        ("decomposed", "ours", (0.14, 0.09, 0.09)),
        ("independent", "plain", (0.30, 0.22, 0.11)),
        ("independent", "ours", (0.30, 0.22, 0.11)),
    ],
)
def test_figures_of_guidance_by_several_frames(noise: str, how: str, figures: tuple[float, ...]) -> None:
    """At weights 1, 2 and 4: without Σ_aa⁻¹ and the bound, without the bound, and as it is."""
    covariance = {"decomposed": SHARED, "independent": ALONE}[noise]
    found = [conditional_error(weight, covariance, how) for weight in (1.0, 2.0, 4.0)]
    print(f"\nguidance, {noise} noise, {how}: " + " / ".join(f"{each:.2f}" for each in found))
    assert found == pytest.approx(figures, rel=0.02, abs=0.0051)


@pytest.mark.parametrize("weight", [1.0, 2.0, 4.0, 16.0, 1e6])
def test_no_weight_diverges_with_shared_noise(weight: float) -> None:
    assert conditional_error(weight, SHARED, "ours") < 0.15


@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_a_step_never_makes_the_error_at_given_frames_larger(time: float) -> None:
    """In the noise's own measure; and of all steps in its direction, the bound takes the one that leaves the least."""
    denoiser, z, t = gaussian(DECOMPOSED), clips(), torch.full((2,), time)
    given = clips(seed=3)[:, :2]
    following = Following(denoiser, Known(given, (0, 1), 1.0), DECOMPOSED)
    _, step, most = following._step(z, t, NOTHING, given)
    error = given - denoiser(z, t, NOTHING).x0[:, :2]
    inverse = torch.linalg.inv(DECOMPOSED[0, :2, :2])

    def left(weight: Tensor) -> Tensor:
        rest = error - weight * step[:, :2]
        return (rest * over_frames(inverse, rest)).sum(dim=(1, 2, 3, 4))

    assert (most >= 1).all()
    assert (left(most) <= torch.minimum(left(0.99 * most), left(1.01 * most))).all()
    assert (left(most) < left(0 * most)).all()
    assert (left(2 * most) <= left(0 * most) * (1 + 1e-9)).all()
    assert (left(2.1 * most) > left(0 * most)).all()


def test_frames_that_share_all_their_noise_are_followed_as_one() -> None:
    """Σ_aa is singular: the difference of two such frames is known from z, and nothing else follows from it."""
    share = torch.tensor([[1.0, 1.0, 0.3, 0.9]], dtype=torch.float64)
    noise = DecomposedNoise().covariance(share)
    z, t, given = clips(), torch.full((2,), 0.6), clips(seed=3)[:, :2]
    # a denoiser that is exact where its noise has no variance: as that of noise with next to none
    nearly = Gaussian(SCHEDULE, MEAN, DATA, noise[0] + 1e-9 * torch.eye(4, dtype=torch.float64))
    z[:, 1] = z[:, 0] + SCHEDULE.alpha_sigma(t[:1].double())[0] * (given[:, 1] - given[:, 0])
    guided = Following(nearly, Known(given, (0, 1), 1.0), noise)(z, t, NOTHING).x0
    alone = Following(nearly, Known(given[:, :1], (0,), 1.0), noise)(z, t, NOTHING).x0
    torch.testing.assert_close(guided[:, 2:], alone[:, 2:], rtol=1e-4, atol=1e-4)
    everything = torch.ones(1, 4, 4, dtype=torch.float64)
    assert Following(gaussian(DECOMPOSED), Known(given, (0, 1), 4.0), everything)(z, t, NOTHING).x0.isfinite().all()


def test_guidance_is_the_same_in_the_coordinates_in_which_the_noise_is_independent() -> None:
    """Those of w = L⁻¹ z, where Σ = L L': frames that are given come first in L's order, and are given there too."""
    root = torch.linalg.cholesky(DECOMPOSED[0])
    white = Gaussian(
        SCHEDULE,
        torch.linalg.solve(root, MEAN),
        *(torch.linalg.solve(root, torch.linalg.solve(root, each).mT) for each in (DATA, DECOMPOSED[0])),
    )
    z, t, given = clips(), torch.full((2,), 0.4), clips(seed=3)[:, :2]
    first = torch.linalg.inv(root)
    ours = Following(gaussian(DECOMPOSED), Known(given, (0, 1), 1.0), DECOMPOSED)
    theirs = Following(white, Known(over_frames(first[:2, :2], given), (0, 1), 1.0))
    _, step, _ = ours._step(z, t, NOTHING, given)
    _, other, _ = theirs._step(over_frames(first, z), t, NOTHING, over_frames(first[:2, :2], given))
    torch.testing.assert_close(over_frames(first, step), other)


@pytest.mark.parametrize(
    ("covariance", "says"),
    [
        (torch.eye(4), "covariance has the shape (4, 4); it must be b t t, with the known frames [0, 3] among t"),
        (torch.eye(3)[None], "covariance has the shape (1, 3, 3); it must be b t t"),
        (torch.eye(4)[None] - 0.8, "covariance of the noise at the known frames has the eigenvalue -0.6; none may be"),
    ],
)
def test_what_no_covariance_can_be_is_refused(covariance: Tensor, says: str) -> None:
    with pytest.raises(InputError) as refusal:
        Following(gaussian(INDEPENDENT), Known(clips()[:, [0, 3]], (0, 3), 1.0), covariance)
    assert says in str(refusal.value)


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
        (torch.zeros(2, 1, 4, 4), (0,), 0.0, "known frames are 2, but their places are [0]; give one place"),
        (torch.zeros(0, 1, 4, 4), (), 0.0, "at least one frame"),
        (torch.zeros(2, 1, 4, 4), (1, 1), 0.0, "different numbers of at least 0"),
        (torch.zeros(2, 1, 4, 4), (-1, 1), 0.0, "different numbers of at least 0"),
        (torch.zeros(1, 1, 4, 4), (0,), -1.0, "weight of known frames is -1.0"),
        (torch.full((1, 1, 4, 4), torch.nan), (0,), 0.0, "not finite"),
    ],
)
def test_what_no_frames_can_be_is_refused(frames: Tensor, at: tuple[int, ...], weight: float, says: str) -> None:
    with pytest.raises(InputError) as refusal:
        Known(frames, at, weight)
    assert says in str(refusal.value)
