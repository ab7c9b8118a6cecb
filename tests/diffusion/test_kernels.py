"""Noise of other covariances over frames: the covariance, exactly and as drawn; windows; samplers; what has none."""

from __future__ import annotations

import math

import pytest
import torch
from gaussian import Gaussian
from torch import Tensor

from videofusion.diffusion import (
    Conditions,
    DecomposedNoise,
    Following,
    IndependentNoise,
    Keys,
    Known,
    Prediction,
    bind,
    expand,
    kernels,
    make_noise,
    make_schedule,
    times,
)
from videofusion.diffusion.kernels import KINDS, MOST_FRAMES, KernelNoise, Kind
from videofusion.diffusion.samplers import SAMPLERS
from videofusion.errors import InputError

FRAMES = 6
SHAPE = (2, FRAMES, 3, 40, 40)
KEYS = Keys.of([3, 4])
LAG = (torch.arange(10.0)[:, None] - torch.arange(10.0)).abs().double()
SCHEDULE = make_schedule("cosine")
CASES = {
    "mixed": (0.3, 0.3 + 0.7 * (LAG == 0).double()),
    "progressive": (-0.6, (-0.6) ** LAG),
    "ou": (3.0, (-LAG / 3).exp()),
    "rbf": (2.5, 0.99 * (-(LAG**2) / 12.5).exp() + 0.01 * (LAG == 0).double()),
    "shuffled": (4.0, None),
}
NOISES = [make_noise("independent"), *(KernelNoise(kind, parameter) for kind, (parameter, _) in CASES.items())]


def names(noise: object) -> str:
    return getattr(noise, "kind", "independent")


def test_every_kind_is_tested() -> None:
    assert CASES.keys() == KINDS.keys()


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind != "shuffled"])
def test_the_covariance_is_the_kernel_s(kind: str) -> None:
    parameter, wanted = CASES[kind]
    noise = KernelNoise(kind, parameter)
    found = noise.covariance(frames=range(10))
    torch.testing.assert_close(found, wanted[None])
    torch.testing.assert_close(noise.covariance(frames=[7, 2]), found[:, [7, 2]][:, :, [7, 2]])
    assert torch.equal(noise.covariance(torch.ones(3, 10)), found.expand(3, -1, -1))
    root = kernels._factor(kind, parameter)
    assert torch.equal(root, root.tril())


@pytest.mark.parametrize("noise", NOISES, ids=names)
def test_drawn_noise_has_its_covariance_and_is_normal(noise) -> None:
    drawn = torch.stack([noise.draw(SHAPE, KEYS, step, frames=range(2, 8)).eps for step in range(3)], dim=2)
    rows = drawn.flatten(2).double()  # [b t n]
    wanted = noise.covariance(frames=range(2, 8)).double()
    # the standard error of a product's mean is at most sqrt(2 / n)
    tolerance = 5 * math.sqrt(2 / rows.shape[2])
    assert (rows @ rows.mT / rows.shape[2] - wanted).abs().max() < tolerance
    assert rows.mean(2).abs().max() < tolerance
    assert (rows**4).mean(2).sub(3).abs().max() < 5 * math.sqrt(96 / rows.shape[2])
    assert drawn.dtype == torch.float32


@pytest.mark.parametrize("noise", NOISES, ids=names)
def test_windows_and_batches_are_parts_of_the_whole_and_longer_clips_keep_their_beginning(noise) -> None:
    whole = noise.draw((2, 40, 1, 5, 7), KEYS, 4).eps
    window = noise.draw((1, 3, 1, 5, 7), Keys.of([4]), 4, frames=[33, 5, 20]).eps
    assert torch.equal(window, whole[1:, [33, 5, 20]])
    assert torch.equal(noise.draw((2, 7, 1, 5, 7), KEYS, 4).eps, whole[:, :7])
    assert not torch.isclose(noise.draw((2, 40, 1, 5, 7), KEYS, 5).eps, whole, atol=1e-6).any(dim=-1).all()


def test_shuffled_noise_is_that_of_the_first_window_in_another_order() -> None:
    shape = (1, 12, 3, 4, 4)
    drawn = KernelNoise("shuffled", 4.0).draw(shape, Keys.of([7]), 0).eps
    independent = IndependentNoise().draw(shape, Keys.of([7]), 0).eps
    assert torch.equal(drawn[:, :4], independent[:, :4])
    windows = [
        [int((drawn[0, :4] == frame).flatten(1).all(1).nonzero()) for frame in drawn[0, first : first + 4]]
        for first in (0, 4, 8)
    ]
    assert [sorted(order) for order in windows] == [[0, 1, 2, 3]] * 3
    orders = kernels._factor("shuffled", 4.0).argmax(1).reshape(-1, 4)
    assert len({tuple(order) for order in orders.tolist()}) == 24  # of 256 windows: every order occurs
    wanted = (drawn[0, :, None] == drawn[0]).flatten(2).all(2).double()
    assert torch.equal(KernelNoise("shuffled", 4.0).covariance(frames=range(12))[0], wanted)


def test_kinds_that_are_others_at_a_limit() -> None:
    for kind, parameter in (("mixed", 0.0), ("progressive", 0.0), ("shuffled", float(MOST_FRAMES))):
        apart = KernelNoise(kind, parameter).draw(SHAPE, KEYS, 1).eps
        assert torch.equal(apart, IndependentNoise().draw(SHAPE, KEYS, 1).eps)
    one, other = KernelNoise("ou", 3.0), KernelNoise("progressive", math.exp(-1 / 3))
    torch.testing.assert_close(one.draw(SHAPE, KEYS, 1).eps, other.draw(SHAPE, KEYS, 1).eps)
    # VideoFusion's covariance, but for the base frame
    own = DecomposedNoise(0.3).covariance(frames=range(5))[0][[0, 1, 3, 4]][:, [0, 1, 3, 4]].double()
    torch.testing.assert_close(KernelNoise("mixed", 0.3).covariance(frames=[0, 1, 3, 4])[0], own)


