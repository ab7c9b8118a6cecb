"""An image model on noise that a clip's frames share in part (VideoFusion, Luo et al. 2023, sec. 3.1 and figure 2).

No frame looks at another one: what they have in common comes of the noise alone, as the paper shows before it trains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from videofusion.conditioning.condition import Condition, Request
from videofusion.diffusion.chunks import InChunks
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.noise import DecomposedNoise, NoiseSource
from videofusion.errors import InputError
from videofusion.systems.saved import PipelineSettings
from videofusion.systems.training_free import TrainingFreePipeline, TrainingFreeSettings


@dataclass(frozen=True, kw_only=True)
class SharedNoiseSettings(TrainingFreeSettings):
    """What the pipeline saves.

    Args:
        share: part of the noise's power that all frames have in common, in [0, 1].
    """

    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        DecomposedNoise(self.share)


class Share(Condition):
    """How much of the noise the frames share; no network is told it.

    Args:
        default: where nothing is asked for.
    """

    name, kind, option = "share", "none", "share"

    def __init__(self, default: float) -> None:
        self.default = default

    def check(self, value: Any) -> Sequence[str]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"share is {value!r}; it must lie in [0, 1]")
        return ()

    def sample(self, value: float | None, request: Request) -> Conditions:
        clips, frames = request.shape[:2]
        return Conditions(share=DecomposedNoise(self.default if value is None else value).shares(clips, frames))


class SharedNoisePipeline(TrainingFreePipeline):
    """Text to video by an image model, from noise whose base all frames share."""

    Settings: ClassVar[type[PipelineSettings]] = SharedNoiseSettings
    transformers: ClassVar[bool] = True

    @property
    def conditions(self) -> Sequence[Condition]:
        return (*super().conditions, Share(self.config.share))

    def noise_source(self) -> NoiseSource:
        return DecomposedNoise(self.config.share)

    def windowed(self, denoiser: Denoiser, window: int) -> Denoiser:
        return InChunks(denoiser, window)
