"""Video Diffusion Models (Ho et al. 2022): plain diffusion, a U-Net factorised over space and time.

Noise is independent, as there, or correlated over frames, as in PYoCo (Ge et al. 2023).

The same system on an image U-Net and one-frame clips trains image models, such as base generators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.image import FrameEncoder
from videofusion.conditioning.text import WordEncoder
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import NetworkDenoiser
from videofusion.diffusion.guidance import check_times_and_skip
from videofusion.diffusion.kernels import make_noise
from videofusion.diffusion.known import Known
from videofusion.diffusion.losses import frame_errors
from videofusion.diffusion.noise import IndependentNoise, Keys, NoiseSource, base_frame
from videofusion.diffusion.options import SamplingOptions
from videofusion.diffusion.prediction import expand
from videofusion.diffusion.schedules import make_schedule
from videofusion.errors import InputError
from videofusion.networks.autoencoder import space_of
from videofusion.networks.unet import UNet
from videofusion.settings import Range
from videofusion.systems.config import SystemConfig
from videofusion.systems.pipeline import Draw, VideoPipeline
from videofusion.systems.training import (
    Choices,
    Losses,
    SamplingDefaults,
    StepOptions,
    frame_as_text,
    frozen_parts,
    pipeline_parts,
    text_conditions,
)


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
        text_from: what stands for the text in training: the "captions", or an embedding of each clip's middle frame
            ("frames", MagicVideo's unsupervised training), so that clips need none; a run that starts from the result
            takes it to captions.
    """

    name: ClassVar[str] = "vdm"

    noise: str = "independent"
    noise_parameter: float | None = None
    image_frames: Annotated[int, Range(0, 64)] = 0
    text_from: Literal["captions", "frames"] = "captions"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.text_from == "frames" and self.image_frames:
            raise self.refusal("text_from", f"takes no image_frames, and they are {self.image_frames}")

    @property
    def pictures(self) -> int:
        """The `image_frames`."""
        return self.image_frames


