"""An image model out of its diffusers folder: network, space and prompts, ready for a system to be built on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from videofusion.conditioning.prompt_encoder import PromptEncoder, TextEncoders
from videofusion.conditioning.transformer_prompts import TransformerPrompts
from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.interop.diffusers_folder import DiffusersFolder, read_folder
from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.interop.image_transformers import load_transformer
from videofusion.interop.text_encoders import load_text_encoder
from videofusion.networks.autoencoder import Latents
from videofusion.networks.image_transformer import ImageTransformer
from videofusion.networks.unet import UNet


@dataclass(frozen=True, kw_only=True)
class ImageModel:
    """The parts of an image model, in float32 on the CPU.

    Args:
        facts: what its folder says.
        unet: the network, in evaluation mode; of some models a transformer.
        space: of its latents.
        prompts: its text encoders.
    """

    facts: DiffusersFolder
    unet: UNet | ImageTransformer
    space: Latents
    prompts: TextEncoders


def load_image_model(path: str | Path, *, temporal: str = "image", long: str = "chunks") -> ImageModel:
    """An image model, all of whose parts are checked before the first is loaded.

    Args:
        path: folder of a diffusers pipeline; `snapshots.find_model` finds others'.
        temporal: a row of `TEMPORAL_DESIGNS`, which the U-Net is given layers of that add nothing yet.
        long: what happens to prompts that are longer than the text encoders take; see `PromptEncoder`.

    Raises:
        InputError: see `read_folder`; a row that the network cannot have.
    """
    facts = read_folder(path)
    network: UNet | ImageTransformer
    if facts.transformer is None:
        network = unet_from_diffusers(facts.folder, temporal)
    elif temporal != "image":
        raise InputError(
            f"temporal is {temporal!r}; a {facts.transformer.kind} has no temporal layers, it must be 'image'"
        )
    else:
        network = load_transformer(facts.folder, facts.transformer, facts.factor)
    return ImageModel(
        facts=facts,
        unet=network,
        space=Latents(load_autoencoder(facts.folder)),
        prompts=load_prompts(facts, long=long),
    )


def load_prompts(facts: DiffusersFolder, *, long: str = "chunks", empty: bool = False) -> TextEncoders:
    """The text encoders of an image model; see `PromptEncoder` for `long`, `load_text_encoder` for `empty`."""
    encoders = [
        load_text_encoder(facts.folder, kinds=(part.kind,), suffix=part.name.removeprefix("text_encoder"), empty=empty)
        for part in facts.text
    ]
    if (of := facts.transformer) is not None:
        return TransformerPrompts(encoders, kind=of.kind, tokens=of.tokens, size=of.text_size)
    return PromptEncoder(encoders, penultimate=facts.time_ids > 0, zero_null=facts.zero_null, long=long)
