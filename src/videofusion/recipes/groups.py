"""The groups of a recipe that are the same for every system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from videofusion.settings import Names, Range, Settings

_MANY = 10.0**9
SAMPLERS = ("ddim", "angular", "ddpm", "dpm++", "dpm++sde", "heun", "langevin")
_LAYOUTS = ("auto", "folder", "frames", "images", "table", "shards", "array", "datasets", "encoded")


@dataclass(frozen=True, kw_only=True)
class Network(Settings, group="network"):
    """The networks' sizes; of VideoFusion, of its base generator.

    Args:
        channels: channels of each level of the U-Net, finest first.
        attention: spatial attention of each level: "none", "plain" or "transformer" (with the text).
        temporal: temporal design of the U-Net (of VideoFusion: of the residual generator).
        blocks: residual blocks per level.
        heads: attention heads.
        head_size: instead of `heads`, features of a head: wider levels then have more heads.
        groups: of every group norm; with few channels in a group, the norm removes most of the time embedding.
        patch: side of the squares of pixels that are folded into channels.
        autoencoder: folder of an autoencoder of images, in whose latents is trained and sampled; pixels when None.
    """

    channels: tuple[int, ...] = (64, 128, 192)
    attention: tuple[str, ...] = ("none", "transformer", "transformer")
    temporal: str = "residual_joint"
    blocks: Annotated[int, Range(1, 8)] = 2
    heads: Annotated[int, Range(1, 64)] = 4
    head_size: Annotated[int | None, Range(2, 1024)] = None
    groups: Annotated[int, Range(1, 64)] = 16
    patch: Annotated[int, Range(1, 16)] = 1
    autoencoder: str | None = None


@dataclass(frozen=True, kw_only=True)
class Text(Settings, group="text"):
    """How captions are read.

    Args:
        encoder: folder of a frozen text encoder of transformers and its tokenizer, whose embeddings have the size
            `size`; when None, one that learns the captions' words is trained.
        size: of the token embeddings.
        train: train the text encoder; False keeps the pretrained one, so that parts trained apart stay together.
        dropout: share of clips trained without their caption.
    """

    encoder: str | None = None
    size: Annotated[int, Range(8, 8192)] = 128
    train: bool = True
    dropout: Annotated[float, Range(0, 1)] = 0.1


@dataclass(frozen=True, kw_only=True)
class Diffusion(Settings, group="diffusion"):
    """What the networks learn to undo, and what they predict.

    Args:
        schedule: noise schedule by name, see `make_schedule`; some take a number, as in "rectified_flow:3".
        prediction: what the networks predict: "v", or "x0" where squares of pixels are folded into few channels.
        weighting: of the errors: "v", "flow" (with the schedule rectified_flow), "clipped_v" (with x0), "eps" (the
            papers') or "x0".
        time_logit: mean and standard deviation of log(t / (1 - t)) of the times that are trained at, some more than
            others (Esser et al. 2024); uniform when empty.
    """

    schedule: str = "cosine"
    prediction: Literal["v", "x0", "eps", "flow"] = "v"
    weighting: Literal["v", "flow", "clipped_v", "eps", "x0"] = "v"
    time_logit: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time_logit and not (len(self.time_logit) == 2 and self.time_logit[1] > 0):
            raise self.refusal("time_logit", "must be empty or a mean and a deviation over 0")


@dataclass(frozen=True, kw_only=True)
class Clips(Settings, group="clips"):
    """The clips that are trained on, and how a folder's are read.

    Args:
        kind: "moving-digits", "static-digits" (grey stills), "middle-digits" (the middle frames of moving
            digits), "digit-crops" (squares of `size` cut from those at 32x32, with the digit in them) or "folder"; the
            first four also over photographs: "digits-over-photos", "static-over-photos", "middle-over-photos" and
            "crops-over-photos".
        frames: frames of a clip.
        size: height and width in pixels.
        two_digits: share of the moving-digits clips with two digits.
        layout: how a folder is laid out: "auto" looks at it; else "folder", "frames", "images", "table", "shards",
            "array", "datasets" or "encoded" (docs/data.md shows each), or one of another package.
        fold: which of a folder's numbered split files (UCF101 and HMDB51 have three).
        fps: frames per second of a folder's clips; None for the files' own.
        fps_range: instead of `fps`, the lowest and the highest rate, between which each clip draws its own.
        stride: every how many of a file's frames, where `fps` is None.
        strides: instead of `stride`, several of them, from which each clip draws its own.
        start: second of every file at which its clips begin; anywhere in it when None.
        caption: what all clips of a folder show, in place of what is said of them there.
        crop: of a folder's frames, "center" or "random".
        flip: mirror every other training clip of a folder; "left" and "right" change places in its caption.
        per_video: training clips per video and epoch.
        validation_share: share of a folder's files held out for the validation loss.
    """

    kind: Literal[
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
    frames: Annotated[int, Range(1, 4096)] = 16
    size: Annotated[int, Range(8, 4096)] = 32
    two_digits: Annotated[float, Range(0, 1)] = 0.3
    layout: Annotated[str, Names(_LAYOUTS, "videofusion.data.layouts.detection:LAYOUTS")] = "auto"
    fold: Annotated[int, Range(1, 1000)] = 1
    fps: Annotated[float | None, Range(0.01, 1000)] = None
    fps_range: tuple[float, ...] = ()
    stride: Annotated[int, Range(1, 1000)] = 1
    strides: tuple[int, ...] = ()
    start: Annotated[float | None, Range(0, 1e6)] = None
    caption: str | None = None
    crop: Literal["center", "random"] = "center"
    flip: bool = False
    per_video: Annotated[int, Range(1, 10_000)] = 1
    validation_share: Annotated[float, Range(0.001, 0.9)] = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        rates = self.fps_range
        if rates and not (len(rates) == 2 and 0 < rates[0] <= rates[1] <= 1000):
            raise self.refusal("fps_range", "must be two numbers above 0 and at most 1000, the lower one first")
        if any(not 1 <= stride <= 1000 for stride in self.strides):
            raise self.refusal("strides", "must be numbers in [1, 1000]")
        if self.caption is not None and not self.caption.strip():
            raise self.refusal("caption", "must have at least one word, or be none")


@dataclass(frozen=True, kw_only=True)
class Batch(Settings, group="batch"):
    """What a training step looks at.

    Args:
        size: clips per micro-batch, of all processes together.
        accumulation: micro-batches per optimiser step.
        workers: processes that prepare batches; 0 prepares them in this one.
        frames: frames of a clip that a step looks at, the middle one among them; all when None, and in every eighth
            step.
        reach: how far from the middle frame those may be that a step looks at; as far as the clip goes when None.
        reach_share: share of the run, of its steps or its seconds, whichever end it, in which that grows evenly to the
            whole clip; 0 when it stays.
    """

    size: Annotated[int, Range(1, 65536)] = 16
    accumulation: Annotated[int, Range(1, 65536)] = 1
    workers: Annotated[int, Range(0, 256)] = 0
    frames: Annotated[int | None, Range(1, 4096)] = None
    reach: Annotated[int | None, Range(1, 4096)] = None
    reach_share: Annotated[float, Range(0, 0.9)] = 0.0


@dataclass(frozen=True, kw_only=True)
class Optimizer(Settings, group="optimizer"):
    """How weights follow their gradients.

    Args:
        name: "adamw", or "adamw8bit", which keeps its moments in 8 bits.
        learning_rate: peak rate.
        schedule: of the rate: "cosine" or "constant".
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        clip_gradient: largest norm of the gradient.
        ema_decay: decay of the moving average of the weights.
        rates: learning rates of their own, items "PATTERN=RATE": parameters such as "residual.conv_in.weight" whose
            name matches (`*` is any text) have the rate of the first such pattern, and are not trained where it is 0.
    """

    name: Literal["adamw", "adamw8bit"] = "adamw"
    learning_rate: Annotated[float, Range(0, 1)] = 4e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: Annotated[int, Range(0, _MANY)] = 200
    weight_decay: Annotated[float, Range(0, 10)] = 0.01
    clip_gradient: Annotated[float, Range(1e-6, _MANY)] = 1.0
    ema_decay: Annotated[float, Range(0, 0.999999)] = 0.999
    rates: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Start(Settings, group="start"):
    """What the weights start from, and which of them are trained.

    Args:
        model: a run folder or model folder of the same system, from which all parts start; temporal layers that
            `network.temporal` has beyond those of its model begin as the identity.
        image_model: a run folder, a model folder or the name of a model that ships; the base generator (of systems
            without: the spatial layers) starts from its image network. Or a pipeline's folder of diffusers, as Stable
            Diffusion 1.5's, whose U-Net then is the base generator (of systems without: what temporal layers are put
            into); `network.channels`, `blocks` and the like are those of the residual one. With `model` beside
            it, that run's weights count, and the folder says the sizes.
        trains: "full" (all that other keys leave trained), "temporal" (the layers and embeddings that an image network
            has not) or "lora" (low-rank adapters on the U-Nets' attention); the latter two need one of the keys above
            to start from.
        lora_rank: of the adapters.
    """

    model: str | None = None
    image_model: str | None = None
    trains: Literal["full", "temporal", "lora"] = "full"
    lora_rank: Annotated[int, Range(1, 1024)] = 8


@dataclass(frozen=True, kw_only=True)
class Budget(Settings, group="budget"):
    """When a run ends.

    Args:
        steps: optimiser steps, after which the run ends.
        seconds: seconds of training (steps only, summed over sessions), after which it ends too; None for no end.
        clock: what counts those seconds: "wall", or "processor": this process's seconds of all its threads together,
            which do not depend on what else the machine does; for comparisons on a CPU.
    """

    steps: Annotated[int, Range(1, _MANY)] = 20_000
    seconds: Annotated[float | None, Range(1e-3, _MANY)] = None
    clock: Literal["wall", "processor"] = "wall"


@dataclass(frozen=True, kw_only=True)
class Compute(Settings, group="compute"):
    """How a step is computed.

    Args:
        precision: "float32" or "bfloat16" (autocast; weights stay float32).
        compile: compile the networks with torch.compile.
        gradient_checkpointing: keep only what goes between the blocks of the U-Nets, and compute the rest again in the
            backward pass: less memory, more time.
        shard: each of several processes holds a part of every network (FSDP2) instead of all of them.
        offload: what of it waits in the CPU's memory while it does not compute: "none", or VideoFusion's "base"
            generator with its gradients, moments and average, where a GPU has no room for it; with `shard`.
    """

    precision: Literal["float32", "bfloat16"] = "float32"
    compile: bool = False
    gradient_checkpointing: bool = False
    shard: bool = False
    offload: Literal["none", "base"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.offload != "none" and not self.shard:
            raise self.refusal("offload", "goes with shard only, which is false")


@dataclass(frozen=True, kw_only=True)
class Log(Settings, group="log"):
    """What a run shows of itself.

    Args:
        boards: where curves and sample grids are shown beside log.jsonl: "tensorboard", "wandb", both or none.
        interval: steps between lines of the log.
        validation_interval: steps between validations.
        validation_batches: batches of a validation.
        sample_interval: steps between sample grids; 0 for none.
    """

    boards: tuple[Literal["tensorboard", "wandb"], ...] = ("tensorboard",)
    interval: Annotated[int, Range(1, _MANY)] = 10
    validation_interval: Annotated[int, Range(1, _MANY)] = 500
    validation_batches: Annotated[int, Range(1, _MANY)] = 4
    sample_interval: Annotated[int, Range(0, _MANY)] = 1000


@dataclass(frozen=True, kw_only=True)
class Checkpoints(Settings, group="checkpoints"):
    """When a run saves its state.

    Args:
        interval: steps between checkpoints.
        minutes: a checkpoint after so many minutes without one, too; None for steps alone.
        keep: checkpoints to keep beside the best.
    """

    interval: Annotated[int, Range(1, _MANY)] = 500
    minutes: Annotated[float | None, Range(0.01, _MANY)] = None
    keep: Annotated[int, Range(1, _MANY)] = 2


@dataclass(frozen=True, kw_only=True)
class Sampling(Settings, group="sampling"):
    """How sample grids are made, and how the model samples by default.

    Args:
        prompts: what the sample grids show; captions of the validation clips when there are none.
        steps: sampler steps of a grid.
        sampler: of a grid, and of the model by default: "ddim", "angular", "ddpm", "dpm++", "dpm++sde", "heun",
            "langevin", or one of another package.
        guidance: guidance scale, likewise; 1 is off.
        guidance_interval: lowest and highest time at which clips are guided, in [0, 1]: below 1 what is decided first,
            as a course is, varies more; above 0 fine detail is as the data has it.
        guidance_skip: how much of its temporal layers the unguided call goes without: above 0, guidance is away from
            frames that agree less too.
        options: items "NAME=VALUE" of `SamplingOptions`, as "spacing=flow".
    """

    prompts: tuple[str, ...] = ()
    steps: Annotated[int, Range(1, 1000)] = 20
    sampler: Annotated[str, Names(SAMPLERS, "videofusion.diffusion.samplers:SAMPLERS")] = "dpm++"
    guidance: Annotated[float, Range(0, 100)] = 2.0
    guidance_interval: tuple[float, ...] = (0.0, 1.0)
    guidance_skip: Annotated[float, Range(0, 1)] = 0.0
    options: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        interval = self.guidance_interval
        if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
            raise self.refusal("guidance_interval", "must be a lowest and a highest time in [0, 1]")
