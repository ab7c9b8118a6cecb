"""PSNR and SSIM, for reconstruction and prediction."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from videofusion.errors import InputError

_WINDOW, _SIGMA = 11, 1.5  # pixels
_K1, _K2 = 0.01, 0.03
_TOLERANCE = 0.01  # of the range: as `check_clip`, a sampler may end a rounding error outside


def psnr(
    made: Float[Tensor, "b t c h w"], real: Float[Tensor, "b t c h w"], *, value_range: tuple[float, float]
) -> Float[Tensor, "b t"]:
    """Peak signal-to-noise ratio of each frame in dB; of a frame without any error it is infinite.

    Args:
        made: clips.
        real: what they should be.
        value_range: least and greatest value that there can be: (-1, 1) for clips as they are here.

    Raises:
        InputError: shapes that differ, or values that are not finite or out of the range.
    """
    made, real = _check(made, real, value_range)
    return _decibels((made - real).square().mean(dim=(2, 3, 4)))


def clip_psnr(
    made: Float[Tensor, "b t c h w"], real: Float[Tensor, "b t c h w"], *, value_range: tuple[float, float]
) -> Float[Tensor, "b"]:
    """PSNR of each clip, from the error over all of its frames; not the mean of the frames' PSNR, which is never less.

    Arguments and errors as `psnr`.
    """
    made, real = _check(made, real, value_range)
    return _decibels((made - real).square().mean(dim=(1, 2, 3, 4)))


def ssim(
    made: Float[Tensor, "b t c h w"], real: Float[Tensor, "b t c h w"], *, value_range: tuple[float, float]
) -> Float[Tensor, "b t"]:
    """Structural similarity of each frame, mean over channels and places; a clip's is the mean over its frames.

    With a Gaussian window of 11 pixels and sigma 1.5, at the places where it lies within the frame, each channel for
    itself, variances over the window's weights (Wang et al. 2004, section III).

    Args:
        made: clips, at least 11 x 11 pixels.
        real: what they should be.
        value_range: least and greatest value that there can be: (-1, 1) for clips as they are here.

    Raises:
        InputError: shapes that differ, frames that are too small, or values that are not finite or out of the range.
    """
    made, real = _check(made, real, value_range)
    b, t, _, h, w = made.shape
    if min(h, w) < _WINDOW:
        raise InputError(f"the frames are {h}x{w} pixels; the window of SSIM takes at least {_WINDOW}x{_WINDOW}")
    c1, c2 = _K1**2, _K2**2
    frames = []
    for i in range(t):  # a frame of all clips at a time: the window makes five pictures of each
        x, y = (rearrange(clips[:, i], "b c h w -> (b c) 1 h w") for clips in (made, real))
        mean_x, mean_y, xx, yy, xy = _blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
        var_x, var_y, cov = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
        light = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        structure = (2 * cov + c2) / (var_x + var_y + c2)
        frames.append((light * structure).reshape(b, -1).mean(dim=1))
    return torch.stack(frames, dim=1)


def _check(made: Tensor, real: Tensor, value_range: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Both in [0, 1], since SSIM compares the means' ratio, and in float64, since its variances are differences."""
    if made.ndim != 5 or made.shape != real.shape or 0 in made.shape:
        raise InputError(
            f"made has the shape {tuple(made.shape)} and real {tuple(real.shape)}; both must be the same b t c h w"
        )
    low, high = value_range
    if not low < high:
        raise InputError(f"value_range is {value_range}; it must be a lower and a higher value, such as (-1, 1)")
    made, real = ((clips.double() - low) / (high - low) for clips in (made, real))
    for name, clips in (("made", made), ("real", real)):
        least, greatest = (float(bound) for bound in clips.aminmax())
        if not -_TOLERANCE <= least <= greatest <= 1 + _TOLERANCE:  # false for values that are no number, too
            raise InputError(f"{name} must be finite and in the value_range {value_range}, but some values are not")
    return made, real


def _decibels(error: Tensor) -> Tensor:
    return -10 * torch.log10(error)


def _blur(x: Tensor) -> Tensor:
    place = torch.arange(_WINDOW, dtype=x.dtype, device=x.device) - _WINDOW // 2
    weights = torch.exp(-(place**2) / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    return conv2d(conv2d(x, weights[None, None, :, None]), weights[None, None, None])
