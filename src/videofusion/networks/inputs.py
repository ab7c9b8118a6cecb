"""The inputs that are embedded and added to the time embedding, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from videofusion.errors import InputError
from videofusion.networks.layers import Embedding, sinusoidal
from videofusion.networks.temporal import temporal_design

TIME_ID_SIZE = 256  # size of the embedding of a number in Stable Diffusion XL and Stable Video Diffusion


@dataclass(frozen=True, kw_only=True)
class EmbeddedInput:
    """An input of a network that is added to its embedding of time.

    Args:
        layers: makes what embeds it, from a network's options and the size of its embedding of time; None for a
            network without this input.
        embed: called with these layers, the network's inputs by name ("time" [b] or [b t] and "frames" [t] among
            them), and the size that numbers are embedded in; gives [b d], or [b t d] where frames differ.
        temporal: whether it counts as much as temporal layers do.
    """

    layers: Callable[[Any, int], nn.Module | None]
    embed: Callable[[nn.Module, Mapping[str, Tensor], int], Tensor]
    temporal: bool = False


def needed(inputs: Mapping[str, Tensor], name: str) -> Tensor:
    """The input of that name.

    Raises:
        InputError: it is not given.
    """
    if name not in inputs:
        raise InputError(f"{name} is not given; this network was made to be told it")
    return inputs[name]


def embed_numbers(layers: nn.Module, values: Tensor, size: int) -> Tensor:
    """Numbers [...] through sines and cosines and an `Embedding`: [... d]."""
    waves = sinusoidal(values.reshape(-1), size).to(layers.linear_1.weight.dtype)  # type: ignore[union-attr, arg-type]
    return layers(waves).unflatten(0, values.shape)


def _first_token(layers: nn.Module, inputs: Mapping[str, Tensor], size: int) -> Tensor:
    return layers(needed(inputs, "text")[:, 0])


def _image(layers: nn.Module, inputs: Mapping[str, Tensor], size: int) -> Tensor:
    return layers(needed(inputs, "image_embedding"))


def _labels(layers: nn.Module, inputs: Mapping[str, Tensor], size: int) -> Tensor:
    return layers(needed(inputs, "labels"))


def _pooled_text(layers: nn.Module, inputs: Mapping[str, Tensor], size: int) -> Tensor:
    pooled, ids = needed(inputs, "pooled_text"), needed(inputs, "time_ids")
    waves = sinusoidal(ids.reshape(-1), TIME_ID_SIZE).reshape(len(ids), -1)
    return layers(torch.cat([pooled, waves.to(layers.linear_1.weight.dtype)], dim=-1))  # type: ignore[union-attr, arg-type]


def _fps(layers: nn.Module, inputs: Mapping[str, Tensor], size: int) -> Tensor:
    unknown = torch.zeros(len(inputs["time"]), device=inputs["time"].device)
    return embed_numbers(layers, inputs.get("fps", unknown), size)


def _frames(layers: nn.Module, inputs: Mapping[str, Tensor], size: int) -> Tensor:
    frames, b = inputs["frames"], len(inputs["time"])
    waves = sinusoidal(frames, size).to(layers.linear_1.weight.dtype)  # type: ignore[union-attr, arg-type]
    number = waves.expand(b, -1, -1)
    if layers.linear_1.in_features > size:  # type: ignore[union-attr, operator]
        number = torch.cat([number, needed(inputs, "text")[:, :1].expand(-1, len(frames), -1)], dim=-1)
    return layers(number)


def _share(layers: nn.Module, inputs: Mapping[str, Tensor], size: int) -> Tensor:
    return embed_numbers(layers, 1000 * needed(inputs, "share"), size)


def _numbers(layers: nn.Module, inputs: Mapping[str, Tensor], size: int) -> Tensor:
    numbers = needed(inputs, "numbers")
    waves = sinusoidal(numbers.reshape(-1), TIME_ID_SIZE).reshape(len(numbers), -1)
    return layers(waves.to(layers.linear_1.weight.dtype))  # type: ignore[union-attr, arg-type]


def _pools_text(options: Any) -> bool:
    return bool(options.pool_text and options.text_size)


# By the network's attribute that holds the layers; in the order in which they are made, and added.
EMBEDDED: dict[str, EmbeddedInput] = {
    "add_embedding": EmbeddedInput(
        layers=lambda o, d: Embedding(o.added_size, d) if o.added_size else None, embed=_pooled_text
    ),
    "text_embedding": EmbeddedInput(
        layers=lambda o, d: Embedding(o.text_size, d) if _pools_text(o) else None, embed=_first_token
    ),
    "image_embedding": EmbeddedInput(
        layers=lambda o, d: Embedding(o.image_size, d) if o.image_size else None, embed=_image
    ),
    "class_embedding": EmbeddedInput(
        layers=lambda o, d: nn.Embedding(o.labels, d) if o.labels else None, embed=_labels
    ),
    "fps_embedding": EmbeddedInput(
        layers=lambda o, d: Embedding(o.channels[0], d, zero=True) if o.fps else None, embed=_fps, temporal=True
    ),
    "number_embedding": EmbeddedInput(
        layers=lambda o, d: Embedding(TIME_ID_SIZE * o.numbers, d, zero=True) if o.numbers else None,
        embed=_numbers,
        temporal=True,
    ),
    # a position is direction times elapsed frames, so one network takes both
    "frame_embedding": EmbeddedInput(
        layers=lambda o, d: (
            Embedding(o.channels[0] + (o.text_size if _pools_text(o) else 0), d, zero=True)
            if temporal_design(o.temporal).frame_number
            else None
        ),
        embed=_frames,
        temporal=True,
    ),
    "share_embedding": EmbeddedInput(
        layers=lambda o, d: Embedding(o.channels[0], d, zero=True) if temporal_design(o.temporal).share else None,
        embed=_share,
        temporal=True,
    ),
}
