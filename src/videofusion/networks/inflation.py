"""An image U-Net as a video U-Net."""

from __future__ import annotations

import torch

from videofusion.networks.unet import UNet


def of_its_sizes(image: UNet, temporal: str, *, in_channels: int, fps: bool = False) -> UNet:
    """A network of an image model's sizes, with temporal layers.

    Args:
        image: without.
        temporal: a row of `TEMPORAL_DESIGNS`.
        in_channels: of what it sees.
        fps: whether it is told the clip's rate.

    Raises:
        InputError: a network of these sizes cannot have such a row.
    """
    sizes = {name: value for name, value in image.config.items() if not name.startswith("_")}
    unet = UNet(**{**sizes, "temporal": temporal, "in_channels": in_channels, "fps": fps}).train()
    unet.gradient_checkpointing = image.gradient_checkpointing
    return unet


def inflated(image: UNet, temporal: str, *, fps: bool = False, beside: int = 0) -> UNet:
    """A video model that begins as an image model, frame by frame: temporal layers that add nothing yet.

    Rows whose frames see others from the start (a reach, or halved frames) begin as the image model only with
    `temporal=0`.

    Args:
        image: whose weights are copied.
        temporal: a row of `TEMPORAL_DESIGNS`.
        fps: whether it is told the clip's rate.
        beside: channels that it sees beside the image model's; they weigh nothing yet.

    Raises:
        InputError: the image model cannot have such a row.
    """
    unet = of_its_sizes(image, temporal, in_channels=image.config.in_channels + beside, fps=fps)
    state = image.state_dict()
    if beside:
        own = state["conv_in.weight"]
        folded = beside * image.config.patch**2
        state["conv_in.weight"] = torch.cat([own, own.new_zeros(len(own), folded, *own.shape[2:])], dim=1)
    unet.load_state_dict(state, strict=False)
    return unet
