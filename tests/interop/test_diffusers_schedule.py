"""A scheduler's folder gives the schedule that the scheduler itself uses."""

from pathlib import Path

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchLCMScheduler,
)

from videofusion.diffusion.schedules import make_schedule
from videofusion.errors import InputError
from videofusion.interop.diffusers_schedule import schedule_from_diffusers

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.mark.parametrize(
    ("options", "prediction"),
    [
        (SD, "eps"),
        (SD | {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}, "v"),
        ({"prediction_type": "sample"}, "x0"),
        ({"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"}, "v"),
    ],
)
def test_has_the_schedulers_own_alphas(tmp_path: Path, options: dict, prediction: str) -> None:
    scheduler = DDIMScheduler(**options)
    scheduler.save_pretrained(tmp_path)
    name, kind = schedule_from_diffusers(tmp_path)
    assert kind == prediction
    schedule = make_schedule(name)
    n = torch.arange(1000)
    alpha, _ = schedule.alpha_sigma((n + 1).double() / 1000)
    torch.testing.assert_close(alpha.square(), scheduler.alphas_cumprod.double(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(schedule.network_time((n + 1).double() / 1000), n.double())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"beta_schedule": "squaredcos_cap_v2"}, "beta_schedule"),
        ({"beta_schedule": "scaled_linear"}, "beta_start"),
        ({"beta_end": 0.01}, "beta_end"),
        ({"beta_end": "high"}, "beta_end is 'high'"),
        ({"num_train_timesteps": 500}, "num_train_timesteps"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas"),
        ({"prediction_type": "flow"}, "prediction_type"),
    ],
)
def test_refuses_others_by_name(tmp_path: Path, options: dict, said: str) -> None:
    scheduler = DDPMScheduler()
    scheduler.register_to_config(**options)
    scheduler.save_config(tmp_path)
    with pytest.raises(InputError, match=said):
        schedule_from_diffusers(tmp_path)


def test_a_pipeline_folder_has_it_in_its_scheduler(tmp_path: Path) -> None:
    DDPMScheduler(**SD).save_pretrained(tmp_path / "scheduler")
    assert schedule_from_diffusers(tmp_path) == ("scaled_linear", "eps")
    with pytest.raises(InputError, match="scheduler_config"):
        schedule_from_diffusers(tmp_path / "unet")


SVD = {"sigma_min": 0.002, "sigma_max": 700.0, "timestep_type": "continuous", "prediction_type": "v_prediction"}
EDM = {"sigma_data": 1.0, "prediction_type": "v_prediction"}


@pytest.mark.parametrize(
    ("scheduler", "named"),
    [
        (FlowMatchEulerDiscreteScheduler(), ("rectified_flow", "flow")),
        (FlowMatchEulerDiscreteScheduler(shift=3.0), ("rectified_flow:3", "flow")),
        (FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True), ("rectified_flow", "flow")),
        (
            DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
            ("rectified_flow:3", "flow"),
        ),
        (EulerDiscreteScheduler(use_karras_sigmas=True, **SD, **SVD), ("edm:700", "v")),
        (EulerDiscreteScheduler(**SD), ("scaled_linear", "eps")),
        (EDMEulerScheduler(**EDM), ("edm:80", "v")),
    ],
)
def test_knows_schedulers_in_continuous_time(tmp_path: Path, scheduler: DDIMScheduler, named: tuple[str, str]) -> None:
    scheduler.save_pretrained(tmp_path)
    assert schedule_from_diffusers(tmp_path) == named
    make_schedule(named[0])


@pytest.mark.parametrize(
    ("scheduler", "said"),
    [
        (FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "invert_sigmas is True"),
        (FlowMatchLCMScheduler(num_train_timesteps=500), "num_train_timesteps is 500"),
        (EDMEulerScheduler(prediction_type="v_prediction"), "sigma_data is 0.5; in EDMEulerScheduler"),
        (EDMEulerScheduler(sigma_data=1.0), "prediction_type is 'epsilon'"),
        (EulerDiscreteScheduler(**SD, **{**SVD, "sigma_min": 0.1}), "sigma_min is 0.1"),
        (EulerDiscreteScheduler(**SD, **{**SVD, "sigma_max": None}), "sigma_max is None"),
    ],
)
def test_refuses_others_in_continuous_time(tmp_path: Path, scheduler: DDIMScheduler, said: str) -> None:
    scheduler.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=said):
        schedule_from_diffusers(tmp_path)
