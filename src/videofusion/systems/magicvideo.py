"""MagicVideo (Zhou et al. 2022): key frames in an image model's latents, each of which attends only to earlier ones.

The image network's convolutions are shared by all frames; an adaptor gives each frame a scale and a shift of its own
(sec. 3.1.1). Directed attention over time, to earlier frames and the frame itself, stands beside spatial attention:
both see the same and are added (sec. 3.1.2). That is the row `magicvideo` of the temporal designs. The rate of a clip,
the paper's new FPS, is embedded by two linear layers. Training has two stages of one objective (sec. 3.1.3): without
captions, embeddings of frames in place of the text, and then with them.

It starts from an image model of this library or a Stable Diffusion folder (`start.image_model`), in pixels or in the
latents of an autoencoder. Not here: the paper's interpolation network, VideoVAE and upsampler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import nn

from videofusion.conditioning.condition import Condition
from videofusion.conditioning.frame_as_text import FrameAsText
from videofusion.conditioning.image import FrameEncoder, FrozenFrames, frames_encoder
from videofusion.conditioning.prompt import Prompt
from videofusion.conditioning.rate import FrameRate
from videofusion.errors import InputError
from videofusion.interop.image_encoders import load_image_encoder
from videofusion.recipes.system_config import SystemConfig
from videofusion.systems.build import Parts
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.plain import PlainDiffusion, PlainPipeline

ROWS = ("magicvideo", "magicvideo_bidirectional", "magicvideo_no_adaptor")  # the paper's design, and its ablations


@dataclass(frozen=True, kw_only=True)
class MagicVideoConfig(SystemConfig):
    """MagicVideo's keys in a recipe.

    Args:
        stage: what stands for the text: an embedding of each clip's middle frame ("frames"), for clips without
            captions, or the "captions"; a run of these starts from one of those by `start.model`.
        image_encoder: folder of CLIP's image encoder of transformers, which embeds frames in the stage "frames" and
            stays as it is; a small one is trained with the network when None.
    """

    name: ClassVar[str] = "magicvideo"

    stage: Literal["frames", "captions"] = "captions"
    image_encoder: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_encoder is not None and self.stage == "captions":
            raise self.refusal("image_encoder", "goes with stage=frames only; captions need none")


class MagicVideoPipeline(PlainPipeline):
    """Text to key frames; after the first stage, frames like one that is given. See `PlainSettings` for what it saves.

    Its image encoder is that of the stage "frames"; None after the stage "captions".
    """

    PARTS: ClassVar[Mapping[str, Any]] = {**PlainPipeline.PARTS, "image_encoder": nn.Module | None}

    @property
    def conditions(self) -> Sequence[Condition]:
        encoder = frames_encoder(self.image_encoder)
        words = Prompt(self.text) if encoder is None else FrameAsText(self.text, encoder, self.space)
        return (words, FrameRate())


class MagicVideoSystem(PlainDiffusion):
    """MagicVideo in training."""

    Config = MagicVideoConfig
    Pipeline: ClassVar[type[VideoPipeline]] = MagicVideoPipeline

    @classmethod
    def build(cls, config: MagicVideoConfig, parts: Parts) -> PlainDiffusion:
        """The system of a recipe; raises InputError for a temporal design that is another's."""
        if parts.temporal not in ROWS:
            raise InputError(
                f"recipe key network.temporal is {parts.temporal!r}, and the system 'magicvideo' has its own; set it "
                f"to magicvideo, or to one of its ablations, {' and '.join(ROWS[1:])}"
            )
        return super().build(config, parts)

    @classmethod
    def told(cls, config: MagicVideoConfig, parts: Parts) -> Sequence[Condition]:
        """The captions, or frames in their place, and always the rate."""
        if config.stage == "captions":
            return (Prompt(parts.text), FrameRate())
        folder = config.image_encoder
        encoder: FrameEncoder | FrozenFrames = (
            parts.frame_encoder() if folder is None else load_image_encoder(folder, empty=parts.counted)
        )
        if encoder.size != parts.recipe.text.size:
            raise InputError(
                f"recipe key system.image_encoder is {folder}, whose embeddings have the size {encoder.size}, but they "
                f"stand in for text of the size {parts.recipe.text.size} (text.size)"
            )
        return (FrameAsText(parts.text, encoder, parts.common.space), FrameRate())
