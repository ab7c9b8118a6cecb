"""Video LDM (Blattmann et al. 2023, "Align your Latents"): an image model, frozen, that learns to make frames agree.

After each spatial layer of the image network stands a temporal one, attention over time or a residual block, and a
learned part of what it makes counts (sec. 3.1): where alpha is 1, and with `Conditions.temporal` 0, the network is the
image network to the bit, trained or not. Temporal layers, and only they, are told clean frames and which of them are
shown (sec. 3.2): so one network makes clips from a text, has them go on, or fills in frames between key frames.

What starts is an image model of this library or a Stable Diffusion folder (`start.image_model`), in pixels or in the
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
        stage: what a run trains: temporal layers on "clips", in an image network that stays as it is; or that network
            on their frames, as pictures ("images").
        context: most of its first frames that a clip is shown in training, which is shown none, one, or up to so many,
            so that it can go on from them (sec. 3.2).
        key_frames: instead, every so many-th frame is shown, from the first, so that those between can be filled in
            (sec. 3.3, where it is 4); 0 for none.
        context_guidance: how closely clips follow the frames that are given, by default; 1 is off.
    """

    name: ClassVar[str] = "video-ldm"

    stage: Literal["images", "clips"] = "clips"
    context: Annotated[int, Range(0, 4096)] = 2
    key_frames: Annotated[int, Range(0, 4096)] = 0
    context_guidance: Annotated[float, Range(0, 100)] = 1.0

    def shown(self, frames: int) -> list[range]:
        """The frames of a training clip that may be shown together.

        Args:
            frames: of the clip.

        Raises:
            InputError: all of them, which leaves nothing to make.
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
        context: most first frames that it was shown in training; 0 for one that was shown others.
        shown: the sets of frames that it was shown in training, by number; None, of models saved before this was, for
            any.
        context_guidance: how closely clips follow the frames that are given, by default; 1 is off.
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
        """Where no frame is shown, guidance by those that are would call the network twice for one prediction."""
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
