"""Inversion: diffusers' numbers at every step, the exact flow in the limit, and the way back with refinements."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from gaussian import Gaussian
from torch import Tensor, nn

from videofusion.diffusion import (
    Conditions,
    DecomposedNoise,
    NetworkDenoiser,
    get_sampler,
    invert,
    make_schedule,
    times,
)
from videofusion.errors import InputError

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
SCHEDULE = make_schedule("scaled_linear")
NOTHING = Conditions()


class Small(nn.Module):
    """A network of clips that depends on place, time and every frame."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, z: Tensor, time: Tensor, temporal: float = 1.0) -> Tensor:
        seen = self.first(z.flatten(0, 1)) + torch.sin(time / 300).reshape(-1, 1, 1, 1)
        return self.last(torch.nn.functional.silu(seen)).unflatten(0, z.shape[:2]) + 0.1 * z.mean(dim=1, keepdim=True)


KINDS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
GRIDS = {
    "leading": {"timestep_spacing": "leading", "set_alpha_to_one": True},
    "sd": {"timestep_spacing": "leading", "set_alpha_to_one": False, "steps_offset": 1},
    "trailing": {"timestep_spacing": "trailing", "set_alpha_to_one": True},
}


@pytest.mark.parametrize("spacing", GRIDS)
@pytest.mark.parametrize("kind", ["eps", "v"])
@torch.no_grad()
def test_has_the_numbers_of_diffusers_at_every_step_there_and_back(spacing: str, kind: str) -> None:
    network, steps = Small(), 20
    clip = torch.randn(1, 3, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    options = SD | GRIDS[spacing] | {"prediction_type": KINDS[kind]}
    theirs: list[Tensor] = []
    z = clip
    for scheduler in (DDIMInverseScheduler(**options), DDIMScheduler(**options)):
        scheduler.set_timesteps(steps)
        for n in scheduler.timesteps:
            z = scheduler.step(network(z, n.float().expand(1)), n, z).prev_sample
            theirs.append(z)

    ours: list[Tensor] = []

    def keep(z: Tensor, t: Tensor) -> Tensor:
        ours.append(z)
        return z

    stops = times(SCHEDULE, steps, spacing=spacing)
    told = {"schedule": SCHEDULE, "conditions": NOTHING, "on_state": keep}
    denoiser = NetworkDenoiser(network, SCHEDULE, kind)
    noise = invert(denoiser, clip, stops.flip(0), reads=kind, **told)
    get_sampler("ddim")(denoiser, noise, stops, **told)
    assert len(ours) == len(theirs) == 2 * steps
    for one, other in zip(ours, theirs, strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-4


FRAMES = 4
PLACE = torch.arange(float(FRAMES), dtype=torch.float64)
DATA = 0.5 * torch.exp(-((PLACE[:, None] - PLACE) ** 2) / 6) + 0.02 * torch.eye(FRAMES, dtype=torch.float64)
MEAN = torch.tensor([0.3, -0.2, 0.1, 0.0], dtype=torch.float64)
SHARED = DecomposedNoise(0.5).covariance(DecomposedNoise(0.5).shares(1, FRAMES).double())[0]
ALONE = torch.eye(FRAMES, dtype=torch.float64)


def clips() -> Tensor:
    """Two clips of the law."""
    draws = torch.randn(2, FRAMES, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    clip = torch.einsum("ij,bjchw->bichw", torch.linalg.cholesky(DATA), draws)
    return clip + MEAN[None, :, None, None, None]


@pytest.mark.parametrize("noise", [ALONE, SHARED], ids=["independent", "decomposed"])
@pytest.mark.parametrize("name", ["cosine", "scaled_linear", "rectified_flow"])
def test_follows_the_flow_to_the_first_order(name: str, noise: Tensor) -> None:
    schedule = make_schedule(name)
    law = Gaussian(schedule, MEAN, DATA, noise)
    first, last = (torch.tensor(t, dtype=torch.float64) for t in (0.1, 0.9))
    right = law.flow(clips(), first, last)

    def error(steps: int) -> float:
        stops = torch.linspace(0.1, 0.9, steps + 1, dtype=torch.float64)
        return float((invert(law, clips(), stops, schedule=schedule, conditions=NOTHING) - right).norm())

    assert error(160) < 0.05 * float(right.norm())
    assert 1.6 < error(80) / error(160) < 2.6


@pytest.mark.parametrize("noise", [ALONE, SHARED], ids=["independent", "decomposed"])
@pytest.mark.parametrize("name", ["cosine", "scaled_linear", "rectified_flow", "edm"])
def test_with_refinements_ddim_comes_back_to_the_clip(name: str, noise: Tensor) -> None:
    schedule = make_schedule(name)
    law, clip = Gaussian(schedule, MEAN, DATA, noise), clips()
    stops = times(schedule, 20, spacing="flow", start=0.95).double()
    told = {"schedule": schedule, "conditions": NOTHING}

    def missed(refinements: int) -> float:
        noisy = invert(law, clip, stops.flip(0), refinements=refinements, **told)
        return float((get_sampler("ddim")(law, noisy, stops, **told) - clip).norm() / clip.norm())

    found = [missed(count) for count in (0, 2, 40)]
    assert found[1] < 0.5 * found[0]
    assert found[2] < 1e-3


def test_a_schedule_without_signal_at_its_end_is_inverted_to_the_end() -> None:
    schedule = make_schedule("cosine")
    law, clip = Gaussian(schedule, MEAN, DATA, ALONE), clips()
    stops, told = times(schedule, 40).double(), {"schedule": schedule, "conditions": NOTHING}
    noisy = invert(law, clip, stops.flip(0), refinements=6, **told)
    assert noisy.isfinite().all()
    assert float((get_sampler("ddim")(law, noisy, stops, **told) - clip).norm() / clip.norm()) < 0.05


@pytest.mark.parametrize(
    ("stops", "options", "says"),
    [
        ([1.0, 0.5, 0.0], {}, "times go from 1 down; an inversion goes from a clip to noise"),
        ([0.5], {}, "at least two times"),
        ([0.0, 0.5], {"refinements": -1}, "refinements is -1"),
        ([0.0, 0.5], {"reads": "noise"}, "reads is 'noise'; it must be one of eps, x0, v, flow"),
        ([0.0, 0.5], {"reads": "x0"}, "reads is 'x0', which says nothing of the noise where there is none"),
    ],
)
def test_refusals(stops: list[float], options: dict, says: str) -> None:
    law = Gaussian(SCHEDULE, MEAN, DATA, ALONE)
    with pytest.raises(InputError, match=says):
        invert(law, clips(), torch.tensor(stops), schedule=SCHEDULE, conditions=NOTHING, **options)


def test_a_step_from_the_clip_to_noise_alone_cannot_be_refined() -> None:
    schedule = make_schedule("cosine")
    law, told = Gaussian(schedule, MEAN, DATA, ALONE), {"schedule": schedule, "conditions": NOTHING}
    assert invert(law, clips(), torch.tensor([0.0, 1.0]), **told).isfinite().all()
    with pytest.raises(InputError, match="a step goes from the clip to noise alone"):
        invert(law, clips(), torch.tensor([0.0, 1.0]), refinements=1, **told)
