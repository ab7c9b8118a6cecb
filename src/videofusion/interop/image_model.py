"""A model out of its diffusers folder: network, space and prompts, ready for a system to be built on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from videofusion.conditioning.prompt import Prompt
from videofusion.conditioning.prompt_encoder import PromptEncoder, TextEncoders
from videofusion.conditioning.transformer_prompts import TransformerPrompts
from videofusion.errors import InputError
from videofusion.interop.autoencoders import load_autoencoder
from videofusion.interop.diffusers_folder import DiffusersFolder, read_folder
from videofusion.interop.diffusers_unet import unet_from_diffusers
from videofusion.interop.image_transformers import load_transformer
from videofusion.interop.text_encoders import load_text_encoder
from videofusion.interop.video_unets import network_from_diffusers
from videofusion.networks.autoencoder import Latents
from videofusion.networks.image_transformer import ImageTransformer
from videofusion.networks.unet import UNet


@dataclass(frozen=True, kw_only=True)
class ImageModel:
    """The parts of an image model, or of a video model that is built as one, in float32 on the CPU.

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

    def parts(self, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """What a pipeline on it takes: its parts on a device, the U-Net in a dtype, and how it is sampled."""
        prompts = Prompt(self.prompts).components
        assert self.space.vae is not None  # of latents
        return {
            "unet": nn.Module.to(self.unet, device, dtype),
            "vae": self.space.vae.to(device),
            **{name: part.to(device) if isinstance(part, nn.Module) else part for name, part in prompts.items()},
            "schedule": self.facts.schedule,
            "prediction": self.facts.prediction,
            "height": self.facts.height,
            "width": self.facts.width,
            "sampler": "ddim",
            "sampler_options": {"spacing": self.facts.spacing},
        }


def load_image_model(path: str | Path, *, temporal: str = "image", long: str = "chunks") -> ImageModel:
    """A model, all of whose parts are checked before the first is loaded.

    Args:
        path: folder of a diffusers pipeline; `snapshots.find_model` finds others'.
        temporal: a row of `TEMPORAL_DESIGNS`, which an image U-Net is given layers of that add nothing yet.
        long: what happens to prompts that are longer than the text encoders take; see `PromptEncoder`.

    Raises:
        InputError: see `read_folder`; a row that the network cannot have.
    """
    facts = read_folder(path)
    network: UNet | ImageTransformer
    folder = facts.folder
    if facts.transformer is None:
        network = network_from_diffusers(folder) if temporal == "image" else unet_from_diffusers(folder, temporal)
    elif temporal != "image":
        raise InputError(
            f"temporal is {temporal!r}; a {facts.transformer.kind} has no temporal layers, it must be 'image'"
        )
    else:
        network = load_transformer(folder, facts.transformer, facts.factor)
    return ImageModel(
        facts=facts,
        unet=network,
        space=Latents(load_autoencoder(facts.folder)),
        prompts=load_prompts(facts, long=long),
    )


def load_prompts(
    facts: DiffusersFolder, *, long: str = "chunks", captions: bool = False, empty: bool = False
) -> TextEncoders:
    """The text encoders of an image model.

    Args:
        facts: of its folder.
        long: see `PromptEncoder`.
        captions: likewise.
        empty: see `load_text_encoder`.
    """
    encoders = [
        load_text_encoder(facts.folder, kinds=(part.kind,), suffix=part.name.removeprefix("text_encoder"), empty=empty)
        for part in facts.text
    ]
    if (of := facts.transformer) is not None:
        return TransformerPrompts(encoders, kind=of.kind, tokens=of.tokens, size=of.text_size)
    return PromptEncoder(
        encoders, penultimate=facts.time_ids > 0, zero_null=facts.zero_null, long=long, captions=captions
    )
