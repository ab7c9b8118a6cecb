"""What every network over frames has, ours or another library's: how it is asked, sized, cut and counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from diffusers import ConfigMixin, ModelMixin
from torch import nn

from videofusion.errors import InputError
from videofusion.networks.layers import Embedding


class FrameNetwork(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A network that is called as network(z [b t c h w], time [b] or [b t], **told), and returns [b t c h w].

    Attributes:
        downscale: side of the squares of places that it sees as one.
        image_embedding: layers that take an embedding of the middle frame, or None.
        gradient_checkpointing: whether its blocks are computed again in the backward pass.
    """

    _supports_gradient_checkpointing = True
    config_name = "config.json"

    downscale: int
    image_embedding: Embedding | None
    gradient_checkpointing: bool

    @property
    def colours(self) -> int:
        """Channels of a frame."""
        raise NotImplementedError

    def check_size(self, height: int, width: int, factor: int = 1) -> None:
        """Raise InputError unless the network can take frames of this size in pixels, `factor` of them at a place."""
        multiple = factor * self.downscale
        if height % multiple or width % multiple or min(height, width) < 1:
            raise InputError(f"size is {height}x{width}; both must be multiples of {multiple}")

    def parts(self) -> Iterator[nn.Module]:
        """Its blocks, one after the other."""
        raise NotImplementedError

    def spatial_state(self) -> dict[str, Any]:
        """The weights that an image network of the same sizes has too."""
        raise NotImplementedError
