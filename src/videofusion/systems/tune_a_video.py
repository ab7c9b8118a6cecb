"""Tune-A-Video (Wu et al. 2023): an image model learns the motion of one clip, and makes other things move so.

Spatial self-attention of a frame looks at the first frame and the one before, and attention over time, whose output is
zero at first, ends each transformer block: the row `tune_a_video` of the temporal designs. On one clip and its caption
are trained the query projections of self-attention and attention to the text, and attention over time whole (sec. 4);
nothing else. The clip's noise by DDIM inversion, without text, is what an edited prompt begins from:
`videofusion edit --method tune-a-video`.

It starts from an image model of this library or a Stable Diffusion folder (`train tune-a-video --base MODEL`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from videofusion.conditioning.text import WordEncoder, split_words
from videofusion.data.batch import BadClip, Sample
from videofusion.errors import InputError
from videofusion.recipes.system_config import SystemConfig
from videofusion.systems.build import Parts
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.plain import PlainDiffusion, PlainPipeline, PlainSettings
from videofusion.systems.pretrained import trained_words
from videofusion.systems.saved import PipelineSettings

# Without the norm before attention over time, as in the published code: what it could learn, those projections can.
TRAINED = ("*.attn1.to_q.*", "*.attn2.to_q.*", "*.attn_temp.*")


@dataclass(frozen=True, kw_only=True)
class TuneAVideoConfig(SystemConfig):
    """Tune-A-Video has no keys of its own: the clip and its caption are in the group `clips`."""

    name: ClassVar[str] = "tune-a-video"


@dataclass(frozen=True, kw_only=True)
class TuneAVideoSettings(PlainSettings):
    """What a pipeline saves.

    Args:
        caption: of the clip that it was tuned on.
        start: second of its file at which that clip begins.
        fps: frames per second of it; 0 where nothing says them.
    """

    caption: str = ""
    start: float = 0.0
    fps: float = 0.0


class TuneAVideoPipeline(PlainPipeline):
    """Text to video that moves as the one clip that it knows."""

    Settings: ClassVar[type[PipelineSettings]] = TuneAVideoSettings


class TuneAVideo(PlainDiffusion):
    """Tune-A-Video in training."""

    Config = TuneAVideoConfig
    Pipeline: ClassVar[type[VideoPipeline]] = TuneAVideoPipeline
    temporal = "tune_a_video"

    def __init__(self, *given: Any) -> None:
        self.clip: dict[str, Any] = {}  # of what it is tuned on, as `TuneAVideoSettings` has it
        super().__init__(*given)

    @classmethod
    def build(cls, config: TuneAVideoConfig, parts: Parts) -> PlainDiffusion:
        """The system of a recipe.

        Raises:
            InputError: no image model to tune, other data than one clip that can be read, or no caption of it; words in
                it that the image model never learned.
        """
        if parts.counted:
            return super().build(config, parts)
        recipe = parts.recipe
        if recipe.start.image_model is None and recipe.start.model is None:
            raise InputError("start.image_model is not given; tune-a-video tunes an image model, name it as the base")
        sample = _only(parts)
        if not sample.caption.strip():
            raise InputError(f"clips.caption is not given, and nothing says what {sample.name} shows; tell it")
        known = trained_words(recipe)  # none of a text encoder that reads any text
        unknown = [word for word in split_words(sample.caption) if known and word not in known]
        if unknown:
            raise InputError(
                f"the caption {sample.caption!r:.200} has {unknown[0]!r}, a word that the image model never learned; "
                f"it knows {', '.join(sorted(known))}"
            )
        system = super().build(config, parts)
        assert isinstance(system, TuneAVideo)
        system.clip = {"caption": sample.caption, "start": recipe.clips.start or 0.0, "fps": float(sample.fps)}
        return system

    def _freeze(self) -> None:
        if isinstance(self.text_encoder, WordEncoder):
            self.text_encoder.requires_grad_(False)
        for name, parameter in self.unet.named_parameters():
            parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in TRAINED))

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), **self.clip}


def _only(parts: Parts) -> Sample:
    """The one clip of the data."""
    if len(parts.data) != 1:
        raise InputError(f"data has {len(parts.data)} clips; tune-a-video is tuned on one, give its file")
    try:
        return parts.data.sample(0, 0, 0)
    except BadClip as error:
        raise InputError(f"the clip cannot be read: {error}") from error
