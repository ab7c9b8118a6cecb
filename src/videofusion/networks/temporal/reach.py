"""What spatial self-attention of a frame looks at, by the name of its reach: a context that frames of a clip share.

A context is made of tokens [b t n c]: [b m c], one for all frames of a clip, whose keys are then computed once, or one
for each frame [(b t) m c].
"""

from __future__ import annotations

import torch
from torch import Tensor

from videofusion.networks.layers import Reach


def first(tokens: Tensor) -> Tensor:
    """The first frame (Text2Video-Zero)."""
    return tokens[:, 0]


def every(tokens: Tensor) -> Tensor:
    """All frames (ControlVideo)."""
    return tokens.flatten(1, 2)


def first_and_previous(tokens: Tensor) -> Tensor:
    """The first frame and the one before, which for the first is itself (Tune-A-Video)."""
    start = tokens[:, :1]
    return torch.cat([start.expand_as(tokens), torch.cat([start, tokens[:, :-1]], dim=1)], dim=2).flatten(0, 1)


REACHES: dict[str, Reach | None] = {
    "own": None,  # the image model's: its own frame
    "first": first,
    "first_previous": first_and_previous,
    "all": every,
}
