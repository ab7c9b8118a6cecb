"""The prediction of a denoiser: clean clip and noise, readable as v or flow as well."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videofusion.errors import InputError

KINDS = ("eps", "x0", "v", "flow")


def expand(scale: Tensor, like: Tensor) -> Tensor:
    """Give a per-clip or per-frame number the axes of a clip, so that it broadcasts.

    Args:
        scale: [b] or [b t].
        like: a clip [b t c h w] (or any tensor with more axes than `scale`).

    Returns:
        [b 1 1 1 1] or [b t 1 1 1], on the clip's device and of its dtype.
    """
    return scale.reshape(*scale.shape, *(1,) * (like.ndim - scale.ndim)).to(like)


@dataclass(frozen=True)
class Prediction:
    """Clean clip and noise as a denoiser sees them in z = alpha x0 + sigma eps.

    A guidance or hook may replace `x0` and keep `eps` (`dataclasses.replace`), or keep the two in agreement
    (`with_x0`).

    Args:
        z: the noisy clip [b t c h w].
        x0: predicted clean clip, same shape.
        eps: predicted noise, same shape.
        alpha: signal scale, broadcastable to z.
        sigma: noise scale, broadcastable to z.
    """

    z: Tensor
    x0: Tensor
    eps: Tensor
    alpha: Tensor
    sigma: Tensor

    @classmethod
    def of(cls, kind: str, output: Tensor, z: Tensor, alpha: Tensor, sigma: Tensor) -> Prediction:
        """Read a network's output.

        Args:
            kind: what the network predicts: "eps", "x0", "v" (Salimans & Ho 2022) or "flow" (eps - x0).
            output: the network's output, of z's shape; a network may compute in half precision, all else is in z's.
            z: the noisy clip [b t c h w].
            alpha: signal scale, broadcastable to z.
            sigma: noise scale, broadcastable to z.

        Raises:
            InputError: an unknown kind.
        """
        output = output.to(z)
        if kind == "eps":
            return cls(z, (z - sigma * output) / alpha, output, alpha, sigma)
        if kind == "x0":
            return cls(z, output, (z - alpha * output) / sigma, alpha, sigma)
        if kind == "v":
            power = alpha**2 + sigma**2
            return cls(z, (alpha * z - sigma * output) / power, (sigma * z + alpha * output) / power, alpha, sigma)
        if kind == "flow":
            total = alpha + sigma
            return cls(z, (z - sigma * output) / total, (z + alpha * output) / total, alpha, sigma)
        raise InputError(f"prediction is {kind!r}; it must be one of {', '.join(KINDS)}")

    def with_x0(self, x0: Tensor) -> Prediction:
        """The prediction with another clean clip, its noise recomputed to agree with z."""
        # at sigma = 0 there is no noise to agree about: what was predicted stays
        noisy = self.sigma > 0
        eps = (self.z - self.alpha * x0) / torch.where(noisy, self.sigma, 1.0)
        return replace(self, x0=x0, eps=torch.where(noisy, eps, self.eps))

    @property
    def v(self) -> Tensor:
        """The velocity alpha eps - sigma x0 (Salimans & Ho 2022)."""
        return self.alpha * self.eps - self.sigma * self.x0

    @property
    def flow(self) -> Tensor:
        """The flow eps - x0."""
        return self.eps - self.x0
