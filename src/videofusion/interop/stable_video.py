"""Stable Video Diffusion out of its diffusers folder: U-Net strictly by name, space, image encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.interop.diffusers_schedule import schedule_from_diffusers
from videofusion.interop.diffusers_unet import unet_config
from videofusion.interop.image_encoders import load_image_encoder
from videofusion.interop.pipeline_parts import count_weights, index_of, latents_of, read_part
from videofusion.interop.video_unets import read_video_unet
from videofusion.networks.inputs import TIME_ID_SIZE
from videofusion.networks.unet import UNet
from videofusion.trusted import check_values

UNET, VAE, ENCODER = "UNetSpatioTemporalConditionModel", "AutoencoderKLTemporalDecoder", "CLIPVisionModelWithProjection"
NUMBERS = 3  # that the network is told: rate, motion, noise
HEIGHT, WIDTH = 576, 1024  # of clips by default, as in diffusers
# Options that image U-Nets do not have, with the value that ours implements.
_FIXED = {
    # several blocks would share what ours have each
    "transformer_layers_per_block": 1,
    "addition_time_embed_dim": TIME_ID_SIZE,
    "projection_class_embeddings_input_dim": NUMBERS * TIME_ID_SIZE,
}
_PLACES = (
    (re.compile(r"^add_embedding\."), "number_embedding."),
    (re.compile(r"\.spatial_res_block\."), "."),
    (re.compile(r"\.resnets\.(\d+)\.temporal_res_block\."), r".temporal_blocks.\1.0.layer."),
    (re.compile(r"\.resnets\.(\d+)\.time_mixer\."), r".temporal_blocks.\1.0."),
    (re.compile(r"\.temporal_transformer_blocks\.0\."), ".temporals.0.0.layer."),
    (re.compile(r"(\.attentions\.\d+)\.time_pos_embed\."), r"\1.temporals.0.0.layer.time_pos_embed."),
    (re.compile(r"(\.attentions\.\d+)\.time_mixer\."), r"\1.temporals.0.0."),
)


@dataclass(frozen=True, kw_only=True)
class StableVideo:
    """The parts of a Stable Video Diffusion, in float32 on the CPU.

    Args:
        unet: in evaluation mode.
        vae: with a temporal decoder.
        image_encoder: CLIP's, of the first picture.
        schedule: what `make_schedule` takes.
        prediction: what the U-Net predicts.
        frames: of a clip.
    """

    unet: UNet
    vae: nn.Module
    image_encoder: nn.Module
    schedule: str
    prediction: str
    frames: int


def load_stable_video(folder: Path) -> StableVideo:
    """A Stable Video Diffusion, whose configurations are checked against each other before a weight is read.

    Args:
        folder: of a `StableVideoDiffusionPipeline`.

    Raises:
        InputError: a part is missing, is another one, is a pickle or does not suit the others.
    """
    index = index_of(folder)
    network, vae, encoder = (
        read_part(folder, index, name, (kind,))
        for name, kind in (("unet", UNET), ("vae", VAE), ("image_encoder", ENCODER))
    )
    config = folder / "unet" / "config.json"
    try:
        ours = stable_video_config({"_class_name": UNET, **network})
    except InputError as error:
        raise InputError(f"{config}: {error}") from error
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:  # a list for a number, and the like
        raise InputError(f"{config} is not as diffusers writes it ({error}); expected was that of a {UNET}") from error
    check_values(config, UNet.__name__, ours)
    channels = latents_of(folder, vae)[0]
    if (ours["in_channels"], ours["out_channels"]) != (2 * channels, channels):
        raise InputError(
            f"{config} takes {ours['in_channels']} channels and makes {ours['out_channels']}; with the latents of "
            f"{folder / 'vae'}, which have {channels}, it must be {2 * channels} and {channels}"
        )
    width = encoder.get("projection_dim", 512)
    if width != ours["text_size"]:
        raise InputError(
            f"{folder / 'image_encoder' / 'config.json'} gives embeddings {width} wide (projection_dim), but {config} "
            f"reads {ours['text_size']} (cross_attention_dim); expected was the image encoder that it was trained with"
        )
    frames = network.get("num_frames", 25)
    if not isinstance(frames, int) or not 2 <= frames <= 4096:
        raise InputError(f"{config}: num_frames is {frames!r}; it must be in [2, 4096]")
    if not (folder / "scheduler" / "scheduler_config.json").is_file():
        raise InputError(f"{folder} has no scheduler/scheduler_config.json, which says how the model was trained")
    try:
        schedule, prediction = schedule_from_diffusers(folder)
    except InputError as error:
        raise InputError(f"{folder / 'scheduler' / 'scheduler_config.json'}: {error}") from error
    for part in ("unet", "vae", "image_encoder"):
        count_weights(folder / part)  # which refuses pickles, and files that are not whole
    return StableVideo(
        unet=stable_video_unet(folder),
        vae=load_autoencoder(folder),
        image_encoder=load_image_encoder(folder).model,
        schedule=schedule,
        prediction=prediction,
        frames=frames,
    )


def stable_video_unet(source: str | Path | nn.Module) -> UNet:
    """The U-Net of a Stable Video Diffusion, in float32.

    Args:
        source: folder of a `UNetSpatioTemporalConditionModel`, or of a pipeline that has one in `unet`, or such a model
            in memory, whose weights are copied.

    Raises:
        InputError: no such folder, another kind of model, an option that our U-Net does not have, weights that are a
            pickle or do not fit.
    """
    return read_video_unet(source, stable_video_config, _our_name)


def stable_video_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments of our `UNet` for the configuration of a `UNetSpatioTemporalConditionModel`.

    Raises:
        InputError: another kind of model, or an option that our U-Net does not have.
    """
    kind = config.get("_class_name")
    if kind != UNET:
        raise InputError(f"_class_name is {kind!r}; it must be {UNET}")
    for option, own in _FIXED.items():
        value = config.get(option, own)
        if value not in (own, [own] * len(config.get("block_out_channels", ()))):
            raise InputError(f"{option} is {value!r}; our U-Net has it as {own!r} only")
    own_options = (*_FIXED, "num_attention_heads", "num_frames")
    image = {key: value for key, value in config.items() if key not in own_options}
    for key in ("down_block_types", "up_block_types"):
        image[key] = [str(each).replace("SpatioTemporal", "2D") for each in config.get(key, ())]
    image |= {
        "_class_name": "UNet2DConditionModel",
        "attention_head_dim": config.get("num_attention_heads", (5, 10, 20, 20)),  # which there is that of heads
        "cross_attention_dim": config.get("cross_attention_dim", 1024),
        "use_linear_projection": True,
    }
    return unet_config(image) | {"temporal": "svd", "numbers": NUMBERS, "block_eps": 1e-6}


def _our_name(name: str) -> str:
    for pattern, place in _PLACES:
        name = pattern.sub(place, name)
    return name
