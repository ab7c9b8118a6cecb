"""Samplers: functions from a denoiser, a noisy clip and a list of times to a clip.

All share one signature, `sampler(denoiser, z, times, *, schedule, conditions, noise=None, on_prediction=None,
on_state=None, progress=None, **own options)`, and all take both hooks (see `loop.walk`). A new one is a rule for one
step and a line in the table. `invert` goes the other way, from a clip to its noise.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from videofusion.diffusion.samplers.ddim import angular, ddim
from videofusion.diffusion.samplers.ddpm import ddpm
from videofusion.diffusion.samplers.dpm import dpmpp_2m, dpmpp_2m_sde
from videofusion.diffusion.samplers.heun import heun
from videofusion.diffusion.samplers.inversion import invert
from videofusion.diffusion.samplers.langevin import langevin
from videofusion.errors import InputError
from videofusion.registry import knows

Sampler = Callable[..., Tensor]

SAMPLERS: dict[str, Sampler] = {
    "ddim": ddim,
    "angular": angular,
    "ddpm": ddpm,
    "dpm++": dpmpp_2m,
    "dpm++sde": dpmpp_2m_sde,
    "heun": heun,
    "langevin": langevin,
}


def get_sampler(name: str) -> Sampler:
    """The sampler of that name.

    Args:
        name: a key of `SAMPLERS`.

    Raises:
        InputError: the name is none of them.
    """
    if not knows(SAMPLERS, name):
        raise InputError(f"sampler is {name!r}; it must be one of {', '.join(SAMPLERS)}")
    return SAMPLERS[name]


__all__ = [
    "SAMPLERS",
    "Sampler",
    "angular",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "get_sampler",
    "heun",
    "invert",
    "langevin",
]
