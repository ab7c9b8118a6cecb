"""An image model out of its diffusers folder: U-Net, space and prompts, ready for a system to be built on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from videofusion.conditioning.prompt_encoder import PromptEncoder
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.interop.diffusers_folder import DiffusersFolder, read_folder
from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.interop.text_encoders import load_text_encoder
from videofusion.networks.autoencoder import Latents
from videofusion.networks.unet import UNet


@dataclass(frozen=True, kw_only=True)
class ImageModel:
    """The parts of an image model, in float32 on the CPU.

    Args:
        facts: what its folder says.
        unet: in evaluation mode.
        space: of its latents.
        prompts: its text encoders.
    """

    facts: DiffusersFolder
    unet: UNet
    space: Latents
    prompts: PromptEncoder


def load_image_model(path: str | Path, *, temporal: str = "image", long: str = "chunks") -> ImageModel:
    """An image model, all of whose parts are checked before the first is loaded.

    Args:
        path: folder of a diffusers pipeline; `snapshots.find_model` finds others'.
        temporal: a row of `TEMPORAL_DESIGNS`, which the U-Net is given layers of that add nothing yet.
        long: what happens to prompts that are longer than the text encoders take; see `PromptEncoder`.

    Raises:
        InputError: see `read_folder`; a row that the U-Net cannot have.
    """
    facts = read_folder(path)
    return ImageModel(
        facts=facts,
        unet=unet_from_diffusers(facts.folder, temporal),
        space=Latents(load_autoencoder(facts.folder)),
        prompts=load_prompts(facts, long=long),
    )


def load_prompts(facts: DiffusersFolder, *, long: str = "chunks") -> PromptEncoder:
    """The text encoders of an image model; see `PromptEncoder` for `long`."""
    encoders = [
        load_text_encoder(facts.folder, kinds=(part.kind,), suffix=part.name.removeprefix("text_encoder"))
        for part in facts.text
    ]
    return PromptEncoder(encoders, penultimate=facts.time_ids > 0, zero_null=facts.zero_null, long=long)
