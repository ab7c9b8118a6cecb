"""Where sampling begins when there is a clip: the noise that belongs there, and the way back."""

from __future__ import annotations

import pytest
import torch
from gaussian import Gaussian
from torch import Tensor

from videofusion.diffusion import (
    Conditions,
    DecomposedNoise,
    IndependentNoise,
    Keys,
    NoiseSource,
    bind,
    get_sampler,
    make_schedule,
    times,
)
from videofusion.diffusion.editing import Inverted, Noised, last_steps, vary_noise
from videofusion.diffusion.kernels import make_noise
from videofusion.errors import InputError

FRAMES, SIZE = 4, 48
SCHEDULE = make_schedule("cosine")
SOURCE = DecomposedNoise(0.3)
SHARE = SOURCE.shares(1, FRAMES)
SIGMA = SOURCE.covariance(SHARE).double()
COVARIANCE = SIGMA[0]
TOLD = Conditions(share=SHARE)
PLACE = torch.arange(float(FRAMES), dtype=torch.float64)
DATA = 0.5 * torch.exp(-((PLACE[:, None] - PLACE) ** 2) / 6) + 0.02 * torch.eye(FRAMES, dtype=torch.float64)
LAW = Gaussian(SCHEDULE, torch.zeros(FRAMES, dtype=torch.float64), DATA, COVARIANCE)


