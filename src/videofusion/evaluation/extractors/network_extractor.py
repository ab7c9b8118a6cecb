"""The interface of feature networks: clips in, rows of numbers out."""

from __future__ import annotations

from typing import Protocol

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from videofusion.device import without_autocast
from videofusion.errors import InputError


class Extractor(Protocol):
    """A frozen network with its preprocessing.

    Args:
        name: names network, weights' origin and preprocessing; goes into a record.
        checksum: SHA-256 of its weights; goes into a record.
        layers: what `features` can give; the first is the default.
        per_frame: whether a row is a frame (b t rows, clip after clip) or a clip (b rows).
        min_frames: of a clip.
        max_frames: of a clip; None for any number.
    """

    name: str
    checksum: str
    layers: tuple[str, ...]
    per_frame: bool
    min_frames: int
    max_frames: int | None

    def read(self, clips: Float[Tensor, "b t 3 h w"]) -> dict[str, Tensor]:
        """All layers of clips in one pass: [n d] each."""

    def features(self, clips: Float[Tensor, "b t 3 h w"], layer: str | None = None) -> Float[Tensor, "n d"]:
        """One layer."""

    def logits(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n k"]:
        """The layer "logits"."""


class NetworkExtractor:
    """An `Extractor` of a torch network; a kind of network says what it does to a few checked clips (`_forward`).

    Args:
        network: is frozen, and computes in its own precision.
        name: goes into a record.
        checksum: SHA-256 of its weights.
        batch: clips, or frames if a row is a frame, that the network sees together: what bounds the memory.
    """

    layers: tuple[str, ...] = ("pool", "logits")
    per_frame = False
    min_frames = 1
    max_frames: int | None = None

    def __init__(self, network: nn.Module, *, name: str, checksum: str, batch: int = 8) -> None:
        self.network = network.eval()
        for parameter in network.parameters():  # a TorchScript has no requires_grad_ of its own
            parameter.requires_grad_(False)
        self.name, self.checksum, self.batch = name, checksum, batch

    def _forward(self, clips: Float[Tensor, "b t 3 h w"]) -> dict[str, Tensor]:
        raise NotImplementedError

    @torch.no_grad()
    def read(self, clips: Float[Tensor, "b t 3 h w"]) -> dict[str, Tensor]:
        """All layers of clips in one pass.

        Args:
            clips: RGB in [-1, 1], at least one.

        Returns:
            [n d] for each of `layers`, float32, on the clips' device.

        Raises:
            InputError: the clips have another shape or range, too few or too many frames, or are not finite.
        """
        self._check(clips)
        weight = next(iter(self.network.parameters()), torch.empty(0))
        rows = rearrange(clips, "b t c h w -> (b t) 1 c h w") if self.per_frame else clips
        # Under autocast a number would depend on who calls.
        with without_autocast(weight.device):
            parts = [self._forward(part.to(weight.device, torch.float32)) for part in rows.split(self.batch)]
        return {layer: torch.cat([part[layer] for part in parts]).to(clips.device) for layer in self.layers}

    def features(self, clips: Float[Tensor, "b t 3 h w"], layer: str | None = None) -> Float[Tensor, "n d"]:
        """One layer of clips; see `read`.

        Raises:
            InputError: as `read`, or there is no such layer.
        """
        layer = self.layers[0] if layer is None else layer
        if layer not in self.layers:
            raise InputError(f'layer is "{layer}", but {self.name} has {", ".join(self.layers)}')
        return self.read(clips)[layer]

    def logits(self, clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "n k"]:
        """The layer "logits" of clips; see `read`."""
        return self.features(clips, "logits")

    def _check(self, clips: Tensor) -> None:
        if clips.ndim != 5 or clips.shape[2] != 3 or not clips.is_floating_point() or not clips.numel():
            raise InputError(
                f"clips are {clips.dtype} of shape {tuple(clips.shape)}, but {self.name} takes floats, "
                "b t 3 h w, at least one clip"
            )
        frames, most = clips.shape[1], self.max_frames
        if frames < self.min_frames or (most is not None and frames > most):
            allowed = f"exactly {most}" if most == self.min_frames else f"at least {self.min_frames}"
            raise InputError(f"clips have {frames} frames, but {self.name} takes {allowed}")
        low, high = clips.aminmax()
        if not (low >= -1.001 and high <= 1.001):  # also what is no number ends here
            raise InputError(f"clips reach from {low:g} to {high:g}, but {self.name} takes [-1, 1]")
