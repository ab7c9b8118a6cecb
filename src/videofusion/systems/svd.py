"""Stable Video Diffusion (Blattmann et al. 2023): a text-to-video model in EDM's terms, then clips of a first picture.

It is Video LDM's network with transformer blocks over time, all of whose weights are trained, in three stages: on
images, on many clips with captions, and on fine ones of which the network is shown the first frame (sec. 3 and 4). Its
diffusion is that of Karras et al. 2022, whose preconditioning is v-prediction here (`diffusion.schedules.EDM`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from videofusion.conditioning.condition import Condition
from videofusion.conditioning.first_picture import NoPrompt, PictureAsText, PictureBesideFrames
from videofusion.conditioning.image import FrameEncoder, FrozenFrames, SquashedFrames
from videofusion.conditioning.numbers import MotionNumber, PictureNoise, RateNumber
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.guidance import Term
from videofusion.diffusion.known import Known
from videofusion.diffusion.noise import Keys
from videofusion.interop.image_encoders import load_image_encoder
from videofusion.interop.stable_video import HEIGHT, WIDTH, load_stable_video
from videofusion.keys import Stream, uniform
from videofusion.networks.autoencoder import Latents, Pixels, space_of
from videofusion.networks.unet import UNet
from videofusion.recipes.system_config import SystemConfig
from videofusion.systems.build import Parts
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.plain import PlainDiffusion, PlainPipeline, PlainSettings, Stage
from videofusion.systems.prepared import Prepared
from videofusion.systems.saved import PipelineSettings


@dataclass(frozen=True, kw_only=True)
class StableVideoConfig(SystemConfig):
    """Stable Video Diffusion's keys in a recipe.

    Args:
        stage: what a run trains, each from the run before (`start.model`): "images" the image network, on frames and
            their captions; "video" all of it, on clips and theirs; "image-to-video" all of it, on clips without, whose
            first frame takes the text's place.
        image_encoder: folder of CLIP's image encoder of transformers; when None, a small one is trained.
        log_sigma: mean and deviation of the logarithm of sigma in training (Karras et al. 2022, sec. 5).
        first_guidance: guidance scale of the first frame, from which it goes evenly to `sampling.guidance` at the last.
    """

    name: ClassVar[str] = "svd"

    stage: Literal["images", "video", "image-to-video"] = "image-to-video"
    image_encoder: str | None = None
    log_sigma: tuple[float, float] = (0.7, 1.6)
    first_guidance: float = 1.0


@dataclass(frozen=True, kw_only=True)
class StableVideoSettings(PlainSettings):
    """What a pipeline saves.

    Args:
        first_guidance: guidance scale of the first frame, from which it goes evenly to `guidance` at the last; read by
            models that go on from a picture.
        together: frames that a temporal decoder decodes at once; 8 by default, fewer need less memory.
    """

    first_guidance: float = 1.0
    together: int = 8


class StableVideoPipeline(PlainPipeline):
    """Picture to video; of the first two stages, which have no image encoder, text to image or video."""

    PARTS: ClassVar[Mapping[str, Any]] = {
        "unet": UNet,
        "vae": nn.Module | None,
        "text_encoder": nn.Module | None,
        "tokenizer": Any | None,
        "image_encoder": nn.Module | None,
    }
    Settings: ClassVar[type[PipelineSettings]] = StableVideoSettings

    @classmethod
    def from_diffusers(
        cls, folder: Path, device: torch.device, dtype: torch.dtype = torch.float32
    ) -> StableVideoPipeline:
        """A Stable Video Diffusion of diffusers.

        Args:
            folder: of its pipeline.
            device: where it computes.
            dtype: of the U-Net.

        Raises:
            InputError: a folder that is no whole one.
        """
        model = load_stable_video(folder)
        return cls(
            unet=nn.Module.to(model.unet, device, dtype),
            vae=model.vae.to(device),
            image_encoder=model.image_encoder.to(device),
            schedule=model.schedule,
            prediction=model.prediction,
            frames=model.frames,
            height=HEIGHT,
            width=WIDTH,
            guidance=3.0,
            sampler="ddim",  # Euler's steps along sigma
            sampler_options={"spacing": "karras"},
        )

    @property
    def text(self) -> Any:
        """The text encoder; where there is none the network, of which its device is asked."""
        return self.unet if self.text_encoder is None else super().text

    @property
    def space(self) -> Pixels | Latents:
        return space_of(self.vae, self._chunk, self._tile, self.config.together)

    @property
    def conditions(self) -> Sequence[Condition]:
        if self.image_encoder is None:
            return super().conditions
        encoder = self.image_encoder
        return of_picture(encoder if isinstance(encoder, FrameEncoder) else SquashedFrames(encoder), self.space)

    @property
    def overlap(self) -> int:
        return super().overlap if self.image_encoder is None else 1

    def prepare(self, prompt: str | Sequence[str] = "", *, image: Tensor | None = None, **asked: Any) -> Prepared:
        """Check what is asked for, and bring together what makes it.

        Args:
            prompt: read by models of the first two stages; otherwise it says how many clips there are.
            image: the first picture, [3 h w] or [b 3 h w] in [-1, 1], which says height and width unless they are
                asked for; or a first frame that is given (`known`).
            asked: as in `VideoPipeline.prepare`: fps (7), motion (0.5), image_noise (0.02), the deviation of noise that
                is put on the picture, and guidance, that of the last frame.

        Raises:
            InputError: anything outside what is said there.
        """
        if isinstance(image, Tensor) and image.ndim in (3, 4):
            own = {"height": image.shape[-2], "width": image.shape[-1]}
            asked = {**asked, **{name: side for name, side in own.items() if asked.get(name) is None}}
        return super().prepare(prompt, image=image, **asked)

    def _prepared(
        self, denoiser: Denoiser, told: Conditions, terms: list[Term], known: Known | None, count: int, request: Any
    ) -> Prepared:
        if self.image_encoder is not None:
            first = self.config.first_guidance
            terms = [Term(each.names, torch.linspace(first, float(each.scale), count)) for each in terms]
        return super()._prepared(denoiser, told, terms, known, count, request)


class StableVideoDiffusion(PlainDiffusion):
    """Stable Video Diffusion in training."""

    Config = StableVideoConfig
    Pipeline: ClassVar[type[VideoPipeline]] = StableVideoPipeline
    temporal = "svd"
    stages: ClassVar[Mapping[str, Stage]] = {
        "images": Stage(trains="image", temporal=0.0),
        "video": Stage(),
        "image-to-video": Stage(),
    }
    sizes: ClassVar[Mapping[str, Any]] = {"middle_attention": "transformer"}
    new_parts: ClassVar[tuple[str, ...]] = ("image_encoder",)  # which the stage before does not have

    @classmethod
    def told(cls, config: StableVideoConfig, parts: Parts) -> Sequence[Condition]:
        if config.stage != "image-to-video":
            return super().told(config, parts)
        if config.image_encoder is None:
            return of_picture(parts.frame_encoder(), parts.common.space)
        return of_picture(
            SquashedFrames(load_image_encoder(config.image_encoder, empty=parts.counted).model), parts.common.space
        )

    def times(self, keys: Keys, step: int) -> Tensor:
        mean, deviation = self.config.log_sigma
        place = 0.001 + 0.998 * uniform(keys.content, Stream.TIME, step)
        t = self.denoiser.schedule.time_at(-2 * (mean + deviation * torch.special.ndtri(place)))
        return t.clamp(0.001, 1).float()

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "first_guidance": self.config.first_guidance}


def of_picture(encoder: FrameEncoder | FrozenFrames, space: Any) -> Sequence[Condition]:
    """Conditions of the last stage: the picture, rate, motion, noise."""
    noise = PictureNoise()
    rest = (RateNumber(), MotionNumber(), noise, PictureBesideFrames(space, noise))
    return (NoPrompt(), PictureAsText(encoder, space), *rest)
