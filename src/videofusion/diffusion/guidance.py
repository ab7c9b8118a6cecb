"""Guidance: denoisers around denoisers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction, expand
from videofusion.errors import InputError


@dataclass(frozen=True)
class Term:
    """One term of guidance: how far a prediction goes beyond what it would be without some conditions.

    Args:
        names: of the conditions, as `Conditions.without` takes them.
        scale: 1 is off, above 1 follows them more, at least 0; a number, or one for each frame [t] or each frame of
            each clip [b t].

    Raises:
        InputError: a scale that is negative or no number, or has other axes.
    """

    names: tuple[str, ...]
    scale: float | Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        values = torch.as_tensor(self.scale)
        if not bool((values.isfinite() & (values >= 0)).all()):
            raise InputError(f"guidance scale is {self.scale}; it must be a number of at least 0 (1 is off)")
        if values.ndim > 2:
            raise InputError(f"guidance scale has the shape {tuple(values.shape)}; it must be a number, [t] or [b t]")

    def at(self, within: Tensor, z: Tensor) -> Tensor:
        """The scale broadcast to z: 1 for clips that are not within the interval [b]."""
        if isinstance(self.scale, Tensor) and self.scale.ndim:
            each = within if within.ndim == 2 else within[:, None]
            return expand(torch.where(each, self.scale.to(within.device), 1.0), z)
        return expand(torch.where(within, float(self.scale), 1.0), z)

    def equals(self, other: Term | None) -> bool:
        """Whether it has the scale of another term; of none, whether it is off."""
        scales = torch.as_tensor(self.scale), torch.as_tensor(1.0 if other is None else other.scale)
        return bool((scales[0] == scales[1]).all())


class ClassifierFree:
    """Classifier-free guidance (Ho & Salimans 2021): x0 = x0_free + scale (x0_given - x0_free), and eps alike.

    With several terms each takes away its names from what the term before it has left (Brooks et al. 2023, eq. 3): with
    x_0 told everything and x_k without the names of the first k terms,

        x = x_n + Σ_k scale_k (x_{k-1} - x_k)

    A call whose weight is nothing, as between two terms of one scale or after the last one that is on, is saved.

    It wraps a whole composite: each branch of VideoFusion subtracts its own base noise. The denoiser is called once
    with and once without the conditions, not on a batch of both: guidance then needs no more memory than none.

    Args:
        denoiser: predicts clean clip and noise.
        scale: of the one term over `names`, see `Term`; or all terms, in order.
        names: the conditions that the second call goes without; not with terms.
        rescale: how much of the given prediction's contrast is restored, in [0, 1] (Lin et al. 2023, sec. 3.4).
        threshold: quantile of |x0| that is brought back to 1, in (0, 1], None for no thresholding; for clips in [-1, 1]
            (dynamic thresholding; Saharia et al. 2022, sec. 2.3). One quantile a clip: brightness must not flicker.
        interval: lowest and highest time at which clips are guided, in [0, 1]; at others they are left alone, and the
            second call is saved (Kynkaanniemi et al. 2024). Without the highest times, what is decided first, such as
            a course, varies more; without the lowest, where little is left to decide, little changes.
        skip: how much of its temporal layers the second call goes without, in [0, 1]. Above 0 it is guidance away from
            frames that agree less too (spatiotemporal skip guidance, Hyung et al. 2024, which leaves out whole layers
            in a call of its own). Of several terms the last call that is made goes without them.

    Raises:
        InputError: an option out of its range; no term.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        scale: float | Tensor | Sequence[Term],
        names: Sequence[str] = ("text",),
        rescale: float = 0.0,
        threshold: float | None = None,
        interval: Sequence[float] = (0.0, 1.0),
        skip: float = 0.0,
    ) -> None:
        self.terms = (Term(tuple(names), scale),) if isinstance(scale, float | int | Tensor) else tuple(scale)
        if not self.terms:
            raise InputError("guidance has no term; give it a scale, 1 for none")
        if not 0 <= rescale <= 1:
            raise InputError(f"rescale is {rescale}; it must lie in [0, 1]")
        if threshold is not None and not 0 < threshold <= 1:
            raise InputError(f"threshold is {threshold}; it must be None or lie in (0, 1]")
        check_times_and_skip(interval, skip)
        self.denoiser = denoiser
        self.rescale = rescale
        self.threshold = threshold
        self.lowest, self.highest = interval
        self.skip = skip
        self._needed = self._calls()

    def _calls(self) -> list[int]:
        """The k of the x_k that count, beside x_0."""
        after = [*self.terms[1:], None]
        return [k for k, (term, later) in enumerate(zip(self.terms, after, strict=True), 1) if not term.equals(later)]

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        prediction = self.denoiser(z, t, conditions)
        if self._needed:
            within = (self.lowest <= t) & (t <= self.highest)
            if (self.lowest <= 0 and self.highest >= 1) or bool(within.any()):
                prediction = self._guided(prediction, z, t, conditions, within)
        if self.threshold is not None:
            prediction = prediction.with_x0(dynamic_threshold(prediction.x0, self.threshold))
        return prediction

    def _guided(self, given: Prediction, z: Tensor, t: Tensor, conditions: Conditions, within: Tensor) -> Prediction:
        x0, eps, before = given.x0, given.eps, given
        for k in self._needed:
            names = [name for term in self.terms[:k] for name in term.names]
            less = conditions.without(*names)
            if k == self._needed[-1]:
                less = replace(less, temporal=(1 - self.skip) * conditions.temporal)
            free = self.denoiser(z, t, less)
            scale = self.terms[k - 1].at(within, z)
            if before is given:
                x0, eps = torch.lerp(free.x0, given.x0, scale), torch.lerp(free.eps, given.eps, scale)
            else:
                x0, eps = x0 + (scale - 1) * (before.x0 - free.x0), eps + (scale - 1) * (before.eps - free.eps)
            before = free
        guided = replace(given, x0=x0, eps=eps)
        if self.rescale == 0:
            return guided
        # a constant clip has no contrast to restore: nothing then divides by zero
        contrast = _spread(given.x0) / _spread(x0).clamp_min(1e-8)
        return guided.with_x0(x0 * (self.rescale * contrast + 1 - self.rescale))


