"""A system of another package in one file: plain diffusion told each clip's loudness, a condition of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from videofusion.conditioning.condition import Condition, Request, Step
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys
from videofusion.networks.inputs import EMBEDDED, EmbeddedInput, embed_numbers, needed
from videofusion.networks.layers import Embedding
from videofusion.recipes.system_config import SystemConfig
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.plain import PlainDiffusion, PlainPipeline, Stage

EMBEDDED["loudness_embedding"] = EmbeddedInput(
    layers=lambda o, d: Embedding(o.channels[0], d) if "loudness" in o.inputs else None,
    embed=lambda layers, inputs, size: embed_numbers(layers, needed(inputs, "loudness"), size),
)


class Loudness(Condition):
    """How bright a clip is on the whole; 0 where nobody says."""

    name, kind, option = "loudness", "embedding", "loudness"

    def network(self, colours: int) -> dict[str, Any]:
        return {"inputs": ("loudness",)}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        return self._told(100 * batch.clip.mean(dim=(1, 2, 3, 4)))

    def sample(self, value: float | None, request: Request) -> Conditions:
        return self._told(torch.full((request.shape[0],), 100 * (value or 0.0), device=request.device))

    def _told(self, loudness: torch.Tensor) -> Conditions:
        return Conditions(added={"loudness": loudness}, null={"loudness": torch.zeros_like(loudness[:1])})


@dataclass(frozen=True, kw_only=True)
class FlickerConfig(SystemConfig):
    """Its keys.

    Args:
        stage: what a run trains.
    """

    name: ClassVar[str] = "flicker"
    stage: Literal["all", "images", "clips"] = "all"


class FlickerPipeline(PlainPipeline):
    """Clips of a prompt and a loudness."""

    @property
    def conditions(self) -> Sequence[Condition]:
        return (*super().conditions, Loudness())


class Flicker(PlainDiffusion):
    """The system."""

    Config = FlickerConfig
    Pipeline: ClassVar[type[VideoPipeline]] = FlickerPipeline
    temporal = "factorised"
    stages: ClassVar[Mapping[str, Stage]] = {
        "all": Stage(),
        "images": Stage(trains="image", temporal=0.0),
        "clips": Stage(trains="temporal", words="none"),
    }

    @classmethod
    def told(cls, config: FlickerConfig, parts: Any) -> Sequence[Condition]:
        return (*super().told(config, parts), Loudness())
