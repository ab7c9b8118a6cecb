"""Video Diffusion Models (Ho et al. 2022): plain diffusion, a U-Net factorised over space and time.

Noise is independent, as there, or correlated over frames, as in PYoCo (Ge et al. 2023).

The same system on an image U-Net and one-frame clips trains image models, such as base generators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from videofusion.errors import InputError
from videofusion.networks.temporal import TEMPORAL_DESIGNS, temporal_design
from videofusion.recipes.system_config import SystemConfig
from videofusion.settings import Range
from videofusion.systems.build import Parts
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.plain import PlainDiffusion, PlainPipeline


@dataclass(frozen=True, kw_only=True)
class VDMConfig(SystemConfig):
    """Plain diffusion's keys in a recipe; with the temporal design "image" it trains image models.

    Args:
        noise: over a clip's frames: "independent", or correlated: "mixed" or "progressive" (PYoCo), "ou", "rbf", or
            "shuffled" (FreeNoise: the first window's again, in another order).
        noise_parameter: of correlated noise: the share of all frames ("mixed"), the correlation of neighbours
            ("progressive"), a length in frames ("ou", "rbf"), the frames of a window ("shuffled"); see `KINDS` in
            `diffusion/kernels.py`, which has what it is when None.
        image_frames: pictures, single frames of other clips, that a step looks at beside each clip (VDM's joint
            training); temporal layers do not see them.
    """

    name: ClassVar[str] = "vdm"

    noise: str = "independent"
    noise_parameter: float | None = None
    image_frames: Annotated[int, Range(0, 64)] = 0

    @property
    def pictures(self) -> int:
        """The `image_frames`."""
        return self.image_frames


class VDMPipeline(PlainPipeline):
    """Text to video, or to image with one frame."""


class VDMSystem(PlainDiffusion):
    """Video Diffusion Models in training."""

    Config = VDMConfig
    Pipeline: ClassVar[type[VideoPipeline]] = VDMPipeline

    @classmethod
    def build(cls, config: VDMConfig, parts: Parts) -> PlainDiffusion:
        """The system of a recipe; raises InputError for a temporal design that takes a share."""
        if temporal_design(parts.temporal).share:
            named = parts.temporal.replace("residual", "factorised")
            instead = named if named in TEMPORAL_DESIGNS and named != parts.temporal else "factorised"
            raise InputError(
                f"recipe key network.temporal is {parts.temporal!r}, whose network takes each frame's share of the "
                f"base noise, and the system 'vdm' has none; set network.temporal={instead}"
            )
        return super().build(config, parts)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "noise": self.config.noise, "noise_parameter": self.config.noise_parameter}