@pytest.mark.parametrize("noise", NOISES, ids=names)
@pytest.mark.parametrize("sampler", ["ddpm", "dpm++sde", "langevin"])
def test_samplers_add_noise_of_the_source_s_covariance(sampler: str, noise) -> None:
    """The whole clip is known: what is left at each step is noise."""
    x = torch.zeros(1, FRAMES, 3, 64, 64, dtype=torch.float64)
    wanted = noise.covariance(frames=range(FRAMES))[0].double()
    states = []

    def knows(z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        alpha, sigma = SCHEDULE.alpha_sigma(t[:1].double())
        return Prediction(z, x, (z - alpha * x) / sigma, alpha, sigma)

    def look(z: Tensor, t: Tensor) -> Tensor:
        sigma = SCHEDULE.alpha_sigma(t.double())[1]
        if sigma > 0:
            rows = (z / sigma)[0].flatten(1)
            states.append(rows @ rows.T / rows.shape[1] - wanted)
        return z

    drawn = bind(noise, x.shape, Keys.of([5]))
    options = {"schedule": SCHEDULE, "conditions": Conditions(), "noise": drawn, "on_state": look}
    SAMPLERS[sampler](knows, drawn(0).double(), times(SCHEDULE, 4), **options)
    assert len(states) >= 3
    assert torch.stack(states).abs().max() < 0.06  # 12,288 numbers: 5 standard errors of a square's mean


@pytest.mark.parametrize("noise", [each for each in NOISES if names(each) != "shuffled"], ids=names)
def test_at_the_right_weight_one_given_frame_makes_the_exact_conditional_mean(noise) -> None:
    """Tweedie's formula has the source's covariance in it; the identity in its place is wrong."""
    covariance = noise.covariance(frames=range(FRAMES)).double()
    position = torch.arange(float(FRAMES)).double()
    data = 0.4 * torch.exp(-((position[:, None] - position) ** 2) / 4) + 0.02 * torch.eye(FRAMES).double()
    denoiser = Gaussian(SCHEDULE, position / 10, data, covariance[0])
    z, t = noise.draw((2, FRAMES, 1, 3, 3), KEYS, 0).eps.double(), torch.full((2,), 0.6)
    alpha, sigma = SCHEDULE.alpha_sigma(t[:1].double())
    posterior = torch.linalg.inv(torch.linalg.inv(data) + (alpha / sigma) ** 2 * torch.linalg.inv(covariance[0]))
    weight = float((sigma / alpha) ** 2 / posterior[0, 0])
    plain, given = denoiser(z, t, Conditions()).x0, torch.full((2, 1, 1, 3, 3), 0.7).double()
    exact = plain + expand((posterior[:, 0] / posterior[0, 0])[None], z) * (given - plain[:, :1])
    known = Known(given, (0,), weight)
    torch.testing.assert_close(Following(denoiser, known, covariance)(z, t, Conditions()).x0, exact)
    if names(noise) != "independent":
        plainly = Following(denoiser, known, torch.eye(FRAMES).double()[None])(z, t, Conditions()).x0
        assert (plainly - exact).norm() > 0.05 * (exact - plain).norm()


@pytest.mark.parametrize(
    ("kind", "parameter"),
    [
        *((kind, math.nan) for kind in KINDS),
        ("mixed", -math.inf),
        ("ou", math.inf),
        ("shuffled", math.inf),
        ("mixed", 1.0),
        ("mixed", -0.2),
        ("progressive", 1.0),
        ("progressive", -1.1),
        ("ou", 0.0),
        ("ou", -2.0),
        ("rbf", 0.0),
        ("rbf", -2.0),
        ("shuffled", 0),
        ("shuffled", 2.5),
        ("shuffled", MOST_FRAMES + 1),
    ],
)
def test_a_kernel_that_is_not_positive_definite_is_refused(kind: str, parameter: float) -> None:
    with pytest.raises(InputError) as refusal:
        make_noise(kind, parameter)
    said = f"noise_parameter is {float(parameter)}, with which '{kind}' noise has no positive definite covariance"
    assert str(refusal.value) == f"{said}; it must be {KINDS[kind].says}"


def test_a_new_kind_is_a_line_and_one_that_is_no_covariance_a_sentence(monkeypatch) -> None:
    monkeypatch.setitem(
        KINDS, "box", Kind(2, "what it is", lambda i, j, p: kernels._root(((i - j).abs() < p).double()))
    )
    with pytest.raises(InputError, match="'box' noise has no positive definite covariance; it must be what it is"):
        make_noise("box", 3)
    assert torch.equal(make_noise("box", 1).covariance(frames=range(4)), torch.eye(4).double()[None])


def test_other_bad_input() -> None:
    with pytest.raises(InputError, match="noise is 'brown'; it must be one of independent, mixed, progressive"):
        make_noise("brown")
    with pytest.raises(InputError, match=r"noise_parameter is 0.5; independent noise takes none, so leave it out"):
        make_noise("independent", 0.5)
    noise = make_noise("ou")
    for frame in (-1, MOST_FRAMES):
        with pytest.raises(InputError, match=f"frames holds {frame}; 'ou' noise has frames 0 to 1023"):
            noise.draw((1, 1, 1, 2, 2), Keys.of([0]), 0, frames=[frame])
        with pytest.raises(InputError, match=f"frames holds {frame}"):
            noise.covariance(frames=[frame])
    with pytest.raises(InputError, match="keys holds 1 seeds"):
        noise.draw((2, 1, 1, 2, 2), Keys.of([0]), 0)
