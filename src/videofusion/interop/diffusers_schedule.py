"""The schedule and prediction of a diffusers pipeline folder, by our names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import read_json

PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
# beta_schedule -> first and last beta of ours of that name
BETAS = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}


def schedule_from_diffusers(folder: str | Path) -> tuple[str, str]:
    """The names of our schedule and prediction for a pipeline's scheduler.

    Samplers' options (spacing, offsets, clipping) are not read: here the sampler is the user's choice, and Stable
    Diffusion's own grid is the spacing "sd".

    Args:
        folder: of a pipeline, or its `scheduler` folder.

    Returns:
        what `make_schedule` and `NetworkDenoiser` take; of flow matching "rectified_flow" with its shift, of Euler's
        steps in continuous time and of EDM "edm" with its highest sigma. A shift that follows the size is left out.

    Raises:
        InputError: a schedule or a prediction that we do not have.
    """
    folder = Path(folder)
    if (folder / "scheduler").is_dir():
        folder = folder / "scheduler"
    config = read_json(folder / "scheduler_config.json")

    kind = str(config.get("_class_name", ""))
    if kind.startswith("FlowMatch") or config.get("prediction_type") == "flow_prediction":
        return _flow_matching(config)
    if kind.startswith("EDM") or config.get("timestep_type") == "continuous":
        return _edm(config)
    name: Any = config.get("beta_schedule")
    if name not in BETAS:
        raise InputError(f"beta_schedule is {name!r}; it must be one of {', '.join(BETAS)}")
    if config.get("trained_betas") is not None:
        raise InputError("trained_betas are given; only beta_schedule linear and scaled_linear are known")
    steps = config.get("num_train_timesteps", 1000)
    if steps != 1000:
        raise InputError(f"num_train_timesteps is {steps}; it must be 1000")
    for option, own, default in zip(("beta_start", "beta_end"), BETAS[name], (1e-4, 0.02), strict=True):
        value = config.get(option, default)
        if not (isinstance(value, int | float) and math.isclose(value, own, rel_tol=1e-6)):
            raise InputError(f"{option} is {value!r}; with beta_schedule {name!r} it must be {own}")
    predicted = config.get("prediction_type", "epsilon")
    if predicted not in PREDICTIONS:
        raise InputError(f"prediction_type is {predicted!r}; it must be one of {', '.join(PREDICTIONS)}")
    return name + "_zero_snr" * bool(config.get("rescale_betas_zero_snr", False)), PREDICTIONS[predicted]


def _flow_matching(config: Mapping[str, Any]) -> tuple[str, str]:
    _only(config, {"num_train_timesteps": 1000, "invert_sigmas": False})
    shift = float(config.get("shift", config.get("flow_shift", 1.0)))
    if config.get("use_dynamic_shifting"):  # by size, when sampling
        shift = 1.0
    return "rectified_flow" if shift == 1 else f"rectified_flow:{shift:g}", "flow"


def _edm(config: Mapping[str, Any]) -> tuple[str, str]:
    # with sigma_data other than 1 clips would have another scale; their "epsilon" is minus our v
    _only(config, {"sigma_min": 0.002, "sigma_data": 1.0, "prediction_type": "v_prediction"})
    high = config.get("sigma_max")
    if high is None:
        raise InputError("sigma_max is None; a scheduler in continuous time must have one")
    return f"edm:{float(high):g}", "v"


def _only(config: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise InputError for an option of a scheduler that has another value than the one which is known here."""
    for option, own in values.items():
        value = config.get(option, own)
        if value != own:
            raise InputError(f"{option} is {value!r}; in {config.get('_class_name')} it must be {own!r}")
