"""VideoFusion in training; `decomposed.py` has its denoiser and variants, `videofusion_pipeline.py` its pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import nn

from videofusion.conditioning.condition import Condition, Step, together, told_in_training
from videofusion.conditioning.frame_embedding import FrameEmbedding
from videofusion.conditioning.middle_frame import MiddleFrame
from videofusion.conditioning.motion import Motion, measured_share, share_profiles
from videofusion.conditioning.picture_size import PictureSize
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
from videofusion.networks.image_transformer import ImageTransformer
from videofusion.networks.inflation import of_its_sizes
from videofusion.networks.unet import UNet
from videofusion.recipes.system_config import SystemConfig
from videofusion.settings import Range
from videofusion.systems.build import Parts
from videofusion.systems.decomposed import VideoFusion, get_variant
from videofusion.systems.embedding import frame_embedding, measure_embeddings
from videofusion.systems.grouped_keys import grouped_keys
from videofusion.systems.interface import Common, Losses
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.pretrained import start_from
from videofusion.systems.videofusion_pipeline import VideoFusionPipeline, check_embedding


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
            fixed = "base_loss is 'fixed', so that the base does not learn"
            shown = f"the base of {config.variant!r} is told the middle frame's embedding"
            raise InputError(f"base_frames is 'all', but {shown if self.variant.embedding else fixed}")
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
        seen = {"in_channels": 2 * colours if variant.beside else colours, "fps": parts.takes_fps}
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
        own += [FrameRate()] if parts.takes_fps else []
        own += [PictureSize(parts.common.space.factor)] if base.config.get("added_size") else []
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
        """Start the residual generator from the base where the recipe says so; train a base's new image embedding."""
        if self.config.residual_from_base and isinstance(self.base, UNet) and parts.recipe.start.model is None:
            own = start_from(self.residual, self.base)
            parts.started |= {name for name in own if name.replace("residual.", "base.", 1) in parts.started}
        trained = "base.image_embedding.linear_1.weight" in parts.started
        if parts.recipe.start.image_model is not None and self.base.image_embedding is not None and not trained:
            # of a fixed base too: the variant depends on it
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
        """Whether nothing of the base is trained; a new image embedding always is."""
        return self.config.base_loss == "fixed" and not is_trained(self.base)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Parameters with their learning rates; the base's is smaller when it is pretrained (sec. 3.4)."""
        parts = {name: part for name, part in self.modules.items() if name != "base"}
        others = [p for part in parts.values() for p in part.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": others, "lr": lr}]
        base = [p for p in self.base.parameters() if p.requires_grad or self.config.base_loss != "fixed"]
        if base:  # of one that is fixed, a new image embedding
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
            zero_null=getattr(self.text_encoder, "zero_null", False),
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
