"""Noise schedules: how much signal and noise a clip has at time t in [0, 1], t growing towards noise.

A variance-preserving schedule is one angle: alpha = cos(angle), sigma = sin(angle). The angle is finite at both ends,
zero noise and zero signal alike, which the log-SNR is not. All are of this kind but `RectifiedFlow`. The times
of a sampler are in `grids.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from videofusion.errors import InputError

RHO = 7.0  # how much steps crowd at low noise (Karras et al. 2022, eq. 5)


@runtime_checkable
class Schedule(Protocol):
    """What samplers, losses and networks ask of a schedule."""

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]: ...

    def logsnr(self, t: Tensor) -> Tensor: ...

    def time_at(self, logsnr: Tensor) -> Tensor: ...

    def network_time(self, t: Tensor) -> Tensor: ...


def _cos(angle: Tensor) -> Tensor:
    # the cosine of a float's pi/2 is 6e-17: no signal is to be exactly none, so that who cannot work there can tell
    return torch.where(angle < math.pi / 2, angle.cos(), 0.0)


class _Angular:
    """What follows from the angle alone; subclasses give `angle` and its inverse `time_of_angle`, both in float64."""

    def angle(self, t: Tensor) -> Tensor:
        raise NotImplementedError

    def time_of_angle(self, angle: Tensor) -> Tensor:
        raise NotImplementedError

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise scale at time t.

        Args:
            t: any shape, in [0, 1].

        Returns:
            alpha and sigma, of t's shape and dtype.
        """
        angle = self.angle(t.double())
        return _cos(angle).to(t.dtype), angle.sin().to(t.dtype)

    def logsnr(self, t: Tensor) -> Tensor:
        """log(alpha² / sigma²) at time t (any shape); +inf at no noise, -inf at no signal."""
        angle = self.angle(t.double())
        return (2 * (_cos(angle).log() - angle.sin().log())).to(t.dtype)

    def time_at(self, logsnr: Tensor) -> Tensor:
        """The time of a log-SNR: the inverse of `logsnr`."""
        return self.time_of_angle((-0.5 * logsnr.double()).exp().atan()).to(logsnr.dtype)


@dataclass(frozen=True)
class Cosine(_Angular):
    """Cosine schedule in continuous time (Nichol & Dhariwal 2021, without their offset).

    Args:
        shift: multiplies the noise-to-signal ratio; above 1 for large pictures (Hoogeboom et al. 2023, sec. 3.1).
    """

    shift: float = 1.0

    def __post_init__(self) -> None:
        check_positive("shift", self.shift)

    def angle(self, t: Tensor) -> Tensor:
        # atan2(shift sin, cos) is atan(shift tan), finite at t = 1
        return torch.atan2(self.shift * torch.sin(t * math.pi / 2), torch.cos(t * math.pi / 2).clamp_min(0.0))

    def time_of_angle(self, angle: Tensor) -> Tensor:
        return torch.atan2(angle.sin() / self.shift, angle.cos().clamp_min(0.0)) * 2 / math.pi

    def network_time(self, t: Tensor) -> Tensor:
        """The time that the network receives: t in thousandths, the range that sinusoidal embeddings are made for."""
        return 1000 * t


@dataclass(frozen=True, eq=False)
class Discrete(_Angular):
    """A schedule known at n = 0 ... T-1 from its betas, read at t = (n + 1) / T and between by interpolating the angle.

    Args:
        betas: float64 [T], each in (0, 1], the variance added by step n (Ho et al. 2020).

    Raises:
        InputError: a beta outside (0, 1].
    """

    betas: Tensor
    angles: Tensor = field(init=False)

    def __post_init__(self) -> None:
        if not bool(((self.betas > 0) & (self.betas <= 1)).all()):
            low, high = float(self.betas.min()), float(self.betas.max())
            raise InputError(f"betas go from {low:g} to {high:g}; each must lie in (0, 1]")
        alpha_bar = torch.cumprod(1 - self.betas.double(), dim=0)
        angles = torch.atan2((1 - alpha_bar).sqrt(), alpha_bar.sqrt())
        object.__setattr__(self, "angles", torch.cat([torch.zeros(1, dtype=torch.float64), angles]))

    @property
    def steps(self) -> int:
        return len(self.betas)

    def angle(self, t: Tensor) -> Tensor:
        angles = self.angles.to(t.device)
        position = (t * self.steps).clamp(0, self.steps)
        low = position.floor().long().clamp_max(self.steps - 1)
        return torch.lerp(angles[low], angles[low + 1], position - low)

    def time_of_angle(self, angle: Tensor) -> Tensor:
        angles = self.angles.to(angle.device)
        high = torch.searchsorted(angles, angle.contiguous()).clamp(1, self.steps)
        low_angle, high_angle = angles[high - 1], angles[high]
        return (high - 1 + ((angle - low_angle) / (high_angle - low_angle)).clamp(0, 1)) / self.steps

    def network_time(self, t: Tensor) -> Tensor:
        """The time that the network receives: the step number n = t T - 1, and 0 below (n = 0 is not clean data)."""
        return (t * self.steps - 1).clamp_min(0)


