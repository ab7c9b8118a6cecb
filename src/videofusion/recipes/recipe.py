"""Everything that decides what a training run does, in one flat dataclass."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from videofusion.errors import InputError, unknown
from videofusion.recipes.values import kind_name, read_value


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train, on what, and how.

    Args:
        name: the recipe's name; a run folder belongs to one.
        system: "videofusion" (decomposed noise) or "vdm" (plain diffusion; with temporal "image", an image model).
        noise: of the system "vdm", over a clip's frames: "independent", or correlated: "mixed" or "progressive"
            (PYoCo), "ou", "rbf", or "shuffled" (FreeNoise: the first window's again, in another order).
        noise_parameter: of correlated noise: the share of all frames ("mixed"), the correlation of neighbours
            ("progressive"), a length in frames ("ou", "rbf"), the frames of a window ("shuffled"); see `KINDS` in
            `diffusion/kernels.py`, which has what it is when None.
        variant: of VideoFusion: "joint", "corrected", "published", "framewise" or "image-first" (docs/videofusion.md).
        share: the share ratio λ of the frames other than the middle one, in [0, 1); None takes it from the data, by how
            far a frame is from the middle one.
        adaptive: probability that a clip's λ is measured from its own frames instead; the motion knob is for models
            that were trained so.
        train_frames: frames of a clip that a step looks at, the middle one among them; all when None, and in every
            eighth step.
        reach: how far from the middle frame those may be that a step looks at; as far as the clip goes when None.
        reach_share: share of the run, of its steps or its seconds, whichever end it, in which that grows evenly to the
            whole clip, in [0, 0.9]; 0 when it stays.
        image_frames: pictures, single frames of other clips, that a step looks at beside each clip (VDM's joint
            training); temporal layers do not see them. For the system "vdm".
        text_from: what stands for the text in training: the "captions", or an embedding of each clip's middle frame
            ("frames", MagicVideo's unsupervised training), so that clips need none; `pretrained` then takes the result
            to captions. For the system "vdm".
        grouped: clips of one identity share base noise and clips of one action residual noise, within a batch (the
            paper's section 4.7); for a folder whose metadata has the columns `identity` or `action`.
        base_loss: "stop" (stop-gradient on the base, eq. (14)), "joint" (none) or "fixed" (base not trained).
        base_frames: what the base generator learns from in a step: the "middle" frame (the paper), or "all" frames that
            the step looks at, each as a picture.
        schedule: noise schedule by name, see `make_schedule`; some take a number, as in "rectified_flow:3".
        prediction: what the networks predict: "v", or "x0" where squares of pixels are folded into few channels.
        weighting: of the errors: "v", "flow" (with the schedule rectified_flow), "clipped_v" (with x0), "eps" (the
            papers') or "x0".
        time_logit: mean and standard deviation of log(t / (1 - t)) of the times that are trained at, some more than
            others (Esser et al. 2024); uniform when empty.
        channels: channels of each level of the U-Net (of VideoFusion: of the base generator), finest first.
        residual_channels: the same for VideoFusion's residual generator; as many levels.
        attention: spatial attention of each level: "none", "plain" or "transformer" (with the text).
        temporal: temporal design of the U-Net (of VideoFusion: of the residual generator).
        blocks: residual blocks per level.
        heads: attention heads.
        head_size: instead of `heads`, features of a head: wider levels then have more heads.
        groups: of every group norm; few channels in a group leave little of what a layer is told.
        patch: side of the squares of pixels that are folded into channels.
        text_dim: size of the text's token embeddings.
        train_text: train the text encoder; False keeps the pretrained one, so that parts trained apart stay together.
        pretrained: a run folder or model folder of the same system, from which all parts start; temporal layers that
            `temporal` has beyond those of its model begin as the identity.
        pretrained_base: a run folder or model folder; the base generator (of VDM: the spatial layers) starts from its
            image network. Or a pipeline's folder of diffusers, as Stable Diffusion 1.5's, whose U-Net then is the base
            generator (of VDM: what temporal layers are put into); `channels`, `blocks` and the like are those of the
            residual one. With `pretrained` beside it, that run's weights count, and the folder says the sizes.
        trains: "full" (all that the keys above and below leave trained), "temporal" (the layers and embeddings that an
            image network has not) or "lora" (low-rank adapters on the U-Nets' attention); the latter two need one of
            the keys above to start from.
        lora_rank: of the adapters.
        rates: learning rates of their own, items "PATTERN=RATE": parameters such as "residual.conv_in.weight" whose
            name matches (`*` is any text) have the rate of the first such pattern, and are not trained where it is 0.
        residual_from_base: start the residual generator's spatial layers from the base's, of the same channels; where
            that is a U-Net of diffusers, it has its sizes.
        autoencoder: folder of an autoencoder of images, in whose latents is trained and sampled; pixels when None.
        text_encoder: folder of a frozen text encoder of transformers and its tokenizer, whose embeddings have the size
            `text_dim`; when None, one that learns the captions' words is trained.
        image_encoder: folder of CLIP's image encoder of transformers, whose embedding of the middle frame the variant
            "published" is told; when None, a small one is trained.
        prior: what makes that embedding from the text at sampling: a small network when None; "transformer" for DALL-E
            2's, of its own sizes; or the folder of a diffusers pipeline with one, and with the text encoder that it
            reads, to train it on, or with `rates=prior.*=0` to keep it as it is.
        data: "moving-digits", "static-digits" (grey stills), "middle-digits" (the middle frames of moving
            digits), "digit-crops" (squares of `size` cut from those at 32x32, with the digit in them) or "folder"; the
            first four also over photographs: "digits-over-photos", "static-over-photos", "middle-over-photos" and
            "crops-over-photos".
        frames: frames of a clip.
        size: height and width in pixels.
        two_digits: share of the moving-digits clips with two digits, in [0, 1].
        layout: how a folder is laid out: "auto" looks at it; docs/data.md shows each.
        fold: which of a folder's numbered split files (UCF101 and HMDB51 have three).
        fps: frames per second of a folder's clips; None for the files' own.
        fps_range: instead of `fps`, the lowest and the highest rate, between which each clip draws its own.
        stride: every how many of a file's frames, where `fps` is None.
        strides: instead of `stride`, several of them, from which each clip draws its own.
        crop: of a folder's frames, "center" or "random".
        flip: mirror every other training clip of a folder; "left" and "right" change places in its caption.
        clips_per_video: training clips per video and epoch.
        validation_share: share of a folder's files held out for the validation loss.
        batch_size: clips per micro-batch, of all processes together.
        accumulation: micro-batches per optimiser step.
        workers: processes that prepare batches; 0 prepares them in this one.
        steps: optimiser steps, after which the run ends.
        seconds: budget of seconds of training (steps only, summed over sessions), or None.
        clock: what counts those seconds: "wall", or "processor": this process's seconds of all its threads together,
            which do not depend on what else the machine does; for comparisons on a CPU.
        optimizer: "adamw", or "adamw8bit", which keeps its moments in 8 bits.
        learning_rate: peak rate of AdamW.
        base_rate_ratio: the base generator's rate over `learning_rate` (small when it is pretrained).
        schedule_rate: "cosine" or "constant".
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        clip_gradient: largest norm of the gradient.
        ema_decay: decay of the moving average, in [0, 1).
        caption_dropout: share of clips trained without their caption, in [0, 1].
        precision: "float32" or "bfloat16" (autocast; weights stay float32).
        compile: compile the networks with torch.compile.
        gradient_checkpointing: keep only what goes between the blocks of the U-Nets, and compute the rest again in the
            backward pass: less memory, more time.
        shard: each of several processes holds a part of every network (FSDP2) instead of all of them.
        offload: what of it waits in the CPU's memory while it does not compute: "none", or VideoFusion's "base"
            generator with its gradients, moments and average, where a GPU has no room for it; with `shard`.
        seed: the seed of everything random.
        log: where curves and sample grids are shown beside log.jsonl: "tensorboard", "wandb", both or none.
        log_interval: steps between lines of the log.
        validation_interval: steps between validations.
        validation_batches: batches of a validation.
        checkpoint_interval: steps between checkpoints.
        checkpoint_minutes: a checkpoint after so many minutes without one, too; None for steps alone.
        keep: checkpoints to keep beside the best.
        sample_interval: steps between sample grids; 0 for none.
        prompts: what the sample grids show; captions of the validation clips when there are none.
        sample_steps: sampler steps of a grid.
        guidance: guidance scale of a grid, and of the model by default; 1 is off.
        motion_guidance: that of the frames around the middle one, for the variant "image-first"; `guidance` when None.
        guidance_interval: lowest and highest time at which both guide, in [0, 1]: below 1 what is decided first, as a
            course is, varies more; above 0 fine detail is as the data has it.
        guidance_skip: how much of its temporal layers the unguided call goes without, in [0, 1]: above 0, guidance is
            away from frames that agree less too.
        sampler: of a grid, and of the model by default.
        sampler_options: items "NAME=VALUE" of `SamplingOptions`, as "spacing=flow", of a grid, and of the model by
            default.
    """

    name: str
    system: Literal["videofusion", "vdm"] = "videofusion"
    noise: str = "independent"
    noise_parameter: float | None = None
    variant: Literal["joint", "corrected", "published", "framewise", "image-first"] = "joint"
    share: float | None = None
    adaptive: float = 0.0
    train_frames: int | None = None
    reach: int | None = None
    reach_share: float = 0.0
    image_frames: int = 0
    text_from: Literal["captions", "frames"] = "captions"
    grouped: bool = False
    base_loss: Literal["stop", "joint", "fixed"] = "stop"
    base_frames: Literal["middle", "all"] = "middle"
    schedule: str = "cosine"
    prediction: Literal["v", "x0", "eps", "flow"] = "v"
    weighting: Literal["v", "flow", "clipped_v", "eps", "x0"] = "v"
    time_logit: tuple[float, ...] = ()
    channels: tuple[int, ...] = (64, 128, 192)
    residual_channels: tuple[int, ...] = (32, 64, 96)
    attention: tuple[str, ...] = ("none", "transformer", "transformer")
    temporal: str = "residual_joint"
    blocks: int = 2
    heads: int = 4
    head_size: int | None = None
    groups: int = 16
    patch: int = 1
    text_dim: int = 128
    train_text: bool = True
    pretrained: str | None = None
    pretrained_base: str | None = None
    trains: Literal["full", "temporal", "lora"] = "full"
    lora_rank: int = 8
    rates: tuple[str, ...] = ()
    residual_from_base: bool = False
    autoencoder: str | None = None
    text_encoder: str | None = None
    image_encoder: str | None = None
    prior: str | None = None
    data: Literal[
        "moving-digits",
        "static-digits",
        "middle-digits",
        "digit-crops",
        "digits-over-photos",
        "static-over-photos",
        "middle-over-photos",
        "crops-over-photos",
        "folder",
    ] = "moving-digits"
    frames: int = 16
    size: int = 32
    two_digits: float = 0.3
    layout: Literal["auto", "folder", "frames", "images", "table", "shards", "array", "datasets", "encoded"] = "auto"
    fold: int = 1
    fps: float | None = None
    fps_range: tuple[float, ...] = ()
    stride: int = 1
    strides: tuple[int, ...] = ()
    crop: Literal["center", "random"] = "center"
    flip: bool = False
    clips_per_video: int = 1
    validation_share: float = 0.05
    batch_size: int = 16
    accumulation: int = 1
    workers: int = 0
    steps: int = 20_000
    seconds: float | None = None
    clock: Literal["wall", "processor"] = "wall"
    optimizer: Literal["adamw", "adamw8bit"] = "adamw"
    learning_rate: float = 4e-4
    base_rate_ratio: float = 1.0
    schedule_rate: Literal["cosine", "constant"] = "cosine"
    warmup: int = 200
    weight_decay: float = 0.01
    clip_gradient: float = 1.0
    ema_decay: float = 0.999
    caption_dropout: float = 0.1
    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    gradient_checkpointing: bool = False
    shard: bool = False
    offload: Literal["none", "base"] = "none"
    seed: int = 0
    log: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    log_interval: int = 10
    validation_interval: int = 500
    validation_batches: int = 4
    checkpoint_interval: int = 500
    checkpoint_minutes: float | None = None
    keep: int = 2
    sample_interval: int = 1000
    prompts: tuple[str, ...] = ()
    sample_steps: int = 20
    guidance: float = 2.0
    motion_guidance: float | None = None
    guidance_interval: tuple[float, ...] = (0.0, 1.0)
    guidance_skip: float = 0.0
    sampler: Literal["ddim", "angular", "ddpm", "dpm++", "dpm++sde", "heun", "langevin"] = "dpm++"
    sampler_options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for key, low, high in _RANGES:
            value = getattr(self, key)
            if value is not None and not low <= value <= high:
                raise InputError(f"recipe key {key} is {value}, but must be in [{low:g}, {high:g}]")
        if self.time_logit and (len(self.time_logit) != 2 or self.time_logit[1] <= 0):
            raise InputError(
                f"recipe key time_logit is {self.time_logit}, but must be empty or a mean and a deviation over 0"
            )
        interval = self.guidance_interval
        if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
            raise InputError(
                f"recipe key guidance_interval is {interval}, but must be a lowest and a highest time in [0, 1]"
            )
        for key, value, usual in (
            ("noise", self.noise, "independent"),
            ("noise_parameter", self.noise_parameter, None),
        ):
            if value != usual and self.system != "vdm":
                raise InputError(
                    f"recipe key {key} is {value!r}, but only the system 'vdm' takes one, and this is {self.system!r}"
                )
        if self.image_frames and self.system != "vdm":
            raise InputError(
                f"recipe key image_frames is {self.image_frames}, but only the system 'vdm' trains on pictures beside "
                f"clips, and this is {self.system!r}"
            )
        if self.text_from == "frames" and (self.system != "vdm" or self.image_frames):
            raise InputError(
                f"recipe key text_from is 'frames', which the system 'vdm' takes without image_frames; this is "
                f"{self.system!r} with image_frames={self.image_frames}"
            )
        if self.offload == "base" and not (self.shard and self.system == "videofusion"):
            raise InputError(
                f"recipe key offload is 'base', which the system 'videofusion' takes with shard=true; this is "
                f"{self.system!r} with shard={str(self.shard).lower()}"
            )
        maker = self.variant if self.system == "videofusion" else self.system
        if self.motion_guidance is not None and maker != "image-first":
            raise InputError(
                f"recipe key motion_guidance is {self.motion_guidance}, but only VideoFusion's variant 'image-first' "
                f"takes one, and this is {maker!r}"
            )
        for key in ("image_encoder", "prior"):
            if getattr(self, key) is not None and maker != "published":
                raise InputError(
                    f"recipe key {key} is {getattr(self, key)}, but only VideoFusion's variant 'published' is told an "
                    f"embedding of the middle frame, and this is {maker!r}"
                )
        for key, kind in typing.get_type_hints(type(self)).items():
            values = [getattr(self, key)]
            if typing.get_origin(kind) is tuple:
                kind, values = typing.get_args(kind)[0], values[0]
            for value in values:
                if typing.get_origin(kind) is Literal and value not in typing.get_args(kind):
                    hint = "; that one is called 'image-first' now" if value == "anchored" else ""
                    raise InputError(
                        f"recipe key {key} is {value!r}, but must be one of {', '.join(typing.get_args(kind))}{hint}"
                    )

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain values, which `from_json` takes back."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe of `to_json`'s values; raises `InputError` for unknown keys and wrong kinds."""
        if "name" not in values:
            raise InputError("a recipe needs the key name")
        values = dict(values)
        if "reach_steps" in values:  # of a run that began before the course followed its progress
            grown, steps = values.pop("reach_steps"), _parse("steps", values.get("steps", cls.steps))
            if not isinstance(grown, int) or grown < 0:
                raise InputError(f"recipe key reach_steps is {grown!r}, but must be a whole number of at least 0")
            values["reach_share"] = min(0.9, grown / max(1, steps))
        return cls(**{key: _parse(key, value) for key, value in values.items()})

    def replace(self, overrides: Mapping[str, Any]) -> Recipe:
        """The recipe with some keys changed; values may be text, as a command line gives them."""
        return dataclasses.replace(self, **{key: _parse(key, value) for key, value in overrides.items()})


