"""Recipes for moving digits, which `domain.py` adds to those of the library."""

from __future__ import annotations

from collections.abc import Callable

from videofusion.recipes.groups import (
    Batch,
    Budget,
    Checkpoints,
    Clips,
    Diffusion,
    Log,
    Network,
    Optimizer,
    Sampling,
    Text,
)
from videofusion.recipes.recipe import Recipe
from videofusion.recipes.system_config import SystemConfig, make_config


def tiny() -> Recipe:
    """A little VideoFusion on moving digits that trains anywhere in a minute: to see that all works."""
    return Recipe(
        name="tiny",
        system=make_config("videofusion", residual_channels=(32, 32)),
        network=Network(channels=(32, 64), attention=("none", "transformer"), temporal="residual", blocks=1),
        text=Text(size=32),
        clips=Clips(frames=4, size=16, two_digits=0.0),
        batch=Batch(size=8),
        optimizer=Optimizer(warmup=10, ema_decay=0.95),
        budget=Budget(steps=60),
        log=Log(interval=5, validation_interval=30, validation_batches=1, sample_interval=30),
        checkpoints=Checkpoints(interval=30),
        sampling=Sampling(steps=5, prompts=("a red three moving left", "a blue seven moving up")),
    )


_DIGIT_PROMPTS = (
    "a red three moving left",
    "a blue seven moving up",
    "a green five moving right",
    "a yellow zero moving down",
    "a white eight moving up left",
    "a magenta two moving down right",
    "a red four",
    "a green two moving right and a white five moving down",
)


def _digits(name: str, system: SystemConfig) -> Recipe:
    """What all models of moving digits have in common."""
    return Recipe(
        name=name,
        system=system,
        network=Network(
            # squares of 2x2 pixels: with larger ones a digit looks another way at every place within the square
            patch=2,
            blocks=1,
            channels=(32, 64, 128),
            attention=("none", "none", "transformer"),
            heads=2,
            groups=8,
        ),
        # as it is drawn it keeps all words apart; trained with the rest it soon tells colours apart only
        # (docs/moving-digits.md)
        text=Text(train=False),
        # which digit it is shows at these times: later only noise is seen, earlier hardly any
        diffusion=Diffusion(prediction="x0", weighting="x0", time_logit=(1.0, 1.2)),
        clips=Clips(two_digits=0.2),
        batch=Batch(size=4, frames=5),
        optimizer=Optimizer(learning_rate=1e-3, ema_decay=0.999),
        sampling=Sampling(guidance=4.0, prompts=_DIGIT_PROMPTS),
    )


def moving_digits() -> Recipe:
    """VideoFusion, text to video, on moving digits: the model that ships, its base pretrained by `digit-images`."""
    system = make_config(
        "videofusion",
        residual_channels=(32, 64, 128),
        residual_from_base=True,
        base_rate_ratio=0.3,
        adaptive=0.25,
    )
    # to bring a shape over from the middle frame is learned where it has hardly moved
    near = {"batch.reach": 1, "batch.reach_share": 0.15}
    return _digits("moving-digits", system).replace({"network.temporal": "residual_middle_place", **near})


def _digit_stills(name: str) -> Recipe:
    """An image model of digits."""
    return _digits(name, make_config("vdm")).replace(
        {"network.temporal": "image", "clips.frames": 1, "batch.frames": None}
    )


def digit_images() -> Recipe:
    """An image model of the clips' middle frames, told the clips' captions: the base of `moving-digits`.

    It starts from `digit-crops`.
    """
    return _digit_stills("digit-images").replace({"clips.kind": "middle-digits", "batch.size": 24})


def digit_crops() -> Recipe:
    """An image model of digits close up: a quarter of the frame, and the digit is nearly all that there is."""
    clips = {"clips.kind": "digit-crops", "clips.size": 16, "clips.two_digits": 0.0}
    return _digit_stills("digit-crops").replace({**clips, "batch.size": 64})


def base_digits() -> Recipe:
    """An image model of static grey digits, from which base generators (and VDM) start in comparisons."""
    prompts = ("a three", "a seven", "a five", "a zero")
    return _digit_stills("base-digits").replace(
        {"clips.kind": "static-digits", "batch.size": 48, "sampling.prompts": prompts}
    )