def scale_of(terms: Sequence[Term], *names: str) -> float:
    """The scale at which clips are guided by a condition: the first of these names that a term is over.

    Args:
        terms: with one scale for all frames.
        names: of conditions; where no term is over any of them, 1, which is off.
    """
    return next((float(term.scale) for name in names for term in terms if name in term.names), 1.0)


def check_times_and_skip(interval: Sequence[float], skip: float) -> None:
    """Raise InputError unless these are an interval of times and a share of temporal layers; see `ClassifierFree`."""
    if len(interval) != 2 or not 0 <= interval[0] <= interval[1] <= 1:
        raise InputError(f"guidance interval is {list(interval)}; it must be a lowest and a highest time in [0, 1]")
    if not 0 <= skip <= 1:
        raise InputError(f"guidance skip is {skip}; it must lie in [0, 1]")


def _spread(clip: Tensor) -> Tensor:
    return clip.std(dim=(1, 2, 3, 4), keepdim=True)


def dynamic_threshold(x0: Tensor, quantile: float) -> Tensor:
    """Clip each clip at a quantile of its absolute values and divide by it, if it is above 1.

    Args:
        x0: [b t c h w].
        quantile: in (0, 1].

    Returns:
        [b t c h w] in [-1, 1].
    """
    size = x0.flatten(1).abs()
    # kthvalue, for torch.quantile refuses more than 16 million numbers
    limit = size.kthvalue(math.ceil(quantile * size.shape[1]), dim=1).values.clamp_min(1.0)
    limit = limit.reshape(-1, 1, 1, 1, 1)
    return x0.clamp(-limit, limit) / limit
