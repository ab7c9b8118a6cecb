"""Video LDM (Blattmann et al. 2023, "Align your Latents"): an image model, frozen, that learns to make frames agree.

Each spatial layer of the image network is followed by a temporal one, attention over time or a residual block, whose
output is mixed in with a learned weight (sec. 3.1): where alpha is 1, or `Conditions.temporal` is 0, the network is the
image network to the bit, trained or not. Only temporal layers receive clean frames and the mask of which are given
(sec. 3.2), so that one network generates clips from a text, continues them, and interpolates between key frames.

It starts from an image model of this library or a Stable Diffusion folder (`start.image_model`), in pixels or in the
latents of an autoencoder. Not here: the decoder's temporal layers (sec. 3.1.1), and the upsampler (sec. 3.4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from videofusion.conditioning.condition import Condition
from videofusion.conditioning.context import ContextFrames
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.guidance import Term
from videofusion.recipes.system_config import SystemConfig
from videofusion.settings import Range
from videofusion.systems.build import Parts
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.plain import PlainDiffusion, PlainPipeline, PlainSettings, Stage
from videofusion.systems.prepared import Prepared
from videofusion.systems.saved import PipelineSettings


@dataclass(frozen=True, kw_only=True)
class VideoLDMConfig(SystemConfig):
    """Video LDM's keys in a recipe.

    Args:
        stage: what a run trains: temporal layers on "clips", with the image network frozen; or the image network on
            their frames, as pictures ("images").
        context: largest number of first frames that are given clean in training; each clip draws from none to this
            many, so that the model can continue clips (sec. 3.2).
        key_frames: instead, every n-th frame is given, from the first, so that the model interpolates between them
            (sec. 3.3, where it is 4); 0 is off.
        context_guidance: default guidance scale of the given frames; 1 is off.
    """

    name: ClassVar[str] = "video-ldm"

    stage: Literal["images", "clips"] = "clips"
    context: Annotated[int, Range(0, 4096)] = 2
    key_frames: Annotated[int, Range(0, 4096)] = 0
    context_guidance: Annotated[float, Range(0, 100)] = 1.0

    def shown(self, frames: int) -> list[range]:
        """The sets of frames of a training clip that may be given together.

        Args:
            frames: of the clip.

        Raises:
            InputError: all of them, which leaves nothing to generate.
        """
        if frames == 1:
            return [range(0)]
        if not self.context < frames:
            raise self.refusal("context", f"must be less than the clips' frames, which are {frames}")
        if not self.key_frames < frames or self.key_frames == 1:
            raise self.refusal("key_frames", f"must be 0, or 2 to {frames - 1}, less than the clips' frames")
        if self.key_frames:
            return [range(0, frames, self.key_frames)]
        return [range(count) for count in range(self.context + 1)]


@dataclass(frozen=True, kw_only=True)
class VideoLDMSettings(PlainSettings):
    """What a pipeline saves.

    Args:
        context: largest number of first frames that were given in training; 0 for a model of key frames.
        shown: the sets of frame numbers that were given together in training; None, of models that were saved without
            them, allows any.
        context_guidance: default guidance scale of the given frames; 1 is off.
    """

    context: int = 0
    shown: list[list[int]] | None = None
    context_guidance: float = 1.0


class VideoLDMPipeline(PlainPipeline):
    """Text to video, from frames that are given (`known`) or from none."""

    Settings: ClassVar[type[PipelineSettings]] = VideoLDMSettings

    @property
    def conditions(self) -> Sequence[Condition]:
        return (*super().conditions, ContextFrames(self.config.shown, within=True))

    @property
    def overlap(self) -> int:
        return int(self.config.context) or super().overlap

    def _scales(self, guidance: float | Mapping[str, float]) -> list[Term]:
        """Those of the prompt and of the frames that are given: f(z) + s (f(z; c) - f(z)), sec. 3.2."""
        follow = self.config.context_guidance
        if not isinstance(guidance, Mapping) and 1.0 not in (guidance, follow):
            return super()._scales({"text": guidance, "beside": follow})
        return super()._scales(guidance)

    def _prepared(self, denoiser: Denoiser, told: Conditions, terms: list[Term], *others: Any) -> Prepared:
        """Leave out guidance over given frames where there are none: it would call the network twice for one output."""
        if told.beside is None or not bool(told.beside[:, :, 0].any()):
            terms = [term for term in terms if term.names != ("beside",)] or [Term(("text",), 1.0)]
        return super()._prepared(denoiser, told, terms, *others)


class VideoLDM(PlainDiffusion):
    """Video LDM in training."""

    Config = VideoLDMConfig
    Pipeline: ClassVar[type[VideoPipeline]] = VideoLDMPipeline
    temporal = "video_ldm"
    stages: ClassVar[Mapping[str, Stage]] = {
        "images": Stage(trains="image", temporal=0.0),
        "clips": Stage(trains="temporal"),
    }

    @classmethod
    def told(cls, config: VideoLDMConfig, parts: Parts) -> Sequence[Condition]:
        shown = ContextFrames(config.shown(parts.common.shape[0]), within=True)
        return (*super().told(config, parts), shown)

    def settings(self) -> dict[str, Any]:
        shown = next(each for each in self.conditions if isinstance(each, ContextFrames)).sets or ()
        return {
            **super().settings(),
            "context": 0 if self.config.key_frames else self.config.context,
            "shown": [list(each) for each in shown],
            "context_guidance": self.config.context_guidance,
        }
