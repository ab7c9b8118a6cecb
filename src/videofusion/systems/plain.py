"""Plain diffusion with a list of conditions: what a system does by default.

Most systems of video diffusion are this with a temporal design, conditions and stages of training, so that each is one
file with a subclass of `PlainDiffusion` and a subclass of `SystemConfig` for its keys.

    class Flicker(PlainDiffusion):
        Config = FlickerConfig
        temporal = "video_ldm"
        stages = {"images": Stage(trains="image", temporal=0.0), "clips": Stage(trains="temporal", words="none")}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from videofusion.conditioning.condition import Condition, Step, network_inputs, told_in_training
from videofusion.conditioning.context import ContextFrames
from videofusion.conditioning.frame_as_text import FrameAsText
from videofusion.conditioning.image import FrameEncoder
from videofusion.conditioning.prompt import Prompt
from videofusion.conditioning.rate import FrameRate
from videofusion.conditioning.text import WordEncoder
from videofusion.data.batch import Batch
from videofusion.diffusion.denoiser import NetworkDenoiser
from videofusion.diffusion.kernels import make_noise
from videofusion.diffusion.losses import frame_errors
from videofusion.diffusion.noise import IndependentNoise, Keys, NoiseSource
from videofusion.diffusion.prediction import expand
from videofusion.diffusion.schedules import make_schedule
from videofusion.errors import InputError
from videofusion.networks.unet import UNet
from videofusion.systems.interface import Common, Losses
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.saved import PipelineSettings

if TYPE_CHECKING:
    from videofusion.systems.build import Parts


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of training: which weights a run trains, and which conditions it uses.

    Args:
        trains: "all"; "image", the weights that an image network has; or "temporal", the others, with the image
            network and its text encoder frozen.
        temporal: weight of the temporal layers: 0 treats the frames of a clip as independent pictures.
        words: the text condition: the clips' "captions", as the system encodes them; or "none", the empty text for all
            clips.
        conditions: names of the conditions that are used in this stage, the others being null; all of them when None.
    """

    trains: Literal["all", "image", "temporal"] = "all"
    temporal: float = 1.0
    words: Literal["captions", "none"] = "captions"
    conditions: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class PlainSettings(PipelineSettings):
    """What a pipeline of plain diffusion saves.

    Args:
        prediction: what the network predicts.
        noise: "independent", or a key of `KINDS` in `diffusion/kernels.py`.
        noise_parameter: of that kind; its own by default.
    """

    prediction: str = "v"
    noise: str = "independent"
    noise_parameter: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        make_noise(self.noise, self.noise_parameter)


class PlainPipeline(VideoPipeline):
    """Text to video (or to image, with one frame) by plain diffusion; see `PlainSettings` for what it saves.

    The image encoder embeds middle frames; it is for models that are conditioned on these embeddings instead of a text.
    """

    PARTS: ClassVar[Mapping[str, Any]] = {
        "unet": UNet,
        "text_encoder": nn.Module,
        "vae": nn.Module | None,
        "tokenizer": Any | None,
        "image_encoder": FrameEncoder | None,
    }
    Settings: ClassVar[type[PipelineSettings]] = PlainSettings

    @property
    def networks(self) -> list[UNet]:
        return [self.unet]

    @property
    def conditions(self) -> Sequence[Condition]:
        words = Prompt(self.text) if self.image_encoder is None else FrameAsText(self.text, self.image_encoder)
        rate = (FrameRate(),) if self.unet.config.fps else ()
        sizes = self.unet.config
        context = (ContextFrames(None),) if sizes.in_channels == 2 * sizes.out_channels + 1 else ()
        return (words, *rate, *context)

    def denoiser(self) -> NetworkDenoiser:
        """The network as a denoiser."""
        return NetworkDenoiser(self.unet, make_schedule(self.config.schedule), self.config.prediction)

    def noise_source(self) -> NoiseSource:
        return make_noise(self.config.noise, self.config.noise_parameter)


