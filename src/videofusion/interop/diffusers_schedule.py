"""What a diffusers pipeline folder says of its diffusion: our schedule and our prediction by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from videofusion.errors import InputError
from videofusion.interop.diffusers_unet import read_json

PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
# beta_schedule -> first and last beta of ours of that name
BETAS = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}


def schedule_from_diffusers(folder: str | Path) -> tuple[str, str]:
    """The names of our schedule and prediction for a pipeline's scheduler.

    Samplers' options (spacing, offsets, clipping) are not read: here the sampler is the user's choice.

    Args:
        folder: of a pipeline, or its `scheduler` folder.

    Raises:
        InputError: a schedule or a prediction that we do not have.
    """
    folder = Path(folder)
    if (folder / "scheduler").is_dir():
        folder = folder / "scheduler"
    config = read_json(folder / "scheduler_config.json")

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
        if not math.isclose(value, own, rel_tol=1e-6):
            raise InputError(f"{option} is {value}; with beta_schedule {name!r} it must be {own}")
    kind = config.get("prediction_type", "epsilon")
    if kind not in PREDICTIONS:
        raise InputError(f"prediction_type is {kind!r}; it must be one of {', '.join(PREDICTIONS)}")
    return name + "_zero_snr" * bool(config.get("rescale_betas_zero_snr", False)), PREDICTIONS[kind]
