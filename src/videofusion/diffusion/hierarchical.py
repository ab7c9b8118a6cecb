"""ControlVideo's hierarchical sampler (Zhang et al. 2023, sec. 3.4): long clips, a few frames at once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction
from videofusion.errors import InputError


class Hierarchical:
    """Key frames first, then the frames between each two of them, together with the two; a Denoiser around one.

    It does so at every step of any sampler. Key frames are the first one and every (window - 1)th after it, and the
    last one. What is predicted of a key frame is what it is among the key frames; with the frames between, it is only
    looked at. Where there are more key frames than a window has, as from (window - 1)² + 2 frames on, they are
    predicted in the same way in turn, so that never more than a window goes through the denoiser; the paper takes all
    of them together. A clip of at most a window is predicted whole.

    Args:
        denoiser: of clips of any number of frames and of any frames of a clip, such as an image model whose frames
            attend to each other.
        window: frames at once, at least 3.
        together: predict all key frames together, as the paper does.

    Raises:
        InputError: a smaller window.
    """

    def __init__(self, denoiser: Denoiser, window: int, *, together: bool = False) -> None:
        if window < 3:
            raise InputError(f"window is {window}; it must be at least 3: two key frames and one between")
        self.denoiser, self.window, self.together = denoiser, window, together

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        frames = z.shape[1]
        if frames <= self.window:
            return self.denoiser(z, t, conditions)
        keys = key_frames(frames, self.window)
        first = self.denoiser if self.together else self
        found = first(*at(keys, z, t, conditions))
        pieces: list[tuple[Sequence[int], slice, Prediction]] = [(keys, slice(None), found)]
        for start, stop in pairwise(keys):
            if stop - start > 1:
                seen = self.denoiser(*at(list(range(start, stop + 1)), z, t, conditions))
                pieces.append((list(range(start + 1, stop)), slice(1, -1), seen))

        return joined(z, pieces)


def joined(z: Tensor, pieces: Sequence[tuple[Sequence[int], slice, Prediction]]) -> Prediction:
    """One prediction of a clip from those of some of its frames.

    Args:
        z: noisy clip [b t c h w].
        pieces: places in the clip, which part of a prediction is of these, and the prediction; of all frames together.
    """

    def whole(name: str) -> Tensor:
        one: Tensor = getattr(pieces[0][2], name)
        if one.ndim < z.ndim or one.shape[1] < pieces[0][2].z.shape[1]:  # a scale of all frames
            return one
        made = one.new_empty(len(z), z.shape[1], *one.shape[2:])
        for places, part, found in pieces:
            made[:, list(places)] = getattr(found, name)[:, part]
        return made

    return Prediction(z, whole("x0"), whole("eps"), whole("alpha"), whole("sigma"))


def key_frames(frames: int, window: int) -> list[int]:
    """Places of a clip's key frames: the first, every (window - 1)th after it, and the last."""
    places = list(range(0, frames, window - 1))
    return places if places[-1] == frames - 1 else [*places, frames - 1]


def at(places: list[int], z: Tensor, t: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor, Conditions]:
    """What a denoiser is called with for some frames of a clip."""
    return z[:, places], t[:, places] if t.ndim == 2 else t, conditions.window(places)
