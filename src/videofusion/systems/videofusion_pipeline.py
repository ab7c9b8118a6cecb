"""VideoFusion as a pipeline: what it saves, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from videofusion.conditioning.condition import Condition
from videofusion.conditioning.frame_embedding import FrameEmbedding
from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.image import frames_encoder
from videofusion.conditioning.middle_frame import MiddleFrame
from videofusion.conditioning.motion import Motion
from videofusion.conditioning.picture_size import PictureSize
from videofusion.conditioning.prompt import Prompt
from videofusion.conditioning.prompt_encoder import PromptEncoder
from videofusion.conditioning.rate import FrameRate
from videofusion.diffusion.noise import DecomposedNoise, base_frame
from videofusion.diffusion.schedules import make_schedule
from videofusion.errors import InputError
from videofusion.networks.frame_network import FrameNetwork
from videofusion.networks.image_transformer import ImageTransformer
from videofusion.networks.prior import Prior, TransformerPrior
from videofusion.networks.unet import UNet
from videofusion.systems.decomposed import Variant, VideoFusion, get_variant
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.saved import PipelineSettings
from videofusion.systems.texts import frozen_texts, transformer_prompts


def check_embedding(name: str, variant: Variant, given: bool) -> None:
    """Raise InputError unless a variant that is told an embedding, and no other, comes with what makes one.

    Args:
        name: of the variant.
        variant: of that name.
        given: whether there are an image encoder and a prior.
    """
    if given == variant.embedding:
        return
    what = (
        f"the variant {name!r} needs one: not told the middle frame's embedding, it does not sample what it learned, "
        "the less the longer the clip"
        if variant.embedding
        else f"the variant {name!r} takes none"
    )
    raise InputError(f"image_encoder or prior is {'given' if given else 'not given'}; {what}")


@dataclass(frozen=True, kw_only=True)
class VideoFusionSettings(PipelineSettings):
    """What a pipeline of VideoFusion saves.

    Args:
        motion_guidance: guidance scale of the frames around the middle one, for a variant that is given that one first;
            as `guidance` when None. A high scale shows what was asked for, and of what was not, such as the course that
            things take, the usual only.
        variant: a key of `decomposed.VARIANTS`.
        share: lambda of every frame but the middle one when no motion is asked for; None for the median of `profiles`.
        zero_null: of a base of Stable Diffusion XL: whether no text is zeros, rather than the empty text.
        profiles: quantiles of the data's lambda for the motion knob; the median alone, or None, when the model was
            trained for no other.
        base_prediction: what the base predicts.
        residual_prediction: what the residual generator predicts.
    """

    motion_guidance: float | None = None
    variant: str = "joint"
    share: float | None = 0.5
    zero_null: bool = False
    profiles: list[list[float]] | None = None
    base_prediction: str = "v"
    residual_prediction: str = "v"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.motion_guidance is not None and get_variant(self.variant).decides != "given":
            raise InputError(
                f"motion_guidance is {self.motion_guidance}; only the variant 'image-first' takes one, this is "
                f"{self.variant!r}"
            )


class VideoFusionPipeline(VideoPipeline):
    """Text to video by VideoFusion; see `VideoFusionSettings` for what it saves.

    The image encoder, of middle frames, and the prior, which makes their embeddings from prompts, are for a variant
    that is told one; a `CLIPVisionModelWithProjection` of transformers may be the first. Sampling needs the encoder for
    known middle frames, and more training does.
    """

    PARTS: ClassVar[Mapping[str, Any]] = {
        "base": UNet | ImageTransformer,
        "residual": UNet,
        "text_encoder": nn.Module,
        "image_encoder": nn.Module | None,
        "prior": nn.Module | None,
        "vae": nn.Module | None,
        "tokenizer": Any | None,
        "text_encoder_2": nn.Module | None,
        "tokenizer_2": Any | None,
        "text_encoder_3": nn.Module | None,
        "tokenizer_3": Any | None,
        "prior_text_encoder": nn.Module | None,
        "prior_tokenizer": Any | None,
    }
    Settings: ClassVar[type[PipelineSettings]] = VideoFusionSettings

    def check(self) -> None:
        given = self.image_encoder is not None, self.prior is not None
        check_embedding(self.config.variant, self.variant, any(given))
        check_embedding(self.config.variant, self.variant, all(given))
        self.conditions  # noqa: B018  which refuses parts that do not fit each other

    @property
    def variant(self) -> Variant:
        """What it shows, and who decides the base frame."""
        return get_variant(self.config.variant)

    @property
    def networks(self) -> list[FrameNetwork]:
        return [self.base, self.residual]

    @property
    def text(self) -> Any:
        if isinstance(self.base, ImageTransformer):
            return transformer_prompts(self, self.base)
        if self.base.config.get("added_size"):
            return PromptEncoder(frozen_texts(self), penultimate=True, zero_null=self.config.zero_null)
        return super().text

    @classmethod
    def networks_take_turns(cls, settings: Mapping[str, Any]) -> bool:
        return get_variant(settings.get("variant", "joint")).decides == "given"

    @property
    def conditions(self) -> Sequence[Condition]:
        own: list[Condition] = [Prompt(self.text), Motion(self.config.share, self.config.profiles)]
        if any(network.config.get("fps", False) for network in self.networks):
            own.append(FrameRate())
        if self.base.config.get("added_size"):
            own.append(PictureSize(self.space.factor))
        encoder, prior = frames_encoder(self.image_encoder), self.prior
        if encoder is not None and isinstance(prior, Prior | TransformerPrior):
            text = FrozenText(self.prior_text_encoder, self.prior_tokenizer) if self.prior_text_encoder else None
            own.append(FrameEmbedding(encoder, prior, text, self.space))
        if self.variant.decides == "given":
            own.append(MiddleFrame(lambda: self.denoiser().base))
        return own

    def denoiser(self) -> VideoFusion:
        """The composite of the pipeline's networks."""
        config = self.config
        return VideoFusion(
            self.base,
            self.residual,
            make_schedule(config.schedule),
            variant=config.variant,
            base_prediction=config.base_prediction,
            residual_prediction=config.residual_prediction,
            stop_gradient=False,  # a stop for training: a gradient to z, of reconstruction guidance, is the whole one
        )

    def noise_source(self) -> DecomposedNoise:
        return DecomposedNoise()

    def frames_guidance(self, guidance: float) -> float:
        own = self.config.motion_guidance
        return guidance if own is None or guidance == 1 else own  # 1 is off, of both

    def check_known(self, places: Sequence[int], frames: int) -> None:
        middle = base_frame(frames)
        if self.variant.decides == "given" and middle not in places:
            raise InputError(
                f"places of known frames are {list(places)}; the variant {self.config.variant!r} makes the middle "
                f"frame first, from the base noise alone, so that number {middle} must be among them"
            )
