"""Make-A-Video (Singer et al. 2022): images and their captions first, then motion from clips without captions.

The video network is conditioned not on the text but on the embedding of a frame, which a prior predicts from the text.
So the video stage needs no captions: it adds pseudo-3D convolutions and attention to the image network and trains only
these. Some training clips come with clean frames, so that one network generates clips, continues them and interpolates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from videofusion.conditioning.condition import Condition, Step
from videofusion.conditioning.context import ContextFrames
from videofusion.conditioning.frame_embedding import EmbeddingAsText
from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.image import FrameEncoder, frames_encoder
from videofusion.conditioning.prior_diffusion import is_trained
from videofusion.conditioning.prompt import Prompt
from videofusion.data.batch import Batch
from videofusion.diffusion.noise import Keys, base_frame
from videofusion.errors import InputError
from videofusion.recipes.system_config import SystemConfig
from videofusion.systems.build import Parts
from videofusion.systems.embedding import frame_embedding, measure_embeddings
from videofusion.systems.interface import Losses
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.plain import PlainDiffusion, PlainPipeline, Stage
from videofusion.systems.pretrained import is_diffusers


@dataclass(frozen=True, kw_only=True)
class MakeAVideoConfig(SystemConfig):
    """Make-A-Video's keys in a recipe.

    Args:
        stage: "images" trains the image network, image encoder and prior on single frames and their captions; "video"
            trains temporal layers alone, on clips whose captions are not read, from the run that `start.model` names.
        image_encoder: folder of CLIP's image encoder of transformers; when None, a small one is trained.
        prior: from texts to its embeddings: a small network when None, or "transformer" for DALL-E 2's, which are
            trained; or the folder of a diffusers pipeline with one, which stays frozen.
    """

    name: ClassVar[str] = "make-a-video"

    stage: Literal["images", "video"] = "video"
    image_encoder: str | None = None
    prior: str | None = None


class MakeAVideoPipeline(PlainPipeline):
    """Text to video, or to image after the first stage; see `PlainSettings` for what it saves."""

    PARTS: ClassVar[Mapping[str, Any]] = {
        **PlainPipeline.PARTS,
        "image_encoder": nn.Module,
        "prior": nn.Module,
        "prior_text_encoder": nn.Module | None,
        "prior_tokenizer": Any | None,
    }

    def check(self) -> None:
        self.conditions  # noqa: B018  which refuses parts that do not fit each other

    @property
    def conditions(self) -> Sequence[Condition]:
        _, *others = super().conditions  # the rate and the clean frames, as far as the network takes them
        encoder = frames_encoder(self.image_encoder)
        assert encoder is not None  # a part that must be there
        text = FrozenText(self.prior_text_encoder, self.prior_tokenizer) if self.prior_text_encoder else None
        return (Prompt(self.text), EmbeddingAsText(encoder, self.prior, text, self.space), *others)


class MakeAVideoSystem(PlainDiffusion):
    """Make-A-Video in training."""

    Config = MakeAVideoConfig
    Pipeline: ClassVar[type[VideoPipeline]] = MakeAVideoPipeline
    temporal = "make_a_video"
    stages: ClassVar[Mapping[str, Stage]] = {
        "images": Stage(trains="image", temporal=0.0),
        "video": Stage(trains="temporal", words="none"),
    }

    @classmethod
    def build(cls, config: MakeAVideoConfig, parts: Parts) -> PlainDiffusion:
        """The system of a recipe; raises InputError for images that are clips, and for a prior that was not trained."""
        frames, start = parts.recipe.clips.frames, parts.recipe.start
        if config.stage == "images" and frames != 1:
            raise InputError(
                f"recipe key clips.frames is {frames}, but the stage 'images' trains on single frames; set it to 1"
            )
        system = super().build(config, parts)
        known = parts.starts("prior") or is_diffusers(start.image_model)
        if config.stage == "video" and config.prior in (None, "transformer") and not known:
            raise InputError(
                f"recipe key start.image_model is {start.image_model}, but the stage 'video' needs that run's image "
                "encoder and prior too; name it by start.model"
            )
        return system

    @classmethod
    def told(cls, config: MakeAVideoConfig, parts: Parts) -> Sequence[Condition]:
        made = frame_embedding(parts, config.image_encoder, config.prior)
        measure_embeddings(made, parts)
        own = EmbeddingAsText(made.image_encoder, made.prior, made.text, made.space)
        if config.stage == "images":
            return (Prompt(parts.text), own)
        shown = shown_frames(parts.recipe.clips.frames)
        return (*super().told(config, parts), own, ContextFrames([*shown, *[()] * len(shown)]))

    @property
    def embedding(self) -> EmbeddingAsText:
        """The condition in place of the text."""
        return next(each for each in self.conditions if isinstance(each, EmbeddingAsText))

    def _freeze(self) -> None:
        super()._freeze()
        learns, told = self.stage.trains == "image", self.embedding
        told.prior.requires_grad_(learns and told.text is None)
        if isinstance(told.image_encoder, FrameEncoder):
            told.image_encoder.requires_grad_(learns)

    def loss(self, batch: Batch, keys: Keys, step: int, progress: float = 1.0) -> Losses:
        """The plain loss of a batch, and the prior's where it is trained; see `System`."""
        found = super().loss(batch, keys, step, progress)
        if not is_trained(self.embedding.prior):
            return found
        look = Step(number=step, frames=[0], dropout=self.options.caption_dropout)
        t, text = self.options.times(keys, step).to(batch.clip), self.conditions[0].train(batch, keys, look)
        _, errors = self.embedding.learn(batch, keys, look, t, text)
        assert errors is not None  # of a prior that is trained
        parts = {**found.parts, "prior": errors.mean().detach()}
        return Losses(found.total + errors.mean(), parts, found.per_clip + errors)


def shown_frames(frames: int) -> list[tuple[int, ...]]:
    """Frames of a clip that may be shown together: the first, the first half, both ends, every other, every fourth.

    The first half has the middle frame, as what clips go on from by default (`VideoPipeline.overlap`).
    """
    numbers = range(frames)
    sets = (numbers[:1], numbers[: base_frame(frames) + 1], (0, frames - 1), numbers[::2], numbers[::4])
    return [tuple(each) for each in sets]
