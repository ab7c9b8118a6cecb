"""Samplers against diffusers' schedulers, where both define the same thing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from videofusion.diffusion import DecomposedNoise, Keys, NetworkDenoiser, bind, make_schedule, times
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.samplers import ddim, ddpm, dpmpp_2m

SHAPE = (2, 3, 1, 4, 4)
NAMES = {"linear": ("linear", 0.0001, 0.02, False), "scaled_linear": ("scaled_linear", 0.00085, 0.012, False),
         "scaled_linear_zero_snr": ("scaled_linear", 0.00085, 0.012, True)}  # fmt: skip
KINDS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}


class Network(torch.nn.Module):
    """Anything smooth in clip and time."""

    def forward(self, z: Tensor, time: Tensor, temporal: float = 1.0) -> Tensor:
        return torch.sin(2 * z + time.reshape(-1, 1, 1, 1, 1) / 300) * 0.8


def peer_clips(scheduler, steps: int, start: Tensor, **options) -> list[Tensor]:
    """The clip after every step of a scheduler of diffusers."""
    scheduler.set_timesteps(steps)
    z, clips = start, []
    for i, step in enumerate(scheduler.timesteps):
        noise = {name: make(i) for name, make in options.items()}
        z = scheduler.step(Network()(z, step.float()), step, z, **noise).prev_sample
        clips.append(z)
    return clips


def peer_options(name: str, kind: str) -> dict:
    shape, first, last, zero = NAMES[name]
    return {
        "beta_schedule": shape,
        "beta_start": first,
        "beta_end": last,
        "rescale_betas_zero_snr": zero,
        "prediction_type": KINDS[kind],
    }


CASES = [(name, kind) for name in NAMES for kind in KINDS if not (kind == "eps" and NAMES[name][3])]


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize(("spacing", "eta"), [("trailing", 0.0), ("leading", 0.0), ("trailing", 0.7)])
def test_ddim(name: str, kind: str, spacing: str, eta: float) -> None:
    from diffusers import DDIMScheduler

    schedule, noise = make_schedule(name), bind(DecomposedNoise(0.5), SHAPE, Keys.of([1, 2]))
    peer = DDIMScheduler(clip_sample=False, timestep_spacing=spacing, **peer_options(name, kind))
    own = {"eta": lambda i: eta, "variance_noise": lambda i: noise(i + 1)} if eta else {}
    theirs = peer_clips(peer, 20, noise(0), **own)[-1]
    options = {"schedule": schedule, "conditions": Conditions(), "noise": noise, "eta": eta}
    denoiser = NetworkDenoiser(Network(), schedule, kind)
    ours = ddim(denoiser, noise(0), times(schedule, 20, spacing=spacing), **options)
    torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if not NAMES[case[0]][3]])
@pytest.mark.parametrize("steps", [8, 25])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with numpy 2
def test_dpm_solver(name: str, kind: str, steps: int) -> None:
    from diffusers import DPMSolverMultistepScheduler

    schedule, start = make_schedule(name), bind(DecomposedNoise(0.5), SHAPE, Keys.of([1, 2]))(0)
    options = peer_options(name, kind) | {"timestep_spacing": "trailing", "final_sigmas_type": "zero"}
    peer = DPMSolverMultistepScheduler(solver_order=2, algorithm_type="dpmsolver++", **options)
    theirs = peer_clips(peer, steps, start)[-1]
    denoiser = NetworkDenoiser(Network(), schedule, kind)
    ours = dpmpp_2m(denoiser, start, times(schedule, steps), schedule=schedule, conditions=Conditions())
    torch.testing.assert_close(ours, theirs, rtol=5e-4, atol=5e-4)


@pytest.mark.parametrize(("variance", "gamma"), [("fixed_small", 0.0), ("fixed_large", 1.0)])
def test_ddpm(variance: str, gamma: float, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers import DDPMScheduler
    from diffusers.schedulers import scheduling_ddpm

    schedule, noise = make_schedule("linear"), bind(DecomposedNoise(0.5), SHAPE, Keys.of([1, 2]))
    draws = iter(range(1, 1000))
    monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: noise(next(draws)))
    peer = DDPMScheduler(
        clip_sample=False, timestep_spacing="trailing", variance_type=variance, **peer_options("linear", "eps")
    )
    options = {"schedule": schedule, "conditions": Conditions(), "noise": noise, "gamma": gamma}
    # up to the last step, where diffusers adds noise to the clean clip if the variance is the large one
    ours = ddpm(NetworkDenoiser(Network(), schedule, "eps"), noise(0), times(schedule, 20)[:-1], **options)
    torch.testing.assert_close(ours, peer_clips(peer, 20, noise(0))[-2], rtol=5e-4, atol=5e-4)


@pytest.mark.parametrize(("spacing", "own"), [("sd", "leading"), ("sd-trailing", "trailing")])
@pytest.mark.parametrize("steps", [5, 20, 50])
def test_stable_diffusion_s_own_walk(spacing: str, own: str, steps: int) -> None:
    """From first to last step as its scheduler takes them: an offset of 1, and no step to clean data at the end."""
    from diffusers import DDIMScheduler

    schedule, start = make_schedule("scaled_linear"), bind(DecomposedNoise(0.5), SHAPE, Keys.of([1, 2]))(0)
    options = peer_options("scaled_linear", "eps") | {"steps_offset": 1, "set_alpha_to_one": False}
    peer = DDIMScheduler(clip_sample=False, timestep_spacing=own, **options)
    theirs = peer_clips(peer, steps, start.double())[-1]
    denoiser = NetworkDenoiser(Network(), schedule, "eps")
    t = times(schedule, steps, spacing=spacing)
    ours = ddim(denoiser, start.double(), t, schedule=schedule, conditions=Conditions())
    # eps / alpha at the noisy end multiplies rounding by 15
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    if (steps, spacing) == (20, "sd"):  # the grid matters as much as that
        plain = ddim(denoiser, start.double(), times(schedule, 20), schedule=schedule, conditions=Conditions())
        assert (plain - theirs).norm() > 0.02 * theirs.norm()


@pytest.mark.parametrize(("name", "high"), [("edm", 80.0), ("edm:700", 700.0)])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers with numpy 2
def test_ddim_on_edm_is_the_euler_sampler_of_diffusers(name: str, high: float) -> None:
    from diffusers import EulerDiscreteScheduler

    schedule, start = make_schedule(name), bind(DecomposedNoise(0.5), SHAPE, Keys.of([1, 2]))(0)
    peer = EulerDiscreteScheduler(
        sigma_min=0.002, sigma_max=high, timestep_type="continuous", use_karras_sigmas=True,
        timestep_spacing="leading", **peer_options("scaled_linear", "v"),
    )  # fmt: skip
    peer.set_timesteps(10)
    z = start * peer.init_noise_sigma
    for step in peer.timesteps:
        seen = peer.scale_model_input(z, step)
        z = peer.step(Network()(seen, 1000 * step.float()), step, z).prev_sample
    denoiser = NetworkDenoiser(Loud(), schedule, "v")
    t = times(schedule, 10, spacing="karras")
    ours = ddim(denoiser, start, t, schedule=schedule, conditions=Conditions())
    assert (ours - z).norm() < 3e-6 * z.norm()


class Loud(Network):
    """The network, told a thousand times what it is told, so that it hears the small numbers of EDM."""

    def forward(self, z: Tensor, time: Tensor, temporal: float = 1.0) -> Tensor:
        return super().forward(z, 1000 * time)


@pytest.mark.parametrize(("name", "shift"), [("rectified_flow", 1.0), ("rectified_flow:3", 3.0)])
def test_ddim_on_rectified_flow_is_the_flow_matching_sampler_of_diffusers(name: str, shift: float) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    schedule, start = make_schedule(name), bind(DecomposedNoise(0.5), SHAPE, Keys.of([1, 2]))(0)
    peer = FlowMatchEulerDiscreteScheduler(shift=shift)
    peer.set_timesteps(sigmas=[1 - i / 10 for i in range(10)])
    z = start
    for step in peer.timesteps:
        z = peer.step(Network()(z, step), step, z).prev_sample
    denoiser = NetworkDenoiser(Network(), schedule, "flow")
    ours = ddim(denoiser, start, times(schedule, 10), schedule=schedule, conditions=Conditions())
    assert (ours - z).norm() < 3e-6 * z.norm()