_MANY = 10.0**9
_RANGES: tuple[tuple[str, float, float], ...] = (
    ("share", 0, 0.999),
    ("adaptive", 0, 1),
    ("train_frames", 1, 4096),
    ("reach", 1, 4096),
    ("reach_share", 0, 0.9),
    ("image_frames", 0, 64),
    ("blocks", 1, 8),
    ("heads", 1, 64),
    ("head_size", 2, 1024),
    ("groups", 1, 64),
    ("patch", 1, 16),
    ("text_dim", 8, 8192),
    ("lora_rank", 1, 1024),
    ("frames", 1, 4096),
    ("size", 8, 4096),
    ("two_digits", 0, 1),
    ("fps", 0.01, 1000),
    ("stride", 1, 1000),
    ("fold", 1, 1000),
    ("clips_per_video", 1, 10_000),
    ("validation_share", 0.001, 0.9),
    ("batch_size", 1, 65536),
    ("accumulation", 1, 65536),
    ("workers", 0, 256),
    ("steps", 1, _MANY),
    ("seconds", 1e-3, _MANY),
    ("seed", -(2**63), 2**64 - 1),
    ("learning_rate", 0, 1),
    ("base_rate_ratio", 0, 10),
    ("warmup", 0, _MANY),
    ("weight_decay", 0, 10),
    ("clip_gradient", 1e-6, _MANY),
    ("ema_decay", 0, 0.999999),
    ("caption_dropout", 0, 1),
    ("log_interval", 1, _MANY),
    ("validation_interval", 1, _MANY),
    ("validation_batches", 1, _MANY),
    ("checkpoint_interval", 1, _MANY),
    ("checkpoint_minutes", 0.01, _MANY),
    ("keep", 1, _MANY),
    ("sample_interval", 0, _MANY),
    ("sample_steps", 1, 1000),
    ("guidance", 0, 100),
    ("motion_guidance", 0, 100),
    ("guidance_skip", 0, 1),
)


def _parse(key: str, value: Any) -> Any:
    """`value` as the kind that the key has; text is read as a command line would give it."""
    kinds = typing.get_type_hints(Recipe)
    if key not in kinds:
        raise unknown("recipe key", key, kinds)
    try:
        return read_value(kinds[key], value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"recipe key {key} cannot be {value!r:.200}: it is of kind {kind_name(kinds[key])}") from error
