"""VideoFusion in training and as a pipeline; `decomposed.py` has its denoiser and the variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import nn

from videofusion.conditioning.condition import Condition, Step, together, told_in_training
from videofusion.conditioning.frame_embedding import FrameEmbedding
from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.image import frames_encoder
from videofusion.conditioning.middle_frame import MiddleFrame
from videofusion.conditioning.motion import Motion, measured_share, share_profiles
from videofusion.conditioning.prior_diffusion import is_trained
from videofusion.conditioning.prompt import Encoder, Prompt
from videofusion.conditioning.rate import FrameRate
from videofusion.conditioning.text import WordEncoder
from videofusion.data.batch import Batch
from videofusion.diffusion.losses import frame_errors, joint_errors
from videofusion.diffusion.noise import DecomposedNoise, Keys, base_frame
from videofusion.diffusion.prediction import expand
from videofusion.diffusion.schedules import make_schedule
from videofusion.errors import InputError
from videofusion.networks.frame_network import FrameNetwork
from videofusion.networks.image_transformer import ImageTransformer
from videofusion.networks.inflation import of_its_sizes
from videofusion.networks.prior import Prior, TransformerPrior
from videofusion.networks.unet import UNet
from videofusion.recipes.system_config import SystemConfig
from videofusion.settings import Range
from videofusion.systems.build import Parts
from videofusion.systems.decomposed import Variant, VideoFusion, get_variant
from videofusion.systems.embedding import frame_embedding, measure_embeddings
from videofusion.systems.interface import Common, Losses
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.pretrained import start_from
from videofusion.systems.saved import PipelineSettings
from videofusion.systems.texts import transformer_prompts


@dataclass(frozen=True, kw_only=True)
class VideoFusionConfig(SystemConfig):
    """VideoFusion's keys in a recipe; the recipe's `network.channels` are those of the base generator.

    Args:
        variant: "joint", "corrected", "published", "framewise" or "image-first" (docs/videofusion.md).
        share: the share ratio λ of the frames other than the middle one; None takes it from the data, by how far a
            frame is from the middle one.
        adaptive: probability that a clip's λ is measured from its own frames instead; the motion knob is for models
            that were trained so.
        grouped: clips of one identity share base noise and clips of one action residual noise, within a batch (the
            paper's section 4.7); for a folder whose metadata has the columns `identity` or `action`.
        base_loss: "stop" (stop-gradient on the base, eq. (14)), "joint" (none) or "fixed" (base not trained).
        base_frames: what the base generator learns from in a step: the "middle" frame (the paper), or "all" frames that
            the step looks at, each as a picture.
        base_rate_ratio: the base generator's learning rate over the others' (small when it is pretrained).
        residual_channels: channels of each level of the residual generator; as many levels as the base generator's.
        residual_from_base: start the residual generator's spatial layers from the base's, of the same channels; where
            that is a U-Net of diffusers, it has its sizes.
        image_encoder: folder of CLIP's image encoder of transformers, whose embedding of the middle frame the variant
            "published" is told; when None, a small one is trained.
        prior: what makes that embedding from the text at sampling: a small network when None; "transformer" for DALL-E
            2's, of its own sizes; or the folder of a diffusers pipeline with one, and with the text encoder that it
            reads, to train it on, or with the rate 0 for prior.* to keep it as it is.
        motion_guidance: guidance scale of the frames around the middle one, for the variant "image-first"; that of all
            frames when None.
    """

    name: ClassVar[str] = "videofusion"
    may_change: ClassVar[tuple[str, ...]] = ("motion_guidance",)

    variant: Literal["joint", "corrected", "published", "framewise", "image-first"] = "joint"
    share: Annotated[float | None, Range(0, 0.999)] = None
    adaptive: Annotated[float, Range(0, 1)] = 0.0
    grouped: bool = False
    base_loss: Literal["stop", "joint", "fixed"] = "stop"
    base_frames: Literal["middle", "all"] = "middle"
    base_rate_ratio: Annotated[float, Range(0, 10)] = 1.0
    residual_channels: tuple[int, ...] = (32, 64, 96)
    residual_from_base: bool = False
    image_encoder: str | None = None
    prior: str | None = None
    motion_guidance: Annotated[float | None, Range(0, 100)] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        variant = get_variant(self.variant)
        if self.motion_guidance is not None and variant.decides != "given":
            raise self.refusal(
                "motion_guidance", f"only the variant 'image-first' takes one, and this is {self.variant!r}"
            )
        for key in ("image_encoder", "prior"):
            if getattr(self, key) is not None and not variant.embedding:
                raise self.refusal(
                    key,
                    "only the variant 'published' is told an embedding of the middle frame, and this is "
                    f"{self.variant!r}",
                )

    @property
    def groups_clips(self) -> bool:
        """Whether they are `grouped`."""
        return self.grouped

    def outline(self, theirs: bool) -> VideoFusionConfig:
        """Without measured shares and groups; see `SystemConfig.outline`."""
        share = 0.5 if self.share is None else self.share
        from_base = self.residual_from_base and theirs
        return replace(self, share=share, adaptive=0.0, grouped=False, residual_from_base=from_base)


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
        profiles: quantiles of the data's lambda for the motion knob; the median alone, or None, when the model was
            trained for no other.
        base_prediction: what the base predicts.
        residual_prediction: what the residual generator predicts.
    """

    motion_guidance: float | None = None
    variant: str = "joint"
    share: float | None = 0.5
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
        return transformer_prompts(self, self.base) if isinstance(self.base, ImageTransformer) else super().text

    @classmethod
    def networks_take_turns(cls, settings: Mapping[str, Any]) -> bool:
        return get_variant(settings.get("variant", "joint")).decides == "given"

    @property
    def conditions(self) -> Sequence[Condition]:
        own: list[Condition] = [Prompt(self.text), Motion(self.config.share, self.config.profiles)]
        if any(network.config.get("fps", False) for network in self.networks):
            own.append(FrameRate())
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


class VideoFusionSystem:
    """VideoFusion in training.

    Args:
        base: the base generator: an image U-Net, or a transformer of diffusers.
        residual: the residual generator.
        conditions: what both are told: the text, the motion, and where they are, the rate and the middle frame's
            embedding. A variant whose middle frame is given adds that one itself.
        config: the system's keys.
        common: what it takes from the rest of its recipe.

    Raises:
        InputError: base_frames "all" where the base does not learn, or is told the middle frame's embedding; a variant
            without the condition that it needs.
    """

    Config: ClassVar[type[SystemConfig]] = VideoFusionConfig
    Pipeline: ClassVar[type[VideoPipeline]] = VideoFusionPipeline

    def __init__(
        self,
        base: UNet | ImageTransformer,
        residual: UNet,
        conditions: Sequence[Condition],
        config: VideoFusionConfig,
        common: Common,
    ) -> None:
        self.variant = get_variant(config.variant)
        self.embedding = next((each for each in conditions if isinstance(each, FrameEmbedding)), None)
        check_embedding(config.variant, self.variant, self.embedding is not None)
        if config.base_frames == "all" and (self.variant.embedding or config.base_loss == "fixed"):
            raise InputError(
                "base_frames is 'all', but "
                + (
                    f"the base of {config.variant!r} is told the middle frame's embedding"
                    if self.variant.embedding
                    else "base_loss is 'fixed', so that the base does not learn"
                )
            )
        given = [MiddleFrame(lambda: self.denoiser.base)] if self.variant.decides == "given" else []
        self.base, self.residual, self.conditions = base, residual, (*conditions, *given)
        self.config, self.common = config, common
        self.space, self.options = common.space, common.options
        self.noise = DecomposedNoise()
        base.requires_grad_(config.base_loss != "fixed")
        if isinstance(self.text_encoder, WordEncoder):
            self.text_encoder.requires_grad_(common.train_text)
        self.denoiser = VideoFusion(
            base,
            residual,
            make_schedule(common.schedule),
            base_prediction=common.prediction,
            residual_prediction=common.prediction,
            variant=config.variant,
            stop_gradient=config.base_loss != "joint",
        )

    @classmethod
    def build(cls, config: VideoFusionConfig, parts: Parts) -> VideoFusionSystem:
        """The system of a recipe; see `SystemClass`."""
        variant, colours = get_variant(config.variant), parts.common.space.channels
        told = frame_embedding(parts, config.image_encoder, config.prior) if variant.embedding else None
        size = None if told is None else told.image_encoder.size
        theirs = parts.image_model(size)
        if config.grouped and not any((*getattr(parts.data, "identities", ()), *getattr(parts.data, "actions", ()))):
            raise InputError("recipe key system.grouped is True, but the data name no clip's identity or action")
        base = theirs or parts.drawn("image", parts.recipe.network.channels, image_size=size)
        seen = {"in_channels": 2 * colours if variant.beside else colours, "fps": parts.hears_fps}
        temporal = variant.temporal(parts.temporal)
        if isinstance(base, ImageTransformer) and config.residual_from_base:
            raise InputError(
                f"recipe key system.residual_from_base is True, but the base is a {base.config.kind}, whose layers no "
                "U-Net has"
            )
        if isinstance(theirs, UNet) and config.residual_from_base:
            residual = of_its_sizes(theirs, temporal, **seen)
        else:
            residual = parts.drawn(temporal, config.residual_channels, image_size=size, **seen)
        own = [Prompt(parts.text), Motion(config.share, _profiles(config, parts), config.adaptive)]
        own += [FrameRate()] if parts.hears_fps else []
        own += [] if told is None else [told]
        system = cls(base, residual, own, config, parts.common)
        if told is not None:
            measure_embeddings(told, parts)
            if told.text is not None:
                parts.started |= {f"prior.{name}" for name in told.prior.state_dict()}
        parts.begin(system, "base")
        system._begin(parts)
        return system

    def _begin(self, parts: Parts) -> None:
        """Start the residual generator from the base where the recipe says so, and have a base hear what it must."""
        if self.config.residual_from_base and isinstance(self.base, UNet) and parts.recipe.start.model is None:
            own = start_from(self.residual, self.base)
            parts.started |= {name for name in own if name.replace("residual.", "base.", 1) in parts.started}
        heard = "base.image_embedding.linear_1.weight" in parts.started
        if parts.recipe.start.image_model is not None and self.base.image_embedding is not None and not heard:
            # of a fixed base too, which would never hear what the variant lives by
            self.base.image_embedding.requires_grad_()

    @property
    def text_encoder(self) -> Encoder:
        """What reads the captions."""
        return next(each.encoder for each in self.conditions if isinstance(each, Prompt))

    @property
    def motion(self) -> Motion:
        """The condition that says how much frames share."""
        return next(each for each in self.conditions if isinstance(each, Motion))

    @property
    def profiles(self) -> Sequence[Sequence[float]] | None:
        """Quantiles of lambda that were measured on the data."""
        return self.motion.profiles

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The trained parts by name."""
        base: dict[str, nn.Module] = {} if self._base_is_fixed else {"base": self.base}
        own = {name: part for each in self.conditions for name, part in each.modules.items()}
        return base | {"residual": self.residual} | own

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """The parts that are never trained."""
        base: dict[str, nn.Module] = {"base": self.base} if self._base_is_fixed else {}
        vae: dict[str, nn.Module] = {} if self.space.vae is None else {"vae": self.space.vae}
        return base | vae | {name: part for each in self.conditions for name, part in each.frozen.items()}

    @property
    def _base_is_fixed(self) -> bool:
        """Whether nothing of the base is trained; one that never heard an embedding learns to hear it."""
        return self.config.base_loss == "fixed" and not is_trained(self.base)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Parameters with their learning rates; the base's is smaller when it is pretrained (sec. 3.4)."""
        parts = {name: part for name, part in self.modules.items() if name != "base"}
        others = [p for part in parts.values() for p in part.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": others, "lr": lr}]
        base = [p for p in self.base.parameters() if p.requires_grad or self.config.base_loss != "fixed"]
        if base:  # of one that is fixed, how it hears an embedding that it never heard before
            groups.append({"params": base, "lr": lr * self.config.base_rate_ratio})
        return groups

    def loss(self, batch: Batch, keys: Keys, step: int, progress: float = 1.0) -> Losses:
        """The joint loss (eq. 14) of a batch; see `System`."""
        frames = self.options.frames(batch.clip.shape[1], step, progress)
        clip, look = batch.clip[:, frames], Step(number=step, frames=frames, dropout=self.options.caption_dropout)
        t = self.options.times(keys, step).to(clip)
        parts, extra = {}, torch.zeros_like(t)
        told = told_in_training([each for each in self.conditions if each is not self.embedding], batch, keys, look)
        told = replace(told, frames=torch.tensor(frames, device=clip.device))
        if self.embedding is not None:
            said, errors = self.embedding.learn(batch, keys, look, t, told)
            told = together([told, said])
            if errors is not None:
                extra, parts["prior"] = errors, errors.mean().detach()
        share = told.share
        assert share is not None  # as `Motion` tells it

        grouped = grouped_keys(keys, batch.identities, batch.actions, batch.mates) if self.config.grouped else keys
        eps = self.noise.draw(clip.shape, grouped, step + 1, share, frames, clip.device).eps.to(clip)
        alpha, sigma = (expand(scale, clip) for scale in self.denoiser.schedule.alpha_sigma(t))
        z = alpha * clip + sigma * eps
        middle = base_frame(clip.shape[1])
        clean = clip[:, middle : middle + 1] if self.variant.decides == "given" else None
        if clean is not None and self.config.base_loss == "fixed":  # the residual generator learns without the base
            own = torch.zeros_like(t)
            errors = frame_errors(self.denoiser.around(z, t, told, clean), clip, eps, self.options.weighting)
        else:
            base, joint = self.denoiser.predict(z, t, told, clean, self.config.base_frames == "all")
            own, errors = joint_errors(base, joint, clip, eps, share, self.options.weighting)
        if self.variant.decides != "both":  # there the composite's base frame is the base generator's
            errors = torch.where(share >= 1, torch.zeros_like(errors), errors)
        per_clip = (own + errors.sum(dim=1)) / clip.shape[1] + extra
        parts |= {"base": own.mean().detach(), "residual": errors.mean().detach()}
        return Losses(per_clip.mean(), parts, per_clip)

    def pipeline(self) -> VideoFusionPipeline:
        """The pipeline with the present weights."""
        return VideoFusionPipeline(
            self.base,
            self.residual,
            vae=self.space.vae,
            **{name: part for each in self.conditions for name, part in each.components.items()},
            **self.common.settings(),
            motion_guidance=self.config.motion_guidance,
            variant=self.config.variant,
            share=self.motion.fixed,
            profiles=self.profiles,
            base_prediction=self.common.prediction,
            residual_prediction=self.common.prediction,
        )


def _profiles(config: VideoFusionConfig, parts: Parts) -> Sequence[Sequence[float]] | None:
    """Quantiles of the lambda measured on training clips; the median alone where training takes no other."""
    if parts.profiles is not None:
        return [list(row) for row in parts.profiles]
    if not config.adaptive and config.share is not None:
        return None
    profiles = share_profiles(torch.cat([measured_share(clip) for clip in parts.clips()]))
    return profiles if config.adaptive else profiles[len(profiles) // 2 :][:1]


def grouped_keys(
    keys: Keys, identities: Sequence[str], actions: Sequence[str], mates: Sequence[tuple[int, str, str]] = ()
) -> Keys:
    """Keys by which clips of one identity share base noise and clips of one action residual noise (sec. 4.7).

    Sharing is within the batch, as in the paper: a group has the smallest key of its clips.

    Args:
        keys: of the clips, b of them.
        identities: of the clips, "" where not known; none of them when nothing is known.
        actions: the same.
        mates: see `Batch`.
    """
    return Keys(
        _grouped(keys.content, identities, [(key, identity) for key, identity, _ in mates]),
        _grouped(keys.motion, actions, [(key, action) for key, _, action in mates]),
    )


def _grouped(keys: Sequence[int], names: Sequence[str], mates: Sequence[tuple[int, str]]) -> tuple[int, ...]:
    own = list(zip(keys, names or [""] * len(keys), strict=True))
    pairs = [*own, *mates]
    return tuple(min(k for k, other in pairs if other == name) if name else key for key, name in own)
