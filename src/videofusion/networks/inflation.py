"""An image U-Net as a video U-Net."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from videofusion.networks.unet import UNet


def of_its_sizes(image: UNet, temporal: str, **told: Any) -> UNet:
    """A network of an image model's sizes, with temporal layers.

    Args:
        image: without.
        temporal: a row of `TEMPORAL_DESIGNS`.
        told: its other inputs, as keywords of `UNet`; the text as the image model takes it.

    Raises:
        InputError: a network of these sizes cannot have such a row.
    """
    sizes = {name: value for name, value in image.config.items() if not name.startswith("_")}
    told = {name: value for name, value in told.items() if name not in ("text_size", "pool_text")}
    unet = UNet(**{**sizes, **told, "temporal": temporal}).train()
    unet.gradient_checkpointing = image.gradient_checkpointing
    return unet


def inflated(image: UNet, temporal: str, **told: Any) -> UNet:
    """A video model that begins as an image model, frame by frame: temporal layers that add nothing yet.

    Rows whose frames see others from the start (a reach, or halved frames) begin as the image model only with
    `temporal=0`.

    Args:
        image: whose weights are copied.
        temporal: a row of `TEMPORAL_DESIGNS`.
        told: further conditions, as keywords of `UNet`: they change nothing yet, nor do channels beside the
            image model's.

    Raises:
        InputError: the image model cannot have such a row.
    """
    unet = of_its_sizes(image, temporal, **told)
    unet.load_state_dict(widened(image.state_dict(), unet.state_dict()), strict=False)
    return unet


def widened(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights whose first layer sees as many channels as a network's own does: those beside the frame weigh nothing."""
    first, name = own["conv_in.weight"], "conv_in.weight"
    narrow = weights.get(name)
    if narrow is None or len(narrow) != len(first) or narrow.shape[1] >= first.shape[1]:
        return dict(weights)
    wide = torch.zeros_like(first)
    wide[:, : narrow.shape[1]] = narrow
    return {**weights, name: wide}
