"""Recipes of older versions, whose keys were in no groups: what each is called now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videofusion.errors import InputError, unknown
from videofusion.recipes.system_config import find_config
from videofusion.settings import kinds, read_value

FLAT_KEYS = {
    "noise": "system.noise",
    "noise_parameter": "system.noise_parameter",
    "variant": "system.variant",
    "share": "system.share",
    "adaptive": "system.adaptive",
    "image_frames": "system.image_frames",
    "grouped": "system.grouped",
    "base_loss": "system.base_loss",
    "base_frames": "system.base_frames",
    "base_rate_ratio": "system.base_rate_ratio",
    "residual_channels": "system.residual_channels",
    "residual_from_base": "system.residual_from_base",
    "image_encoder": "system.image_encoder",
    "prior": "system.prior",
    "motion_guidance": "system.motion_guidance",
    "channels": "network.channels",
    "attention": "network.attention",
    "temporal": "network.temporal",
    "blocks": "network.blocks",
    "heads": "network.heads",
    "head_size": "network.head_size",
    "groups": "network.groups",
    "patch": "network.patch",
    "autoencoder": "network.autoencoder",
    "text_encoder": "text.encoder",
    "text_dim": "text.size",
    "train_text": "text.train",
    "caption_dropout": "text.dropout",
    "schedule": "diffusion.schedule",
    "prediction": "diffusion.prediction",
    "weighting": "diffusion.weighting",
    "time_logit": "diffusion.time_logit",
    "data": "clips.kind",
    "frames": "clips.frames",
    "size": "clips.size",
    "two_digits": "clips.two_digits",
    "layout": "clips.layout",
    "fold": "clips.fold",
    "fps": "clips.fps",
    "fps_range": "clips.fps_range",
    "stride": "clips.stride",
    "strides": "clips.strides",
    "crop": "clips.crop",
    "flip": "clips.flip",
    "clips_per_video": "clips.per_video",
    "validation_share": "clips.validation_share",
    "batch_size": "batch.size",
    "accumulation": "batch.accumulation",
    "train_frames": "batch.frames",
    "reach": "batch.reach",
    "reach_share": "batch.reach_share",
    "workers": "batch.workers",
    "optimizer": "optimizer.name",
    "learning_rate": "optimizer.learning_rate",
    "schedule_rate": "optimizer.schedule",
    "warmup": "optimizer.warmup",
    "weight_decay": "optimizer.weight_decay",
    "clip_gradient": "optimizer.clip_gradient",
    "ema_decay": "optimizer.ema_decay",
    "rates": "optimizer.rates",
    "pretrained": "start.model",
    "pretrained_base": "start.image_model",
    "trains": "start.trains",
    "lora_rank": "start.lora_rank",
    "steps": "budget.steps",
    "seconds": "budget.seconds",
    "clock": "budget.clock",
    "precision": "compute.precision",
    "compile": "compute.compile",
    "gradient_checkpointing": "compute.gradient_checkpointing",
    "shard": "compute.shard",
    "offload": "compute.offload",
    "log": "log.boards",
    "log_interval": "log.interval",
    "validation_interval": "log.validation_interval",
    "validation_batches": "log.validation_batches",
    "sample_interval": "log.sample_interval",
    "checkpoint_interval": "checkpoints.interval",
    "checkpoint_minutes": "checkpoints.minutes",
    "keep": "checkpoints.keep",
    "prompts": "sampling.prompts",
    "sample_steps": "sampling.steps",
    "guidance": "sampling.guidance",
    "guidance_interval": "sampling.guidance_interval",
    "guidance_skip": "sampling.guidance_skip",
    "sampler": "sampling.sampler",
    "sampler_options": "sampling.options",
}
_IN_NO_GROUP = ("name", "system", "seed")

# What only one system took, and its value at rest; all else that a system did not read was saved beside it.
_AT_REST: dict[str, Any] = {
    "noise": "independent",
    "noise_parameter": None,
    "image_frames": 0,
    "motion_guidance": None,
    "image_encoder": None,
    "prior": None,
}


def is_flat(values: Mapping[str, Any]) -> bool:
    """Whether a recipe's json is of an older version."""
    return not any(isinstance(value, Mapping) for value in values.values())


def from_flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an older version's recipe by dotted keys, with the system's name for "system".

    Args:
        values: from the json; some keys are enough.

    Raises:
        InputError: unknown keys, and values that were allowed at no time.
    """
    values = {"system": "videofusion", **values}
    if "reach_steps" in values:  # of a run that began before the course followed its progress
        grown, steps = values.pop("reach_steps"), read_value("steps", int, values.get("steps", 20_000))
        if not isinstance(grown, int) or grown < 0:
            raise InputError(f"recipe key reach_steps is {grown!r}, but must be a whole number of at least 0")
        values["reach_share"] = min(0.9, grown / max(1, steps))
    if values.pop("text_from", "captions") != "captions":
        raise InputError(
            "recipe key text_from is 'frames', which is a stage of the system 'magicvideo' now; set system=magicvideo, "
            "network.temporal=magicvideo and system.stage=frames"
        )
    if values.get("variant") == "anchored":
        raise InputError("recipe key variant is 'anchored', which is called 'image-first' now")
    own = kinds(find_config(read_value("system", str, values["system"])))
    dotted = {}
    for key, value in values.items():
        if key not in FLAT_KEYS and key not in _IN_NO_GROUP:
            raise unknown("recipe key", key, (*_IN_NO_GROUP, *FLAT_KEYS))
        group, _, rest = FLAT_KEYS.get(key, key).partition(".")
        unread = group == "system" and rest and rest not in own
        if not unread or (key in _AT_REST and value != _AT_REST[key]):
            dotted[FLAT_KEYS.get(key, key)] = value
    return dotted
