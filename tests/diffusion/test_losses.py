"""Losses: each weighting is the error of its reading; the joint loss is judged frame by frame."""

from __future__ import annotations

import pytest
import torch

from videofusion.diffusion import Prediction, frame_errors, joint_errors, make_schedule
from videofusion.diffusion.losses import LEAST_SIGMA, WEIGHTINGS
from videofusion.errors import InputError

ALPHA, SIGMA = (x.reshape(2, 1, 1, 1, 1) for x in make_schedule("cosine").alpha_sigma(torch.tensor([0.3, 0.8])))


def clips(seed: int) -> torch.Tensor:
    return torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


X0, EPS = clips(0), clips(1)
Z = ALPHA * X0 + SIGMA * EPS


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_perfect_prediction_has_no_error(weighting: str) -> None:
    errors = frame_errors(Prediction(Z, X0, EPS, ALPHA, SIGMA), X0, EPS, weighting)
    torch.testing.assert_close(errors, torch.zeros(2, 3))


def test_weightings_weigh_the_error_of_the_clip() -> None:
    """With z kept, an error e of x0 is alpha/sigma e in eps and e/sigma in v (variance preserving)."""
    prediction = Prediction(Z, X0, EPS, ALPHA, SIGMA).with_x0(clips(2))
    plain = frame_errors(prediction, X0, EPS, "x0")
    alpha, sigma = ALPHA.reshape(2, 1), SIGMA.reshape(2, 1)
    torch.testing.assert_close(plain, (clips(2) - X0).square().mean(dim=(2, 3, 4)))
    torch.testing.assert_close(frame_errors(prediction, X0, EPS, "eps"), plain * (alpha / sigma) ** 2)
    torch.testing.assert_close(frame_errors(prediction, X0, EPS, "v"), plain / sigma**2)
    torch.testing.assert_close(frame_errors(prediction, X0, EPS, "flow"), plain * ((alpha + sigma) / sigma) ** 2)
    torch.testing.assert_close(frame_errors(prediction, X0, EPS, "clipped_v"), plain / sigma**2)


def test_clipping_keeps_nearly_clean_frames_from_outweighing_the_others() -> None:
    alpha, sigma = make_schedule("cosine").alpha_sigma(torch.tensor(0.01))
    prediction = Prediction(alpha * X0 + sigma * EPS, X0, EPS, alpha, sigma).with_x0(X0 + 1)
    assert sigma < LEAST_SIGMA
    torch.testing.assert_close(frame_errors(prediction, X0, EPS, "clipped_v"), torch.full((2, 3), 1 / LEAST_SIGMA**2))


def test_the_base_is_judged_on_the_middle_frame_alone() -> None:
    wrong = X0.clone()
    wrong[:, 1] += 0.5
    base = Prediction(Z[:, 1:2], wrong[:, 1:2], EPS[:, 1:2], ALPHA, SIGMA)
    joint = Prediction(Z, X0, EPS, ALPHA, SIGMA)
    own, errors = joint_errors(base, joint, X0, EPS, torch.full((2, 3), 0.5), "x0")
    torch.testing.assert_close(own, torch.full((2,), 0.25))
    torch.testing.assert_close(errors, torch.zeros(2, 3))


def test_a_base_that_predicts_every_frame_is_judged_on_their_mean() -> None:
    wrong = X0.clone()
    wrong[:, 1] += 0.5
    base = joint = Prediction(Z, wrong, EPS, ALPHA, SIGMA)
    own, errors = joint_errors(base, joint, X0, EPS, torch.full((2, 3), 0.5), "x0")
    torch.testing.assert_close(own, torch.full((2,), 0.25 / 3))
    torch.testing.assert_close(errors, torch.tensor([0, 0.25, 0]).expand(2, 3))


def test_an_unknown_weighting_is_refused() -> None:
    with pytest.raises(InputError, match=r"weighting is 'snr'.*eps, v, flow, clipped_v, x0"):
        frame_errors(Prediction(Z, X0, EPS, ALPHA, SIGMA), X0, EPS, "snr")
