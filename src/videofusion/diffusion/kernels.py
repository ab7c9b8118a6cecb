"""Noise of other covariances over frames: eps = L eta, with eta a frame's own noise and L lower triangular.

So frame f needs the own noise of frames 0 ... f only, and a longer clip keeps its beginning. A new kind is a line in
`KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from videofusion.diffusion.noise import IndependentNoise, Keys, Noise, NoiseSource, check_keys, frame_numbers
from videofusion.errors import InputError
from videofusion.keys import Stream, integers, normal
from videofusion.registry import knows

MOST_FRAMES = 1024  # L is made for all of them at once, so that its rows do not depend on a clip's length
NUGGET = 0.01  # of the variance is each frame's own where a kernel is too smooth to have a root


class Kind(NamedTuple):
    """How frames correlate.

    Args:
        parameter: by default.
        says: what it is.
        root: L [n n], float64, of the frame numbers i [n 1] and j [n] and the parameter; NaN where there is none.
    """

    parameter: float
    says: str
    root: Callable[[Tensor, Tensor, float], Tensor]


def _one(i: Tensor, j: Tensor) -> Tensor:
    return (i == j).double()


def _root(covariance: Tensor) -> Tensor:
    """Its Cholesky factor; NaN where it is not positive definite."""
    root, failed = torch.linalg.cholesky_ex(covariance)
    return torch.full_like(covariance, torch.nan) if failed else root


def _shuffled(i: Tensor, j: Tensor, window: float) -> Tensor:
    """1 where frame i has the noise of frame j of the first window, in another order in each window."""
    if window not in range(1, len(i) + 1):
        return torch.full((len(i), len(j)), torch.nan, dtype=torch.float64)
    size = int(window)
    later = range(1, -(-len(i) // size))  # windows
    order = integers(range(size), Stream.SHUFFLE, 0, later, 1)[..., 0].argsort(dim=0, stable=True).T
    source = torch.cat([torch.arange(size, device="cpu"), order.flatten()])[: len(i)]
    return (source[:, None] == j).double()


KINDS: dict[str, Kind] = {
    # PYoCo (Ge et al. 2023), in whose alpha the share is alpha² / (1 + alpha²), and the correlation its root
    "mixed": Kind(0.5, "the share of all frames, in [0, 1)", lambda i, j, p: _root(p + (1 - p) * _one(i, j))),
    "progressive": Kind(0.9, "the correlation of neighbours, in (-1, 1)", lambda i, j, p: _root(p ** (i - j).abs())),
    # covariance functions of Rasmussen and Williams 2006, sec. 4.2; Ornstein-Uhlenbeck is progressive noise by length
    "ou": Kind(8.0, "a length in frames, above 0", lambda i, j, p: _root((-(i - j).abs() / p).exp())),
    "rbf": Kind(
        2.0,
        "a length in frames, above 0",
        lambda i, j, p: _root((1 - NUGGET) * (-((i - j) ** 2) / (2 * p * abs(p))).exp() + NUGGET * _one(i, j)),
    ),
    # FreeNoise (Qiu et al. 2024), by whole windows; its covariance has no inverse beyond the first of them
    "shuffled": Kind(16.0, "the frames of a window, a whole number from 1", _shuffled),
}


@lru_cache(maxsize=8)
def _factor(kind: str, parameter: float) -> Tensor:
    """L [n n] over `MOST_FRAMES` frames."""
    frames = torch.arange(MOST_FRAMES, dtype=torch.float64, device="cpu")
    root = KINDS[kind].root(frames[:, None], frames, parameter)
    if not bool(root.isfinite().all()):
        raise InputError(
            f"noise_parameter is {parameter}, with which {kind!r} noise has no positive definite covariance; it "
            f"must be {KINDS[kind].says}"
        )
    return root


@dataclass(frozen=True)
class KernelNoise:
    """Noise whose covariance over frames is a kernel's: eps = L eta, eta by the motion seeds.

    Args:
        kind: a key of `KINDS`.
        parameter: of the kernel; see there.

    Raises:
        InputError: an unknown kind; a parameter with which the covariance is not positive definite.
    """

    kind: str
    parameter: float

    def __post_init__(self) -> None:
        if not knows(KINDS, self.kind):
            raise InputError(f"noise is {self.kind!r}; it must be one of independent, {', '.join(KINDS)}")
        _factor(self.kind, self.parameter)

    def draw(
        self,
        shape: Sequence[int],
        keys: Keys,
        step: int,
        share: Tensor | None = None,
        frames: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> Noise:
        """Noise of one step; `share` is not read. See `NoiseSource.draw`.

        Raises:
            InputError: a frame number outside [0, `MOST_FRAMES`).
        """
        b, t, *rest = shape
        check_keys(keys, b)
        rows = self._rows(range(t) if frames is None else frames).float()
        eps = torch.zeros(tuple(shape), dtype=torch.float32, device=device)
        needed = rows.any(dim=0).nonzero().flatten()
        for some in needed.split(t):  # a window far into a video needs more frames than it has
            own = normal(keys.motion, Stream.RESIDUAL, step, some.tolist(), rest, device)
            # one frame after the other, not a matrix product, whose last bits depend on the number of frames
            for place, frame in enumerate(some.tolist()):
                for row in rows[:, frame].nonzero().flatten().tolist():
                    eps[:, row] += float(rows[row, frame]) * own[:, place]
        return Noise(eps)

    def covariance(self, share: Tensor | None = None, frames: Sequence[int] | None = None) -> Tensor:
        """The kernel's. See `NoiseSource.covariance`."""
        rows = self._rows(frame_numbers(share, frames))
        return (rows @ rows.mT).expand(1 if share is None else len(share), -1, -1)

    def _rows(self, frames: Sequence[int]) -> Tensor:
        far = [frame for frame in frames if not 0 <= frame < MOST_FRAMES]
        if far:
            raise InputError(f"frames holds {far[0]}; {self.kind!r} noise has frames 0 to {MOST_FRAMES - 1}")
        return _factor(self.kind, self.parameter)[list(frames)]


def make_noise(kind: str, parameter: float | int | None = None) -> NoiseSource:
    """The noise of plain diffusion.

    Args:
        kind: "independent", or a key of `KINDS`.
        parameter: of the kernel; its own by default.

    Raises:
        InputError: what `KernelNoise` refuses; a parameter for independent noise.
    """
    if kind != "independent":
        own = KINDS[kind].parameter if knows(KINDS, kind) else 0.0
        return KernelNoise(kind, own if parameter is None else float(parameter))
    if parameter is not None:
        raise InputError(f"noise_parameter is {parameter}; independent noise takes none, so leave it out")
    return IndependentNoise()
