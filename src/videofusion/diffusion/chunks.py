"""Long clips of frames that do not look at each other, or at the first one only: some at once, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.hierarchical import at, joined
from videofusion.diffusion.prediction import Prediction
from videofusion.errors import InputError


class InChunks:
    """Frames in chunks, one after the other; a Denoiser around one, which predicts what it predicts of all together.

    Args:
        denoiser: of an image model, whose frames see themselves alone or the first one.
        size: frames at once, at least 1; at least 2 with `first`.
        first: show every chunk the first frame (Text2Video-Zero, whose long videos are made so).

    Raises:
        InputError: a smaller size.
    """

    def __init__(self, denoiser: Denoiser, size: int, *, first: bool = False) -> None:
        least = 2 if first else 1
        if size < least:
            raise InputError(f"window is {size}; it must be at least {least}")
        self.denoiser, self.size, self.first = denoiser, size, first

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        frames = z.shape[1]
        if frames <= self.size:
            return self.denoiser(z, t, conditions)
        shown = [0] if self.first else []
        pieces: list[tuple[Sequence[int], slice, Prediction]] = []
        start = 0
        while start < frames:
            before = shown if start else []
            own = list(range(start, min(frames, start + self.size - len(before))))
            found = self.denoiser(*at([*before, *own], z, t, conditions))
            pieces.append((own, slice(len(before), None), found))
            start = own[-1] + 1
        return joined(z, pieces)
