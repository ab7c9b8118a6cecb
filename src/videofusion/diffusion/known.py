"""Given frames, or parts of them: a denoiser around a denoiser that makes the rest of the clip follow from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from videofusion.device import without_autocast
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import Prediction
from videofusion.errors import InputError

_FLAT = 1e-5  # of the largest variance in any direction over frames: one with less counts as having none


@dataclass(frozen=True)
class Known:
    """Frames of a clip that are given, whole or in part, and how the rest is made to follow from them.

    Args:
        frames: [k c h w], or [b k c h w] for each clip its own; in [-1, 1].
        at: their places in the clip, k different ones from 0.
        weight: of reconstruction guidance, at least 0; VDM finds weights above 1 to be better. Where frames share noise
            it is bounded, see `Following`. 0 is the replacement method, which costs nothing, and leaves it to the
            network to have the others agree with what it is shown.
        latent: whether the frames are what a model samples, its latents or pixels, rather than pixels in any case.
        mask: what of the frames is made anew: 1 there, 0 where they are kept; numbers or booleans, [k 1 h w] or
            [b k 1 h w], where k, h and w may be 1 for all. None keeps them whole. With all frames of a clip given this
            is inpainting over time.

    Raises:
        InputError: as many places as frames are needed, different ones; numbers that are none; a mask of another size,
            or with other values than 0 and 1.
    """

    frames: Tensor
    at: Sequence[int]
    weight: float = 0.0
    latent: bool = False
    mask: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(int(place) for place in self.at))
        if self.frames.ndim not in (4, 5):
            raise InputError(
                f"known frames have the shape {tuple(self.frames.shape)}; they must be k c h w or b k c h w"
            )
        if len(self.at) != self.frames.shape[-4] or not self.at:
            raise InputError(
                f"known frames are {self.frames.shape[-4]}, but their places are {list(self.at)}; give one place for "
                "each frame, and at least one frame"
            )
        if len(set(self.at)) < len(self.at) or min(self.at) < 0:
            raise InputError(
                f"places of known frames are {list(self.at)}; they must be different numbers of at least 0"
            )
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise InputError(f"weight of known frames is {self.weight}; it must be a number of at least 0")
        if not bool(self.frames.isfinite().all()):
            raise InputError("known frames hold numbers that are not finite")
        if self.mask is not None:
            object.__setattr__(self, "mask", _whole_mask(self.mask, self.frames))

    def one(self, place: int) -> Tensor | None:
        """The frame at a place [... 1 c h w], if all of it is given."""
        part = self.part(place)
        return None if part is None or (part.mask is not None and bool(part.mask.any())) else part.frames

    def part(self, place: int) -> Known | None:
        """What is given of the frame at a place, as that of a clip of one frame."""
        if place not in self.at:
            return None
        at = slice(self.at.index(place), self.at.index(place) + 1)
        mask = None if self.mask is None else self.mask[..., at, :, :, :]
        return replace(self, frames=self.frames[..., at, :, :, :], at=(0,), mask=mask)

    def put(self, clip: Tensor) -> Tensor:
        """A clip [b t c h w] with what is given in its place, to the bit."""
        clip, at = clip.clone(), list(self.at)
        frames = self.frames.to(clip)
        clip[:, at] = frames if self.mask is None else torch.where(self.mask.to(clip.device), clip[:, at], frames)
        return clip


class Following:
    """Sampling with some frames given: replacement, and reconstruction guidance (Ho et al. 2022, sec. 3.1).

    Given frames are put into every prediction, x0 and the noise that agrees with it. So a sampler keeps them on the
    way that they would take if they were noised: at every step they are alpha x + sigma eps with the noise that they
    began with, or with what the sampler adds, drawn together with the other frames' (decomposed noise stays
    decomposed). The others are moved by how well the denoiser would have told the given ones, e = x_a - x0_a(z):

        x0_b <- x0_b + weight s_b        s = -(alpha / 2) Σ ∇_z (eᵀ Σ_aa⁻¹ e)

    Σ is the noise's covariance over frames. VDM's noise is independent, and has Σ = 1; Tweedie's formula,
    x0 = (z + sigma² Σ ∇ log p(z)) / alpha, asks for it, and p(x_a | z) is about N(x0_a, sigma² / alpha² Σ_aa).

    How far the weight may go. Of an exact denoiser, s = (alpha² / sigma²) V_.a Σ_aa⁻¹ e, where V is the covariance of
    the clip given z, and x0_b + V_ba V_aa⁻¹ e is what is right. So at the given frames s_a = K e, where K has its
    eigenvalues in [0, 1], and the step leaves them an error of (1 - weight K) e. As the noise goes, K goes to 1 and s_b
    to Σ_ba Σ_aa⁻¹ e: a weight above 1 is then so many times too much, above 2 the error grows at every step. With
    independent noise Σ_ba is 0, and nothing comes of that. With any other the weight is at most the one that makes the
    error at the given frames as small as a step in this direction can, for each clip and step,

        weight <= <e, s_a> / <s_a, s_a>       <x, y> = xᵀ Σ_aa⁻¹ y, over frames and pixels

    which is at least 1 for an exact denoiser. In a direction in which the noise of the given frames has no variance,
    V has none either: no other frame follows from it, and Σ_aa⁻¹ (the pseudo-inverse) leaves it out.

    With a mask, which frames are given differs from place to place of the picture, and so does Σ_aa: it has the rows
    and columns of the frames that are given there.

    Args:
        denoiser: predicts clean clip and noise; with its guidance, if it has any.
        known: frames of the clips that it is called with.
        covariance: of the noise over frames [b t t]; None for noise of its own in every frame.

    Raises:
        InputError: with a weight, a covariance that is none, or known frames outside of it.
    """

    def __init__(self, denoiser: Denoiser, known: Known, covariance: Tensor | None = None) -> None:
        self.denoiser = denoiser
        self.known = known
        self.covariance = covariance
        self._inverse: Tensor | None = None  # of the covariance at the given frames [b k k], of each place [b h w k k]
        self._capped = False
        if covariance is not None and known.weight > 0:
            self._inverse, self._capped = _inverse_at(covariance, list(known.at))
            if known.mask is not None:
                self._inverse = _inverse_by_place(covariance, list(known.at), known.mask)
                self._capped = bool((covariance - torch.diag_embed(covariance.diagonal(dim1=1, dim2=2))).any())

    def __call__(self, z: Tensor, t: Tensor, conditions: Conditions) -> Prediction:
        if self.known.weight == 0:
            prediction = self.denoiser(z, t, conditions)
            x0 = prediction.x0
        else:
            prediction, step, most = self._step(z, t, conditions, self.known.frames.to(z))
            x0 = prediction.x0 + most.clamp(max=self.known.weight) * step
        return prediction.with_x0(self.known.put(x0))

    def _step(self, z: Tensor, t: Tensor, conditions: Conditions, frames: Tensor) -> tuple[Prediction, Tensor, Tensor]:
        """The prediction, the step for a weight of 1 [b t c h w], and the most that the weight may be [b 1 1 1 1]."""
        at = list(self.known.at)
        with torch.enable_grad():
            seen = z.detach().requires_grad_()
            found = self.denoiser(seen, t, conditions)
            error = self._given(frames - found.x0[:, at])
            (slope,) = torch.autograd.grad((error * _over_frames(self._inverse, error)).sum(), seen)
        error, alpha = error.detach(), found.alpha.detach()
        step = -alpha / 2 * _over_frames(self.covariance, slope)
        most = torch.full((len(z), 1, 1, 1, 1), math.inf).to(z)
        if self._capped:
            there = self._given(step[:, at])
            weighed = _over_frames(self._inverse, there)
            gain, power = ((weighed * each).sum(dim=(1, 2, 3, 4), keepdim=True) for each in (error, there))
            most = torch.where(power > 0, gain / power, 0.0).clamp_min(0)
        return Prediction(z, found.x0.detach(), found.eps.detach(), alpha, found.sigma.detach()), step, most

    def _given(self, there: Tensor) -> Tensor:
        """What stands at the given frames [b k c h w], 0 where they are made anew."""
        mask = self.known.mask
        return there if mask is None else torch.where(mask.to(there.device), 0.0, there)


def _inverse_at(covariance: Tensor, at: list[int]) -> tuple[Tensor, bool]:
    """The pseudo-inverse of a covariance [b t t] at some frames [b k k], and whether others are correlated with them.

    Raises:
        InputError: the covariance is none, or does not have these frames.
    """
    if covariance.ndim != 3 or covariance.shape[1] != covariance.shape[2] or max(at) >= covariance.shape[1]:
        raise InputError(
            f"covariance has the shape {tuple(covariance.shape)}; it must be b t t, with the known frames {at} among t"
        )
    exact = covariance.detach().cpu().double()
    among = exact[:, at][:, :, at]
    values = torch.linalg.eigvalsh(among)
    if not bool((values[:, 0] > -_FLAT * values[:, -1]).all()):
        raise InputError(
            f"covariance of the noise at the known frames has the eigenvalue {float(values.min()):.3g}; "
            "none may be negative"
        )
    others = [frame for frame in range(exact.shape[1]) if frame not in at]
    inverse = torch.linalg.pinv(among, rtol=_FLAT, hermitian=True)
    return inverse.to(covariance), bool(exact[:, at][:, :, others].any())


def _inverse_by_place(covariance: Tensor, at: list[int], mask: Tensor) -> Tensor:
    """The pseudo-inverse of a covariance [b t t] at the frames that are given at each place [b h w k k].

    Args:
        covariance: that `_inverse_at` has looked at.
        at: the frames that are given, in part.
        mask: True where they are not [k 1 h w] or [b k 1 h w].
    """
    among = covariance.detach().cpu().double()[:, at][:, :, at]
    given = (~mask.cpu()).movedim(-4, -1).squeeze(-4)  # [... h w k]
    given = given.expand(len(among), *given.shape[-3:])
    inverses = []
    for matrix, each in zip(among, given, strict=True):
        # few different sets of frames are given, even of things that move: one inverse for each
        sets, which = each.flatten(0, 1).unique(dim=0, return_inverse=True)
        weights = sets.double()
        inverse = torch.linalg.pinv(weights[:, :, None] * matrix * weights[:, None, :], rtol=_FLAT, hermitian=True)
        inverses.append(inverse[which].unflatten(0, each.shape[:2]))
    return torch.stack(inverses).to(covariance)


def _over_frames(matrix: Tensor | None, clip: Tensor) -> Tensor:
    """A matrix [b t t], or one for each place [b h w t t], along the frames of a clip [b t c h w]; None for 1."""
    if matrix is None:
        return clip
    axes = "bij" if matrix.ndim == 3 else "bhwij"
    with without_autocast(clip.device):  # in half precision an inverse is not worth much
        return torch.einsum(f"{axes},bjchw->bichw", matrix.to(clip), clip)


def _whole_mask(mask: Tensor, frames: Tensor) -> Tensor:
    """A mask of frames [(b) k c h w], True where they are made anew, [(b) k 1 h w].

    Raises:
        InputError: another size, or other values than 0 and 1.
    """
    *batch, count, _, height, width = frames.shape
    wanted = (*batch, count, 1, height, width)
    shape = tuple(mask.shape)
    fits = (
        mask.ndim in (4, 5)
        and shape[-3] == 1
        and all(size in (1, right) for size, right in zip(reversed(shape), reversed(wanted), strict=False))
    )
    if not fits:
        raise InputError(
            f"mask has the shape {shape}; of these known frames it must be {_sizes(wanted[-4:])} or, with one for each "
            "clip, that with the number of clips before it (k 1 h w, each of k, h and w may be 1)"
        )
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError("mask holds other values than 0 (kept) and 1 (made anew)")
    clips = mask.shape[:1] if mask.ndim == 5 else ()
    return (mask == 1).expand(*clips, count, 1, height, width)


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