class PlainDiffusion:
    """Plain diffusion in training.

    Args:
        unet: over clips or images, which takes the conditions.
        conditions: what it is conditioned on, the text first.
        config: the system's keys.
        common: what it takes from the rest of its recipe.

    Attributes:
        Config: class of its keys; a `stage` among them where there are `stages`.
        Pipeline: what it becomes.
        temporal: row of `TEMPORAL_DESIGNS`; the recipe's when None.
        stages: what a run trains, by the name of its stage.
        sizes: of its network, as keywords of `UNet`, that are not the recipe's.
    """

    Config: ClassVar[type[Any]]
    Pipeline: ClassVar[type[VideoPipeline]] = PlainPipeline
    temporal: ClassVar[str | None] = None
    stages: ClassVar[Mapping[str, Stage]] = {}
    sizes: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, unet: UNet, conditions: Sequence[Condition], config: Any, common: Common) -> None:
        self.unet, self.conditions, self.config, self.common = unet, tuple(conditions), config, common
        self.space, self.options, self.stage = common.space, common.options, self.stage_of(config)
        self.denoiser = NetworkDenoiser(unet, make_schedule(common.schedule), common.prediction)
        own = self.settings()
        self.noise = make_noise(own.get("noise", "independent"), own.get("noise_parameter"))
        self._freeze()

    @classmethod
    def build(cls, config: Any, parts: Parts) -> PlainDiffusion:
        """The system of a recipe; see `SystemClass`."""
        conditions, stage = tuple(cls.told(config, parts)), cls.stage_of(config)
        if stage.words == "none":
            conditions = (Prompt(parts.text, captions=False), *conditions[1:])
        told = network_inputs(conditions, parts.common.space.channels)
        unet = parts.unet(cls.temporal or parts.temporal, **told, **cls.sizes)
        system = cls(unet, conditions, config, parts.common)
        parts.begin(system, "unet")
        if stage.trains == "temporal" and not parts.starts("unet"):
            raise InputError(
                f"recipe key system.stage is {config.stage!r}, which trains temporal layers in an image network that "
                "stays as it is; name the one that it starts from"
            )
        return system

    @classmethod
    def told(cls, config: Any, parts: Parts) -> Sequence[Condition]:
        """The system's conditions, the text first: that and the rate, where the data have several.

        Args:
            config: the system's keys.
            parts: what the rest of the recipe gives.
        """
        return (Prompt(parts.text), *((FrameRate(),) if parts.takes_fps else ()))

    @classmethod
    def stage_of(cls, config: Any) -> Stage:
        """The stage that the keys name; for a system without stages, one that trains all."""
        return cls.stages[config.stage] if cls.stages else Stage()

    @property
    def text_encoder(self) -> Any:
        """What reads the captions, or None."""
        return next((each.encoder for each in self.conditions if isinstance(each, Prompt)), None)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The trained parts by name."""
        return {"unet": self.unet} | {k: v for each in self.conditions for k, v in each.modules.items()}

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """The parts that are never trained."""
        vae: dict[str, nn.Module] = {} if self.space.vae is None else {"vae": self.space.vae}
        return vae | {k: v for each in self.conditions for k, v in each.frozen.items()}

    def _freeze(self) -> None:
        trains, encoder = self.stage.trains, self.text_encoder
        if isinstance(encoder, WordEncoder):
            encoder.requires_grad_(self.common.train_text and trains != "temporal")
        if trains == "all":
            return
        image = set(self.unet.spatial_state())
        for name, parameter in self.unet.named_parameters():
            parameter.requires_grad_((name in image) == (trains == "image"))
        if trains == "temporal" and self._beside:
            # the first layer learns the channels beside the frame; its weights for the frame stay the image network's
            weight = self.unet.conv_in.weight.requires_grad_()
            own = weight.shape[1] - self._beside
            weight.register_hook(lambda slope: torch.cat([torch.zeros_like(slope[:, :own]), slope[:, own:]], dim=1))

    @property
    def _beside(self) -> int:
        """Channels of the first layer that stand beside the frame's."""
        return (self.unet.config.in_channels - self.unet.config.out_channels) * self.unet.config.patch**2

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """All parameters at one rate; the first layer without decay where some of it has to stay as it is."""
        parameters = [p for part in self.modules.values() for p in part.parameters() if p.requires_grad]
        if self.stage.trains != "temporal" or not self._beside:
            return [{"params": parameters, "lr": lr}]
        first = self.unet.conv_in.weight
        others = [p for p in parameters if p is not first]
        return [{"params": others, "lr": lr}, {"params": [first], "lr": lr, "weight_decay": 0.0}]

    def loss(self, batch: Batch, keys: Keys, step: int, progress: float = 1.0) -> Losses:
        """The plain loss of a batch; see `System`."""
        frames = self.options.frames(batch.clip.shape[1], step, progress)
        clip = batch.clip[:, frames]
        eps = self.noise.draw(clip.shape, keys, step + 1, frames=frames, device=clip.device).eps.to(clip)
        look = Step(number=step, frames=frames, dropout=self.options.caption_dropout)
        errors = self._errors(clip, eps, batch, keys, look, self.stage.temporal)
        if batch.pictures is not None:
            pictures = self._picture_errors(batch.pictures, keys, step, batch.clip.shape[1])
            errors = torch.cat([errors, pictures], dim=1)
        per_clip = errors.mean(dim=1)
        return Losses(per_clip.mean(), {}, per_clip)

    def times(self, keys: Keys, step: int) -> Tensor:
        """Times of a step's clips [b]."""
        return self.options.times(keys, step)

    def _errors(self, clip: Tensor, eps: Tensor, batch: Batch, keys: Keys, step: Step, temporal: float) -> Tensor:
        """Errors of clips, or of pictures, each noised to a time of its own [b t]."""
        t = self.times(keys, step.number).to(clip)
        alpha, sigma = (expand(scale, clip) for scale in self.denoiser.schedule.alpha_sigma(t))
        used = self.stage.conditions
        unused = [each.name for each in self.conditions if used is not None and each.name not in used]
        told = told_in_training(self.conditions, batch, keys, step).without(*unused)
        told = replace(told, frames=torch.tensor(step.frames, device=clip.device), temporal=temporal)
        prediction = self.denoiser(alpha * clip + sigma * eps, t, told)
        return frame_errors(prediction, clip, eps, self.options.weighting)

    def _picture_errors(self, pictures: Batch, keys: Keys, step: int, frames: int) -> Tensor:
        """Errors of the pictures beside each clip [b k], as of frames after its last one that no other frame sees.

        That is the joint training of Video Diffusion Models (sec. 3), its masked temporal attention left out rather
        than held to a frame itself, as for image models here.
        """
        clips = len(keys.content)
        count = len(pictures) // clips
        shape, numbers = (clips, count, *pictures.clip.shape[2:]), range(frames, frames + count)
        noise = IndependentNoise().draw(shape, keys, step + 1, frames=numbers, device=pictures.clip.device).eps
        eps = noise.reshape(pictures.clip.shape).to(pictures.clip)
        each = Keys(*(tuple(key for key in of for _ in range(count)) for of in (keys.content, keys.motion)))
        look = Step(number=step, frames=[0], dropout=self.options.caption_dropout)
        return self._errors(pictures.clip, eps, pictures, each, look, 0.0).reshape(clips, count)

    def settings(self) -> dict[str, Any]:
        """What the pipeline saves beside its parts."""
        return {**self.common.settings(), "prediction": self.common.prediction}

    def pipeline(self) -> VideoPipeline:
        """The pipeline with the present weights."""
        own = {k: v for each in self.conditions for k, v in each.components.items()}
        return self.Pipeline(unet=self.unet, vae=self.space.vae, **own, **self.settings())