class VDMSystem:
    """Plain diffusion in training.

    Args:
        unet: over clips or images.
        text_encoder: a `WordEncoder`, trained with it.
        shape: frames, height and width of the clips, which the pipeline makes by default.
        schedule: by name.
        prediction: what the network predicts.
        train_text: train the text encoder too.
        options: of a training step.
        sampling: how the pipeline samples by default.
        vae: the autoencoder whose latents it works in; None for pixels.
        image_encoder: of the middle frame, trained with it: its embedding stands for the text, and captions are not
            heard (MagicVideo's unsupervised training).
        noise: "independent", or a key of `KINDS` in `diffusion/kernels.py`.
        noise_parameter: of that kind; its own by default.
    """

    def __init__(
        self,
        unet: UNet,
        text_encoder: WordEncoder | FrozenText,
        *,
        shape: tuple[int, int, int],
        schedule: str = "cosine",
        prediction: str = "v",
        train_text: bool = True,
        options: StepOptions = StepOptions(),
        sampling: SamplingDefaults = SamplingDefaults(),
        vae: nn.Module | None = None,
        image_encoder: FrameEncoder | None = None,
        noise: str = "independent",
        noise_parameter: float | None = None,
    ) -> None:
        self.noise = make_noise(noise, noise_parameter)
        self.noise_kind, self.noise_parameter = noise, noise_parameter
        self.unet, self.text_encoder, self.space = unet, text_encoder, space_of(vae)
        self.image_encoder = image_encoder
        self.schedule, self.prediction, self.shape = schedule, prediction, shape
        self.options, self.sampling = options, sampling
        if isinstance(text_encoder, WordEncoder):
            text_encoder.requires_grad_(train_text)
        self.denoiser = NetworkDenoiser(unet, make_schedule(schedule), prediction)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The trained parts by name."""
        words = {"text_encoder": self.text_encoder} if isinstance(self.text_encoder, WordEncoder) else {}
        frames = {} if self.image_encoder is None else {"image_encoder": self.image_encoder}
        return {"unet": self.unet, **words, **frames}

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """The parts that are never trained."""
        return frozen_parts(self.space, self.text_encoder)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """All parameters at one rate."""
        parameters = (p for part in self.modules.values() for p in part.parameters())
        return [{"params": [p for p in parameters if p.requires_grad], "lr": lr}]

    def loss(self, batch: Batch, keys: Keys, step: int, progress: float = 1.0) -> Losses:
        """The plain loss of a batch; see `VideoFusionSystem.loss`."""
        choices = self.options.choose(keys, step)
        frames = self.options.frames(batch.clip.shape[1], step, progress)
        clip = batch.clip[:, frames]
        eps = self.noise.draw(clip.shape, keys, step + 1, frames=frames, device=clip.device).eps.to(clip)
        t = choices.t.to(clip)
        alpha, sigma = (expand(scale, clip) for scale in self.denoiser.schedule.alpha_sigma(t))
        conditions = replace(self._conditions(batch, choices), frames=torch.tensor(frames, device=clip.device))
        if self.unet.config.fps:
            conditions = replace(conditions, fps=self.options.rates(batch.fps, keys, step, clip.device))
        prediction = self.denoiser(alpha * clip + sigma * eps, t, conditions)
        errors = frame_errors(prediction, clip, eps, self.options.weighting)
        if batch.pictures is not None:
            beside = self._picture_errors(batch.pictures, keys, step, batch.clip.shape[1], choices)
            errors = torch.cat([errors, beside], dim=1)
        per_clip = errors.mean(dim=1)
        return Losses(per_clip.mean(), {}, per_clip)

    def _picture_errors(self, pictures: Batch, keys: Keys, step: int, frames: int, choices: Choices) -> Tensor:
        """Errors of the pictures beside each clip [b k], as of frames after its last one that no other frame sees.

        That is the joint training of Video Diffusion Models (sec. 3), its masked temporal attention left out rather
        than held to a frame itself, as for image models here.
        """
        clips = len(keys.content)
        count = len(pictures) // clips
        clip = pictures.clip
        shape = (clips, count, *clip.shape[2:])
        numbers = range(frames, frames + count)
        noise = IndependentNoise().draw(shape, keys, step + 1, frames=numbers, device=clip.device).eps
        eps = noise.reshape(clip.shape).to(clip)
        t = choices.t.to(clip).repeat_interleave(count)
        alpha, sigma = (expand(scale, clip) for scale in self.denoiser.schedule.alpha_sigma(t))
        captions = ["" if choices.drop[i // count] else text for i, text in enumerate(pictures.captions)]
        conditions = replace(text_conditions(self.text_encoder, captions, pictures.text), temporal=0.0)
        prediction = self.denoiser(alpha * clip + sigma * eps, t, conditions)
        return frame_errors(prediction, clip, eps, self.options.weighting).reshape(clips, count)

    def _conditions(self, batch: Batch, choices: Choices) -> Conditions:
        """What the clips are told: their captions, or embeddings of their middle frames."""
        if self.image_encoder is None:
            captions = ["" if drop else text for text, drop in zip(batch.captions, choices.drop, strict=True)]
            return text_conditions(self.text_encoder, captions, batch.text)
        embedding = self.image_encoder(batch.clip[:, base_frame(batch.clip.shape[1])])
        return frame_as_text(text_conditions(self.text_encoder, [""] * len(embedding)), embedding, choices.drop)

    def pipeline(self) -> VDMPipeline:
        """The pipeline with the present weights."""
        frames, height, width = self.shape
        return VDMPipeline(
            self.unet,
            **pipeline_parts(self.space, self.text_encoder),
            schedule=self.schedule,
            frames=frames,
            height=height,
            width=width,
            **vars(self.sampling),
            prediction=self.prediction,
            image_encoder=self.image_encoder,
            noise=self.noise_kind,
            noise_parameter=self.noise_parameter,
        )


class VDMPipeline(VideoPipeline):
    """Text to video (or to image, with one frame) by plain diffusion.

    Args:
        unet: over clips or images.
        text_encoder: of the prompts.
        schedule: by name.
        frames: of a clip by default; 1 for an image model.
        height: in pixels by default.
        width: in pixels by default.
        guidance: scale by default.
        guidance_interval: lowest and highest time at which clips are guided, in [0, 1]; see `ClassifierFree`.
        guidance_skip: how much of its temporal layers the unguided call goes without, in [0, 1]; likewise.
        sampler: by default, a key of `SAMPLERS`.
        sampler_options: by default, those of `SamplingOptions` that are not as there, by name.
        data: what it was trained on, as a recipe names it; "" if not known.
        prediction: what the network predicts.
        vae: the autoencoder whose latents it works in; None for pixels.
        tokenizer: of a text encoder of transformers; None for a `WordEncoder`.
        image_encoder: of middle frames, of a model that was told their embeddings in place of texts.
        noise: "independent", or a key of `KINDS` in `diffusion/kernels.py`.
        noise_parameter: of that kind; its own by default.

    Raises:
        InputError: what `make_noise` refuses.
    """

    _optional_components: ClassVar[list[str]] = ["vae", "tokenizer", "image_encoder"]  # diffusers reads a list

    def __init__(
        self,
        unet: UNet,
        text_encoder: nn.Module,
        schedule: str = "cosine",
        frames: int = 16,
        height: int = 32,
        width: int = 32,
        guidance: float = 2.0,
        guidance_interval: list[float] | tuple[float, ...] = (0.0, 1.0),  # diffusers reads a union
        guidance_skip: float = 0.0,
        sampler: str = "dpm++",
        sampler_options: dict[str, Any] | None = None,
        prediction: str = "v",
        vae: nn.Module | None = None,
        tokenizer: Any = None,
        data: str = "",
        image_encoder: FrameEncoder | None = None,
        noise: str = "independent",
        noise_parameter: float | None = None,
    ) -> None:
        super().__init__()
        check_times_and_skip(guidance_interval, guidance_skip)
        SamplingOptions().turned(sampler_options or {}, sampler)
        make_noise(noise, noise_parameter)
        self.register_modules(
            unet=unet, text_encoder=text_encoder, vae=vae, tokenizer=tokenizer, image_encoder=image_encoder
        )
        self.register_to_config(
            schedule=schedule,
            frames=frames,
            height=height,
            width=width,
            guidance=guidance,
            guidance_interval=list(guidance_interval),
            guidance_skip=guidance_skip,
            sampler=sampler,
            sampler_options=dict(sampler_options or {}),
            data=data,
            prediction=prediction,
            noise=noise,
            noise_parameter=noise_parameter,
        )

    @property
    def networks(self) -> list[UNet]:
        return [self.unet]

    def denoiser(self) -> NetworkDenoiser:
        """The network as a denoiser."""
        return NetworkDenoiser(self.unet, make_schedule(self.config.schedule), self.config.prediction)

    def noise_source(self) -> NoiseSource:
        return make_noise(self.config.noise, self.config.noise_parameter)

    def share(self, clips: int, frames: int, motion: float | None) -> Tensor | None:
        if motion is not None:
            raise InputError(f"motion is {motion}; only VideoFusion models have that knob, leave it out")
        return None

    def check_prompt(self, prompt: str) -> str | None:
        if self.image_encoder is None:
            return super().check_prompt(prompt)
        self.text.check(prompt)
        return (
            "this model was trained on embeddings of frames (text_from=frames) and hears no prompt; "
            "train it further on captions with start.model=ITS FOLDER"
        )

    def complete(
        self,
        conditions: Conditions,
        keys: Keys,
        guidance: float,
        draw: Draw,
        known: Known | None = None,
        prompts: Sequence[str] = (),
    ) -> Conditions:
        if self.image_encoder is None:
            return conditions
        null = text_conditions(self.text, [""] * len(keys.content))
        if known is None:
            return null
        return frame_as_text(null, self.image_encoder(known.frames[:, len(known.at) // 2]))  # the middle one of them
