"""Training losses over predictions."""

from __future__ import annotations

from torch import Tensor

from videofusion.diffusion.prediction import Prediction
from videofusion.errors import InputError

WEIGHTINGS = ("eps", "v", "flow", "clipped_v", "x0")
LEAST_SIGMA = 0.2  # of "clipped_v": the signal-to-noise ratio counts up to 25


def frame_errors(prediction: Prediction, x0: Tensor, eps: Tensor, weighting: str = "v") -> Tensor:
    """Mean squared error of every frame, in the space of `weighting`.

    Args:
        prediction: of the clip z = alpha x0 + sigma eps.
        x0: the clean clip [b t c h w].
        eps: the noise that was added [b t c h w].
        weighting: "eps" (Ho et al. 2020; VideoFusion, eq. 14), "v" (Salimans & Ho 2022), "flow" (Lipman et al. 2023),
            "x0", or "clipped_v": as v, but nearly clean frames do not outweigh the others (Hang et al. 2023), which
            networks that predict x0 need.

    Returns:
        [b t].

    Raises:
        InputError: an unknown weighting.
    """
    if weighting == "eps":
        error = prediction.eps - eps
    elif weighting == "v":
        error = prediction.v - (prediction.alpha * eps - prediction.sigma * x0)
    elif weighting == "flow":
        error = prediction.flow - (eps - x0)
    elif weighting == "clipped_v":  # variance preserving: the error of v is that of x0 over sigma
        error = (prediction.x0 - x0) / prediction.sigma.clamp_min(LEAST_SIGMA)
    elif weighting == "x0":
        error = prediction.x0 - x0
    else:
        raise InputError(f"weighting is {weighting!r}; it must be one of {', '.join(WEIGHTINGS)}")
    return error.square().mean(dim=(2, 3, 4))


def joint_errors(
    base: Prediction, joint: Prediction, x0: Tensor, eps: Tensor, share: Tensor, weighting: str = "v"
) -> tuple[Tensor, Tensor]:
    """The joint loss of VideoFusion before averaging (eq. 14): the base generator's on frame m, and the composite's.

    Where gradients stop is the composite's business: `joint` must be built from a base prediction already detached.
    A composite that corrects the base frame too is judged there as well, beside the base generator.

    Args:
        base: the base generator's prediction of the base frame [b 1 c h w], or of every frame by itself [b t c h w].
        joint: the composite's prediction of all frames [b t c h w].
        x0: the clean clip [b t c h w].
        eps: the noise that was added [b t c h w].
        share: lambda per frame [b t], 1 at the base frame.
        weighting: see `frame_errors`.

    Returns:
        two tensors: the base generator's error [b] (a mean, of several frames) and the composite's errors [b t].
    """
    middle = share.shape[1] // 2
    seen = slice(middle, middle + 1) if base.x0.shape[1] == 1 else slice(None)
    own = frame_errors(base, x0[:, seen], eps[:, seen], weighting).mean(1)
    return own, frame_errors(joint, x0, eps, weighting)