def vdm_moving_digits() -> Recipe:
    """The baseline: Video Diffusion Models' independent noise, same data and budget."""
    return _digits("vdm-moving-digits", make_config("vdm")).replace(
        {
            "network.temporal": "factorised",
            # with independent noise frames must agree while each shows hardly anything yet
            "diffusion.time_logit": (1.5, 1.5),
        }
    )


def magicvideo_moving_digits() -> Recipe:
    """MagicVideo on moving digits, in 40 minutes of one core; either stage (`system.stage`)."""
    return _digits("magicvideo-moving-digits", make_config("magicvideo")).replace(
        {
            "network.temporal": "magicvideo",
            # attention at a quarter and an eighth of the frame's size, where the paper has it
            "network.attention": ("none", "transformer", "transformer"),
            "diffusion.time_logit": (1.5, 1.5),  # independent noise, as `vdm-moving-digits`
            "budget.seconds": 2400.0,
        }
    )


def make_a_video_images() -> Recipe:
    """Make-A-Video's first stage: an image model of digits, told an embedding that a prior makes from the caption."""
    return _digits("make-a-video-images", make_config("make-a-video", stage="images")).replace(
        {
            "clips.kind": "middle-digits",
            "clips.frames": 1,
            "batch.frames": None,
            "batch.size": 24,
            "budget.seconds": 900.0,
        }
    )


def make_a_video_digits() -> Recipe:
    """Make-A-Video's second stage: temporal layers in the model of `make-a-video-images`, on clips without captions."""
    return _digits("make-a-video-digits", make_config("make-a-video", stage="video")).replace(
        {
            "start.model": "runs/make-a-video-images",
            # convolutions over time take frames for neighbours, so that steps look at whole clips
            "batch.frames": None,
            "batch.size": 2,
            "diffusion.time_logit": (1.5, 1.5),
            "budget.seconds": 1500.0,
        }
    )


def video_ldm_digits() -> Recipe:
    """Video LDM on moving digits: temporal layers for the image model of `moving-digits`, which stays as it is.

    `--start.image-model RUN` takes a run of `digit-images` instead.
    """
    return _digits("video-ldm-digits", make_config("video-ldm")).replace(
        {
            "network.temporal": "video_ldm",
            "start.image_model": "moving-digits",
            "batch.frames": None,  # those that are shown are the first
            "diffusion.time_logit": (1.5, 1.5),
        }
    )


def video_ldm_digits_x4() -> Recipe:
    """Its interpolation: three frames between any two key frames."""
    return video_ldm_digits().replace(
        {"name": "video-ldm-digits-x4", "clips.frames": 13, "system.key_frames": 4, "diffusion.time_logit": (1.0, 1.2)}
    )


def svd_digits() -> Recipe:
    """Stable Video Diffusion's last stage on moving digits: clips go on from their first frame, in 40 core minutes.

    `--system.stage images` and `video` are the stages before it, whose run `--start.model` names.
    """
    return _digits("svd-digits", make_config("svd")).replace(
        {
            "network.temporal": "svd",
            "batch.frames": None,  # the first frame is the one that is shown
            "batch.size": 2,
            "diffusion.schedule": "edm:80",
            "diffusion.prediction": "v",
            "diffusion.weighting": "v",
            "diffusion.time_logit": (),
            "sampling.guidance": 2.0,
            "budget.seconds": 2400.0,
        }
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "tiny": tiny,
    "moving-digits": moving_digits,
    "vdm-moving-digits": vdm_moving_digits,
    "magicvideo-moving-digits": magicvideo_moving_digits,
    "digit-crops": digit_crops,
    "digit-images": digit_images,
    "base-digits": base_digits,
    "make-a-video-images": make_a_video_images,
    "make-a-video-digits": make_a_video_digits,
    "video-ldm-digits": video_ldm_digits,
    "video-ldm-digits-x4": video_ldm_digits_x4,
    "svd-digits": svd_digits,
}