def clip() -> Tensor:
    draws = torch.randn(1, FRAMES, 1, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return torch.einsum("ij,bjchw->bichw", torch.linalg.cholesky(DATA), draws)


def noise(seed: int = 0, frames: int = FRAMES):
    bound = bind(SOURCE, (1, frames, 1, SIZE, SIZE), Keys.of([seed]), SHARE if frames == FRAMES else torch.ones(1, 1))
    return lambda step: bound(step).double()


def over_frames(clip: Tensor) -> Tensor:
    rows = clip.transpose(0, 1).flatten(1)
    return rows @ rows.T / rows.shape[1]


def test_a_strength_is_the_part_of_the_steps_that_is_taken() -> None:
    grid = times(SCHEDULE, 10)
    assert torch.equal(last_steps(grid, 1.0), grid)
    assert torch.equal(last_steps(grid, 0.3), grid[-4:])
    assert torch.equal(last_steps(grid, 0.01), grid[-2:])
    for strength in (0.0, 1.2, -1.0, float("nan")):
        with pytest.raises(InputError, match="strength is"):
            last_steps(grid, strength)


def test_a_noised_clip_holds_the_models_own_noise() -> None:
    begun = Noised(clip(), 0.5)(LAW, TOLD, noise(), times(SCHEDULE, 10), SCHEDULE, SIGMA)
    alpha, sigma = SCHEDULE.alpha_sigma(begun.times[0].double())
    torch.testing.assert_close(begun.z, alpha * clip() + sigma * noise()(0))
    torch.testing.assert_close(over_frames((begun.z - alpha * clip()) / sigma), COVARIANCE, rtol=0, atol=0.06)
    whole = Noised(clip(), 1.0)(LAW, TOLD, noise(), times(SCHEDULE, 10), SCHEDULE, SIGMA)
    assert torch.equal(whole.z, noise()(0))  # no signal at the end of this schedule


def test_less_strength_stays_nearer_to_the_clip() -> None:
    """Of an exact denoiser, and the clip one of its law: what comes back is one of it, too."""
    near = []
    for strength in (0.2, 0.5, 0.8):
        z, stops = Noised(clip(), strength)(LAW, TOLD, noise(), times(SCHEDULE, 40).double(), SCHEDULE, SIGMA)
        made = get_sampler("ddim")(LAW, z, stops, schedule=SCHEDULE, conditions=TOLD)
        near.append(float((made - clip()).norm()))
        torch.testing.assert_close(over_frames(made), DATA, rtol=0, atol=0.1)
    assert near == sorted(near)


def test_an_inverted_clip_comes_back_and_its_noise_is_the_models() -> None:
    back: list[Tensor] = []
    inverted = Inverted(clip(), refinements=4, back=back.append)
    z, stops = inverted(LAW, TOLD, noise(), times(SCHEDULE, 60).double(), SCHEDULE, SIGMA)
    torch.testing.assert_close(over_frames(z), COVARIANCE, rtol=0, atol=0.12)
    made = get_sampler("ddim")(LAW, z, stops, schedule=SCHEDULE, conditions=TOLD)
    assert float((made - clip()).norm() / clip().norm()) < 0.05
    torch.testing.assert_close(back[0], made)


SOURCES = [SOURCE, IndependentNoise(), make_noise("mixed", 0.5), make_noise("progressive", 0.8)]


@pytest.mark.parametrize("source", SOURCES, ids=["decomposed", "independent", "mixed", "progressive"])
@pytest.mark.parametrize("fresh", [0.0, 0.4, 1.0])
def test_varied_noise_keeps_the_base_frame_and_its_covariance(fresh: float, source: NoiseSource) -> None:
    covariance = source.covariance(frames=range(FRAMES)).double()
    mine, others = (
        source.draw((1, FRAMES, 1, SIZE, SIZE), Keys.of([seed]), 0, frames=range(FRAMES)).eps.double()
        for seed in (1, 2)
    )
    varied = vary_noise(mine, others, fresh, covariance)
    at = FRAMES // 2
    torch.testing.assert_close(varied[:, at], mine[:, at])
    torch.testing.assert_close(over_frames(varied), covariance[0], rtol=0, atol=0.07)
    kept = over_frames(torch.cat([varied[:, :1], mine[:, :1]], dim=1))[0, 1]
    told = float(covariance[0, 0, at]) ** 2  # of the first frame's power
    assert float(kept) == pytest.approx(told + (1 - told) * (1 - fresh) ** 0.5, abs=0.07)


def test_of_one_noise_for_all_frames_nothing_is_varied() -> None:
    same = DecomposedNoise(1.0)
    mine, others = (same.draw((1, FRAMES, 1, 2, 2), Keys.of([seed]), 0).eps for seed in (1, 2))
    assert torch.equal(vary_noise(mine, others, 1.0, same.covariance(frames=range(FRAMES))), mine)


def test_it_is_inverted_under_its_own_conditions() -> None:
    seen: list[Conditions] = []

    def denoiser(z: Tensor, t: Tensor, conditions: Conditions):
        seen.append(conditions)
        return LAW(z, t, conditions)

    text, null, mine = (torch.full((1, 2, 3), value) for value in (1.0, 0.0, 2.0))
    told = Conditions(share=SHARE, text=text, null={"text": null}, middle_frame=torch.ones(1, 1, 1, SIZE, SIZE))
    options = (denoiser, told, noise(), times(SCHEDULE, 2), SCHEDULE, SIGMA)
    Inverted(clip())(*options)
    Inverted(clip(), source=Conditions(text=mine))(*options)
    assert [float(each.text[0, 0, 0]) for each in seen] == [0, 0, 2, 2]
    assert torch.equal(seen[0].middle_frame, clip()[:, 2:3])


def test_a_denoiser_of_one_frame_begins_from_the_middle_one() -> None:
    alone = Gaussian(SCHEDULE, torch.zeros(1).double(), DATA[:1, :1], torch.ones(1, 1).double())
    for beginning in (Noised(clip(), 0.5), Inverted(clip(), 0.5, fresh=0.7)):
        told = Conditions(share=torch.ones(1, 1))
        z, _ = beginning(alone, told, noise(frames=1), times(SCHEDULE, 10).double(), SCHEDULE, torch.ones(1, 1, 1))
        middle = Noised(clip()[:, 2:3], 0.5) if isinstance(beginning, Noised) else Inverted(clip()[:, 2:3], 0.5)
        other, _ = middle(alone, told, noise(frames=1), times(SCHEDULE, 10).double(), SCHEDULE, torch.ones(1, 1, 1))
        torch.testing.assert_close(z, other)  # of which nothing is varied: all of its noise is base noise


def test_refusals() -> None:
    with pytest.raises(InputError, match=r"fresh is 1\.5; it must lie in"):
        Inverted(clip(), fresh=1.5)
    with pytest.raises(InputError, match="clip has the shape"):
        Noised(clip()[:, :3], 0.5)(LAW, TOLD, noise(), times(SCHEDULE, 4), SCHEDULE, SIGMA)
