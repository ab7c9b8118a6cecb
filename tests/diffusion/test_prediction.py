"""Predictions: eps, x0, v and flow say the same thing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from videofusion.diffusion import Conditions, NetworkDenoiser, Prediction, make_schedule
from videofusion.diffusion.prediction import KINDS, expand
from videofusion.errors import InputError

SCALES = {"rotation": (math.cos(0.7), math.sin(0.7)), "exploding": (1.0, 3.0), "straight": (0.4, 0.6)}


def clip_and_noise() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 3, 1, 4, 4, generator=draw, dtype=torch.float64) for _ in range(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scales", SCALES)
def test_every_kind_gives_back_clip_and_noise(kind: str, scales: str) -> None:
    x0, eps = clip_and_noise()
    alpha, sigma = torch.tensor(SCALES[scales], dtype=torch.float64)
    z = alpha * x0 + sigma * eps
    outputs = {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0, "flow": eps - x0}
    prediction = Prediction.of(kind, outputs[kind], z, alpha, sigma)
    torch.testing.assert_close(prediction.x0, x0)
    torch.testing.assert_close(prediction.eps, eps)
    torch.testing.assert_close(prediction.v, outputs["v"])
    torch.testing.assert_close(prediction.flow, outputs["flow"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_output_still_agrees_with_z(kind: str) -> None:
    z, output = clip_and_noise()
    prediction = Prediction.of(kind, output, z, torch.tensor(0.8).double(), torch.tensor(0.7).double())
    torch.testing.assert_close(prediction.alpha * prediction.x0 + prediction.sigma * prediction.eps, z)


def test_another_clip_recomputes_the_noise() -> None:
    x0, eps = clip_and_noise()
    alpha, sigma = torch.tensor(SCALES["rotation"], dtype=torch.float64)
    prediction = Prediction(alpha * x0 + sigma * eps, x0, eps, alpha, sigma)
    torch.testing.assert_close(prediction.with_x0(x0).eps, eps)
    moved = prediction.with_x0(x0 + 1)
    torch.testing.assert_close(moved.alpha * moved.x0 + moved.sigma * moved.eps, prediction.z)
    clean = replace(prediction, alpha=torch.ones(()), sigma=torch.zeros(()))
    torch.testing.assert_close(clean.with_x0(x0 + 1).eps, eps)


def test_expand_gives_numbers_the_axes_of_a_clip() -> None:
    clip = torch.zeros(2, 3, 1, 4, 4)
    per_clip, per_frame = torch.arange(2.0), torch.arange(6.0).reshape(2, 3)
    assert (clip + expand(per_clip, clip))[1].unique().tolist() == [1]
    assert (clip + expand(per_frame.double(), clip))[1, 2].unique().tolist() == [5]
    assert expand(per_frame.double(), clip).dtype == clip.dtype


class Constant(torch.nn.Module):
    """A network that says `value` and keeps what it was told."""

    def forward(self, z: Tensor, time: Tensor, *, temporal: float, **conditions: Tensor) -> Tensor:
        self.told = (time, temporal, conditions)
        return torch.full_like(z, 0.5)


def test_a_network_is_told_its_own_time_and_the_given_conditions() -> None:
    network, z = Constant(), torch.randn(2, 3, 1, 4, 4)
    denoiser = NetworkDenoiser(network, make_schedule("linear"), prediction="eps")
    prediction = denoiser(z, torch.tensor([0.5, 1.0]), Conditions(labels=torch.tensor([3, 4]), temporal=0.0))
    time, temporal, conditions = network.told
    torch.testing.assert_close(time, torch.tensor([499.0, 999.0]))
    assert not temporal
    assert list(conditions) == ["labels"]
    torch.testing.assert_close(prediction.alpha * prediction.x0 + prediction.sigma * 0.5, z)


@pytest.mark.parametrize(("kind", "time"), [("eps", 1.0), ("x0", 0.0)])
def test_a_kind_that_says_nothing_at_an_end_is_refused_there(kind: str, time: float) -> None:
    z, t = torch.zeros(2, 3, 1, 4, 4), torch.tensor([0.5, time])
    for schedule in ("cosine", "linear_zero_snr"):
        with pytest.raises(InputError, match=f"prediction is '{kind}'"):
            NetworkDenoiser(Constant(), make_schedule(schedule), kind)(z, t, Conditions())
        prediction = NetworkDenoiser(Constant(), make_schedule(schedule), "v")(z, t, Conditions())
        assert prediction.x0.isfinite().all()
        assert prediction.eps.isfinite().all()


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"prediction is 'score'.*eps, x0, v, flow"):
        Prediction.of("score", *[torch.ones(1, 1, 1, 1, 1)] * 4)
