"""VideoFusion in training and as a pipeline; `decomposed.py` has its denoiser and the variants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from videofusion.conditioning.frozen_text import FrozenText
from videofusion.conditioning.image import FrameEncoder, FrozenFrames, embed_frame, frames_encoder
from videofusion.conditioning.motion import measured_share, share_at, usual_share
from videofusion.conditioning.text import WordEncoder
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.guidance import check_times_and_skip
from videofusion.diffusion.known import Known
from videofusion.diffusion.losses import frame_errors, joint_errors
from videofusion.diffusion.noise import DecomposedNoise, Keys, base_frame
from videofusion.diffusion.options import SamplingOptions
from videofusion.diffusion.prediction import expand
from videofusion.diffusion.schedules import make_schedule
from videofusion.errors import InputError
from videofusion.keys import Stream, normal, uniform
from videofusion.networks.autoencoder import space_of
from videofusion.networks.layers import normalised
from videofusion.networks.prior import Prior, TransformerPrior
from videofusion.networks.unet import UNet
from videofusion.settings import Range
from videofusion.systems.config import SystemConfig
from videofusion.systems.decomposed import CORRECTS_BASE, VideoFusion, check_variant
from videofusion.systems.pipeline import Draw, VideoPipeline
from videofusion.systems.prior import (
    augmented,
    check_prior,
    is_trained,
    own_text_of,
    prior_components,
    prior_conditions,
    prior_errors,
    prior_parts,
    sample_prior,
)
from videofusion.systems.training import (
    Losses,
    SamplingDefaults,
    StepOptions,
    frozen_parts,
    grouped_keys,
    pipeline_parts,
    text_conditions,
)

MIDDLE_NOISE = 0.15  # most noise that a training step adds to the middle frame: the one at sampling is not perfect
BASE_LOSSES = ("stop", "joint", "fixed")
BASE_FRAMES = ("middle", "all")


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
        if self.motion_guidance is not None and self.variant != "image-first":
            raise self.refusal(
                "motion_guidance", f"only the variant 'image-first' takes one, and this is {self.variant!r}"
            )
        for key in ("image_encoder", "prior"):
            if getattr(self, key) is not None and self.variant != "published":
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
        base: the base generator.
        residual: the residual generator.
        text_encoder: a `WordEncoder`, trained with both.
        schedule: by name.
        prediction: what both generators predict.
        variant: one of `decomposed.VARIANTS`.
        share: lambda of every frame but the middle one (the paper's 0.5); None for the median of `profiles`.
        adaptive: probability that a clip's lambda is measured from its frames instead.
        profiles: quantiles of the data's lambda, which the motion knob moves along; see `share_profiles`.
        base_loss: "stop" (eq. 14), "joint" (no stop-gradient) or "fixed" (the base is not trained).
        base_frames: what the base learns from: the "middle" frame (eq. 14), or "all" that a step looks at, as pictures.
        base_rate_ratio: the base's learning rate over the others'.
        train_text: train the text encoder too; not with a fixed base that was trained with it.
        options: of a training step.
        sampling: how the pipeline samples by default.
        motion_guidance: scale for the frames around the middle one, where that is made first; as the clips' when None.
        shape: frames, height and width of the clips, which the pipeline makes by default.
        image_encoder: of the middle frame, trained with the generators, or CLIP's, which is not; for "published" only.
        prior: over its embeddings, trained beside them; for "published" only.
        prior_text: the text encoder of a prior that has one of its own; without it, it reads the generators'.
        grouped: in a batch, clips of one identity share base noise and clips of one action residual noise (sec. 4.7).
        vae: the autoencoder whose latents it works in; None for pixels.

    Raises:
        InputError: an unknown base_loss or base_frames; base_frames "all" where the base does not learn, or is told the
            middle frame's embedding; what `check_prior` refuses.
    """

    def __init__(
        self,
        base: UNet,
        residual: UNet,
        text_encoder: WordEncoder | FrozenText,
        *,
        shape: tuple[int, int, int],
        schedule: str = "cosine",
        prediction: str = "v",
        variant: str = "joint",
        share: float | None = 0.5,
        adaptive: float = 0.0,
        profiles: list[list[float]] | None = None,
        base_loss: str = "stop",
        base_frames: str = "middle",
        base_rate_ratio: float = 1.0,
        train_text: bool = True,
        options: StepOptions = StepOptions(),
        sampling: SamplingDefaults = SamplingDefaults(),
        motion_guidance: float | None = None,
        image_encoder: FrameEncoder | FrozenFrames | None = None,
        prior: Prior | TransformerPrior | None = None,
        prior_text: FrozenText | None = None,
        grouped: bool = False,
        vae: nn.Module | None = None,
    ) -> None:
        check_prior(variant, image_encoder, prior, prior_text)
        if base_loss not in BASE_LOSSES:
            raise InputError(f"base_loss is {base_loss!r}; it must be one of {', '.join(BASE_LOSSES)}")
        if base_frames not in BASE_FRAMES:
            raise InputError(f"base_frames is {base_frames!r}; it must be one of {', '.join(BASE_FRAMES)}")
        if base_frames == "all" and (variant == "published" or base_loss == "fixed"):
            raise InputError(
                "base_frames is 'all', but "
                + (
                    "the base of 'published' is told the middle frame's embedding"
                    if variant == "published"
                    else "base_loss is 'fixed', so that the base does not learn"
                )
            )
        self.base, self.residual, self.text_encoder, self.space = base, residual, text_encoder, space_of(vae)
        self.image_encoder, self.prior, self.prior_text = image_encoder, prior, prior_text
        self.schedule, self.prediction, self.variant, self.shape = schedule, prediction, variant, shape
        self.noise = DecomposedNoise()
        self.share, self.adaptive, self.profiles = share, adaptive, profiles
        usual_share(share, profiles, shape[0])  # so that what is missing is told before training
        self.base_loss, self.base_frames, self.base_rate_ratio = base_loss, base_frames, base_rate_ratio
        self.options, self.grouped = options, grouped
        self.sampling, self.motion_guidance = sampling, motion_guidance
        base.requires_grad_(base_loss != "fixed")
        if isinstance(text_encoder, WordEncoder):
            text_encoder.requires_grad_(train_text)
        self.denoiser = VideoFusion(
            base,
            residual,
            make_schedule(schedule),
            base_prediction=prediction,
            residual_prediction=prediction,
            variant=variant,
            stop_gradient=base_loss != "joint",
        )

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The trained parts by name."""
        base: dict[str, nn.Module] = {} if self._base_is_fixed else {"base": self.base}
        parts = base | {"residual": self.residual}
        if isinstance(self.text_encoder, WordEncoder):
            parts["text_encoder"] = self.text_encoder
        return parts | prior_parts(self.image_encoder, self.prior, self.prior_text, frozen=False)

    @property
    def frozen(self) -> dict[str, nn.Module]:
        """The parts that are never trained."""
        base: dict[str, nn.Module] = {"base": self.base} if self._base_is_fixed else {}
        frozen = prior_parts(self.image_encoder, self.prior, self.prior_text, frozen=True)
        return base | frozen_parts(self.space, self.text_encoder) | frozen

    @property
    def _base_is_fixed(self) -> bool:
        """Whether nothing of the base is trained; one that never heard an embedding learns to hear it."""
        return self.base_loss == "fixed" and not is_trained(self.base)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Parameters with their learning rates; the base's is smaller when it is pretrained (sec. 3.4)."""
        parts = {name: part for name, part in self.modules.items() if name != "base"}
        others = [p for part in parts.values() for p in part.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": others, "lr": lr}]
        base = [p for p in self.base.parameters() if p.requires_grad or self.base_loss != "fixed"]
        if base:  # of one that is fixed, how it hears an embedding that it never heard before
            groups.append({"params": base, "lr": lr * self.base_rate_ratio})
        return groups

    def loss(self, batch: Batch, keys: Keys, step: int, progress: float = 1.0) -> Losses:
        """The joint loss (eq. 14) of a batch.

        Args:
            batch: clips with captions.
            keys: of all randomness, one for each clip.
            step: of the training.
            progress: of the run, in [0, 1].
        """
        clip = batch.clip
        choices = self.options.choose(keys, step, self.adaptive)
        share = usual_share(self.share, self.profiles, clip.shape[1]).to(clip).expand(len(clip), -1)
        if self.adaptive:
            share = torch.where(choices.adapt.to(clip.device)[:, None], measured_share(clip), share)
        frames = self.options.frames(clip.shape[1], step, progress)
        clip, share = clip[:, frames], share[:, frames]
        noise_keys = grouped_keys(keys, batch.identities, batch.actions, batch.mates) if self.grouped else keys
        noise = self.noise.draw(clip.shape, noise_keys, step + 1, share, frames, clip.device)
        eps, t = noise.eps.to(clip), choices.t.to(clip)
        alpha, sigma = (expand(scale, clip) for scale in self.denoiser.schedule.alpha_sigma(t))
        captions = ["" if drop else text for text, drop in zip(batch.captions, choices.drop, strict=True)]
        numbers = torch.tensor(frames, device=clip.device)
        conditions = text_conditions(self.text_encoder, captions, batch.text, share=share, frames=numbers)
        if self.residual.config.fps:
            conditions = replace(conditions, fps=self.options.rates(batch.fps, keys, step, clip.device))
        parts = {}
        extra = torch.zeros_like(t)
        if self.image_encoder is not None and self.prior is not None:
            embedding = embed_frame(self.image_encoder, self.space, clip[:, base_frame(clip.shape[1])])
            if is_trained(self.prior):
                told = prior_conditions(conditions, self.prior_text, captions)
                extra = prior_errors(self.prior, embedding, t, told, keys, step)
                parts["prior"] = extra.mean().detach()
            conditions = replace(conditions, image_embedding=augmented(normalised(embedding), keys, step))
        middle = base_frame(clip.shape[1])
        clean = clip[:, middle : middle + 1] if self.variant == "image-first" else None
        if clean is not None:
            shown, noise_on_it = self._shown_middle(clean, keys, step)
            conditions = replace(conditions, middle_frame=shown, middle_noise=noise_on_it)
        z = alpha * clip + sigma * eps
        if clean is not None and self.base_loss == "fixed":  # the residual generator learns without the base
            own = torch.zeros_like(t)
            errors = frame_errors(self.denoiser.around(z, t, conditions, clean), clip, eps, self.options.weighting)
        else:
            base, joint = self.denoiser.predict(z, t, conditions, clean, self.base_frames == "all")
            own, errors = joint_errors(base, joint, clip, eps, share, self.options.weighting)
        if self.variant not in CORRECTS_BASE:  # there the composite's base frame is the base generator's
            errors = torch.where(share >= 1, torch.zeros_like(errors), errors)
        per_clip = (own + errors.sum(dim=1)) / clip.shape[1] + extra
        parts |= {"base": own.mean().detach(), "residual": errors.mean().detach()}
        return Losses(per_clip.mean(), parts, per_clip)

    def _shown_middle(self, frame: Tensor, keys: Keys, step: int) -> tuple[Tensor, Tensor]:
        """What the residual generator is shown of the middle frame, and the deviation of the noise on it [b]."""
        deviation = MIDDLE_NOISE * uniform(keys.content, Stream.MIDDLE_AMOUNT, step).to(frame)
        noise = normal(keys.content, Stream.MIDDLE_FRAME, step, [0], frame.shape[2:], frame.device).to(frame)
        return frame + expand(deviation, frame) * noise, deviation

    def pipeline(self) -> VideoFusionPipeline:
        """The pipeline with the present weights."""
        frames, height, width = self.shape
        return VideoFusionPipeline(
            self.base,
            self.residual,
            **pipeline_parts(self.space, self.text_encoder),
            schedule=self.schedule,
            frames=frames,
            height=height,
            width=width,
            **vars(self.sampling),
            motion_guidance=self.motion_guidance,
            variant=self.variant,
            share=self.share,
            profiles=self.profiles,
            base_prediction=self.prediction,
            residual_prediction=self.prediction,
            **prior_components(self.image_encoder, self.prior, self.prior_text),
        )


class VideoFusionPipeline(VideoPipeline):
    """Text to video by VideoFusion.

    Args:
        base: the base generator.
        residual: the residual generator.
        text_encoder: of the prompts.
        schedule: by name.
        frames: of a clip by default.
        height: in pixels by default.
        width: in pixels by default.
        guidance: scale by default.
        motion_guidance: that of the frames around the middle one, for "image-first", which makes that one first; as
            `guidance` when None. A high scale shows what was asked for, and of what was not, such as the course that
            things take, the usual only.
        guidance_interval: lowest and highest time at which clips are guided, in [0, 1]; see `ClassifierFree`.
        guidance_skip: how much of its temporal layers the unguided call goes without, in [0, 1]; likewise.
        sampler: by default, a key of `SAMPLERS`.
        sampler_options: by default, those of `SamplingOptions` that are not as there, by name.
        data: what it was trained on, as a recipe names it; "" if not known.
        variant: one of `decomposed.VARIANTS`.
        share: lambda of every frame but the middle one when no motion is asked for; None for the median of `profiles`.
        profiles: quantiles of the data's lambda for the motion knob; the median alone, or None,
            when the model was trained for no other.
        base_prediction: what the base predicts.
        residual_prediction: what the residual generator predicts.
        image_encoder: of middle frames, a `FrameEncoder` or a `CLIPVisionModelWithProjection` of transformers; for
            "published" only, where sampling needs it for known middle frames, and more training does.
        prior: makes their embeddings from prompts; for "published" only.
        prior_text_encoder: of a prior that has one of its own.
        prior_tokenizer: that belongs to it.
        vae: the autoencoder whose latents it works in; None for pixels.
        tokenizer: of a text encoder of transformers; None for a `WordEncoder`.

    Raises:
        InputError: what `check_prior` refuses; motion_guidance given to another variant than "image-first".
    """

    _optional_components: ClassVar[list[str]] = [  # diffusers reads a list
        *("image_encoder", "prior", "prior_text_encoder", "prior_tokenizer", "vae", "tokenizer")
    ]

    def __init__(
        self,
        base: UNet,
        residual: UNet,
        text_encoder: nn.Module,
        schedule: str = "cosine",
        frames: int = 16,
        height: int = 32,
        width: int = 32,
        guidance: float = 2.0,
        motion_guidance: float | None = None,
        guidance_interval: list[float] | tuple[float, ...] = (0.0, 1.0),  # diffusers reads a union
        guidance_skip: float = 0.0,
        sampler: str = "dpm++",
        sampler_options: dict[str, Any] | None = None,
        variant: str = "joint",
        share: float | None = 0.5,
        profiles: list[list[float]] | None = None,
        base_prediction: str = "v",
        residual_prediction: str = "v",
        image_encoder: nn.Module | None = None,
        prior: nn.Module | None = None,
        vae: nn.Module | None = None,
        tokenizer: Any = None,
        data: str = "",
        prior_text_encoder: nn.Module | None = None,
        prior_tokenizer: Any = None,
    ) -> None:
        super().__init__()
        check_variant(variant)
        own_text = own_text_of(prior_text_encoder, prior_tokenizer)
        check_prior(variant, frames_encoder(image_encoder), prior, own_text)  # type: ignore[arg-type]
        check_times_and_skip(guidance_interval, guidance_skip)
        SamplingOptions().turned(sampler_options or {}, sampler)
        if motion_guidance is not None and variant != "image-first":
            raise InputError(
                f"motion_guidance is {motion_guidance}; only the variant 'image-first' takes one, this is {variant!r}"
            )
        self.register_modules(
            base=base,
            residual=residual,
            text_encoder=text_encoder,
            image_encoder=image_encoder,
            prior=prior,
            prior_text_encoder=prior_text_encoder,
            prior_tokenizer=prior_tokenizer,
            vae=vae,
            tokenizer=tokenizer,
        )
        self.register_to_config(
            schedule=schedule,
            frames=frames,
            height=height,
            width=width,
            guidance=guidance,
            motion_guidance=motion_guidance,
            guidance_interval=list(guidance_interval),
            guidance_skip=guidance_skip,
            sampler=sampler,
            sampler_options=dict(sampler_options or {}),
            data=data,
            variant=variant,
            share=share,
            profiles=profiles,
            base_prediction=base_prediction,
            residual_prediction=residual_prediction,
        )

    @property
    def networks(self) -> list[UNet]:
        return [self.base, self.residual]

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

    def share(self, clips: int, frames: int, motion: float | None) -> Tensor:
        if motion is None:
            return usual_share(self.config.share, self.config.profiles, frames).expand(clips, -1)
        if len(self.config.profiles or ()) < 2:
            raise InputError(f"motion is {motion}; this model was not trained for it, leave it out")
        return share_at(self.config.profiles, motion, frames).expand(clips, -1)

    def frames_guidance(self, guidance: float) -> float:
        own = self.config.motion_guidance
        return guidance if own is None or guidance == 1 else own  # 1 is off, of both

    def check_known(self, places: Sequence[int], frames: int) -> None:
        middle = base_frame(frames)
        if self.config.variant == "image-first" and middle not in places:
            raise InputError(
                f"places of known frames are {list(places)}; the variant 'image-first' makes the middle frame first, "
                f"from the base noise alone, so that number {middle} must be among them"
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
        middle = None
        if known is not None and conditions.share is not None:
            middle = known.one(base_frame(conditions.share.shape[1]))
        if self.config.variant == "image-first":
            if middle is not None:
                return replace(conditions, middle_frame=middle)
            alone = replace(conditions, share=torch.ones(len(keys.content), 1))
            return replace(conditions, middle_frame=self.space.bounded(draw(self.denoiser().base, 1, alone)))
        if self.prior is None:
            return conditions
        encoder = frames_encoder(self.image_encoder)
        if middle is not None and encoder is not None:
            embedding = embed_frame(encoder, self.space, middle[:, 0])
        else:
            own_text = own_text_of(self.prior_text_encoder, self.prior_tokenizer)
            embedding = sample_prior(self.prior, prior_conditions(conditions, own_text, prompts), keys, guidance)
        return replace(conditions, image_embedding=normalised(embedding))