@dataclass(frozen=True)
class EDM(_Angular):
    """The diffusion of Karras et al. 2022, x + sigma n, divided by sqrt(1 + sigma²): that is variance preserving.

    Their preconditioning for data of unit power is v-prediction in these terms. Over t, sigma runs as their grid does
    (eq. 5, rho = 7) from `high` at t = 1, less `low`, so that t = 0 is no noise at all.

    Args:
        high: largest sigma; 80 in the paper, 700 in Stable Video Diffusion.
        low: smallest sigma that networks receive.
    """

    high: float = 80.0
    low: float = 0.002

    def __post_init__(self) -> None:
        check_positive("highest sigma", self.high)

    def angle(self, t: Tensor) -> Tensor:
        first, last = self._roots
        return torch.where(t > 0, (first + t * (last - first)) ** RHO - self.low, 0.0).atan()

    def time_of_angle(self, angle: Tensor) -> Tensor:
        first, last = self._roots
        return ((angle.tan() + self.low) ** (1 / RHO) - first) / (last - first)

    @property
    def _roots(self) -> tuple[float, float]:
        return self.low ** (1 / RHO), (self.high + self.low) ** (1 / RHO)

    def network_time(self, t: Tensor) -> Tensor:
        """The time that the network receives: ln(sigma) / 4."""
        return (self.angle(t.double()).tan().clamp_min(self.low).log() / 4).to(t.dtype)


@dataclass(frozen=True)
class RectifiedFlow:
    """Straight lines from clip to noise, alpha = 1 - sigma (Liu et al. 2023); not variance preserving.

    Args:
        shift: multiplies the noise-to-signal ratio, sigma = shift t / (1 + (shift - 1) t); above 1 for large pictures
            (Esser et al. 2024, sec. 5.3.2).
    """

    shift: float = 1.0

    def __post_init__(self) -> None:
        check_positive("shift", self.shift)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise scale at time t (any shape, in [0, 1]), of t's shape and dtype."""
        signal, noise = 1 - t.double(), self.shift * t.double()
        return (signal / (signal + noise)).to(t.dtype), (noise / (signal + noise)).to(t.dtype)

    def logsnr(self, t: Tensor) -> Tensor:
        """log(alpha² / sigma²) at time t (any shape); +inf at no noise, -inf at no signal."""
        return (2 * ((1 - t.double()).log() - (self.shift * t.double()).log())).to(t.dtype)

    def time_at(self, logsnr: Tensor) -> Tensor:
        """The time of a log-SNR: the inverse of `logsnr`."""
        return torch.sigmoid(-0.5 * logsnr.double() - math.log(self.shift)).to(logsnr.dtype)

    def network_time(self, t: Tensor) -> Tensor:
        """The time that the network receives: sigma in thousandths."""
        return 1000 * self.alpha_sigma(t)[1]


def check_positive(name: str, value: float) -> None:
    """Raise InputError unless a number is finite and above 0."""
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} is {value}; it must be a number above 0")


def linear_betas(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """Betas of Ho et al. 2020."""
    return torch.linspace(first, last, steps, dtype=torch.float64)


def scaled_linear_betas(steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> Tensor:
    """Betas of latent diffusion (Rombach et al. 2022): linear in their square root."""
    return torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64) ** 2


def squared_cosine_betas(steps: int = 1000, most: float = 0.999) -> Tensor:
    """Betas of Nichol & Dhariwal 2021, with their offset; those of DALL-E 2's prior."""
    angles = (torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008 * math.pi / 2
    alpha_bar = angles.cos() ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp_max(most)


def zero_terminal_snr(betas: Tensor) -> Tensor:
    """Shift and scale sqrt(alpha_bar) so that the last step holds no signal (Lin et al. 2023, algorithm 1)."""
    root = torch.cumprod(1 - betas.double(), dim=0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    alpha_bar = root**2
    return 1 - torch.cat([alpha_bar[:1], alpha_bar[1:] / alpha_bar[:-1]])


SCHEDULES: dict[str, Callable[[], Schedule]] = {
    "cosine": Cosine,
    "linear": lambda: Discrete(linear_betas()),
    "scaled_linear": lambda: Discrete(scaled_linear_betas()),
    "squared_cosine": lambda: Discrete(squared_cosine_betas()),
    "linear_zero_snr": lambda: Discrete(zero_terminal_snr(linear_betas())),
    "scaled_linear_zero_snr": lambda: Discrete(zero_terminal_snr(scaled_linear_betas())),
    "edm": EDM,
    "rectified_flow": RectifiedFlow,
}
NUMBERED: dict[str, tuple[str, Callable[[float], Schedule]]] = {
    "cosine": ("shift", Cosine),
    "edm": ("highest sigma", EDM),
    "rectified_flow": ("shift", RectifiedFlow),
}


def make_schedule(name: str) -> Schedule:
    """The schedule of that name.

    Args:
        name: a key of `SCHEDULES`; a key of `NUMBERED` may have a number after a colon, as in "rectified_flow:3" for a
            shift of 3 or "edm:700" for a highest sigma of 700.

    Raises:
        InputError: the name is none of them, or its number is none above 0.
    """
    key, colon, number = name.partition(":")
    if key not in SCHEDULES:
        raise InputError(f"schedule is {name!r}; it must be one of {', '.join(SCHEDULES)}")
    if not colon:
        return SCHEDULES[key]()
    if key not in NUMBERED:
        raise InputError(f"schedule is {name!r}; only {', '.join(NUMBERED)} take a number after a colon")
    what, kind = NUMBERED[key]
    try:
        return kind(float(number))
    except ValueError as error:
        raise InputError(f"schedule is {name!r}; after the colon must be its {what}, a number above 0") from error
