"""Sampling options shared by several commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import tyro


@dataclass(frozen=True, kw_only=True)
class Turned:
    """How the sampler goes from noise to clip; the model's own by default.

    Args:
        spacing: the sampler's times: trailing, leading, flow, logsnr, karras, sd or sd-trailing; flow is best for few
            steps
        eta: for ddim, 0 to 1: how much of each step's noise is fresh
        gamma: for ddpm and langevin, 0 to 1: low to high variance of the noise
        delta: for langevin, 0 to 1: how much noise each correction replaces
        rescale: 0 to 1: how much of the contrast added by guidance is removed
        threshold: 0 to 1, as 0.995: the quantile of a clip's values that is brought into range; for models in pixels
    """

    spacing: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    eta: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    gamma: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    delta: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    rescale: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None
    threshold: Annotated[float | None, tyro.conf.arg(metavar="0..1")] = None

    def given(self) -> dict[str, Any]:
        """Those that are given."""
        return {name: value for name, value in vars(self).items() if value is not None}


OWN = Turned()
