"""DDIM inversion: from a clip to the noise that sampling would make it of."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.prediction import KINDS, Prediction
from videofusion.diffusion.samplers.loop import OnState, Progress, check_times
from videofusion.diffusion.schedules import Schedule
from videofusion.errors import InputError

_LEAST = 1e-6  # cosine of a step that can be corrected


def invert(
    denoiser: Denoiser,
    z: Tensor,
    times: Tensor,
    *,
    schedule: Schedule,
    conditions: Conditions,
    reads: str = "v",
    refinements: int = 0,
    on_state: OnState | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Follow DDIM's steps backwards (Song et al. 2021, sec. 4.3; Dhariwal & Nichol 2021, appendix F).

    A step of `ddim` from time t to s < t reads the prediction at (z_t, t). Backwards z_t is what is looked for, so that
    the prediction at (z_s, t) stands in for it, as in diffusers. `ddim` itself, run along increasing times, reads
    (z_s, s) instead, which asks networks about clips without noise at the first step.

    Each refinement does the step from the z_t found so far, and corrects it by what the step misses of z_s:

        z_t <- z_t + (z_s - ddim(z_t)) / (growth cos(φ_t - φ_s))

    At its fixed point DDIM with as many steps comes back to the clip exactly (AIDI, Pan et al. 2023, and ReNoise,
    Garibi et al. 2024, iterate likewise). In a direction in which clips have the variance S, ddim(z_t) is J z_t with
    J = (alpha_s alpha_t S + sigma_s sigma_t) / (alpha_t² S + sigma_t²), and a refinement leaves 1 - J / cos(φ_t - φ_s)
    of an error: nothing for S = 1, and all of it for S = 0 in the step to no noise, where nothing comes back.

    Args:
        denoiser: predicts clean clip and noise; the guidance that it has is inverted with it.
        z: the clip, or a noisy one, at times[0], [b t c h w].
        times: [steps + 1] in [0, 1], increasing: a sampler's grid turned around.
        schedule: of the denoiser.
        conditions: of the clips.
        reads: what of the prediction is taken over from t to s: "v", "eps", "x0" or "flow". diffusers takes what the
            network predicts, and only that gives its numbers. "eps" and "flow" say nothing where there is no signal.
        refinements: of every step, at least 0; each costs as much as the step.
        on_state: called with the clip after every step and its time; its answer is used instead.
        progress: wraps the iterable of step numbers, `tqdm` for example.

    Returns:
        the clip at times[-1].

    Raises:
        InputError: times that decrease, or are none; fewer than no refinements, or some of a step from no noise to
            no signal; another `reads`; "x0" where a step begins at no noise.
    """
    check_times(times)
    if times[0] > times[-1]:
        raise InputError(f"times go from {float(times[0]):g} down; an inversion goes from a clip to noise, turn them")
    if refinements < 0:
        raise InputError(f"refinements is {refinements}; it must be at least 0")
    if reads not in KINDS:
        raise InputError(f"reads is {reads!r}; it must be one of {', '.join(KINDS)}")
    times = times.cpu()
    alphas, sigmas = schedule.alpha_sigma(times.double())
    if reads == "x0" and sigmas[0] == 0:
        raise InputError("reads is 'x0', which says nothing of the noise where there is none; use v or eps")
    angles, sizes = torch.atan2(sigmas, alphas), torch.hypot(alphas, sigmas)
    if refinements and bool((angles.diff().cos() < _LEAST).any()):
        raise InputError(
            f"refinements is {refinements}, and a step goes from the clip to noise alone, which has nothing of it to "
            "correct; take more steps, or no refinement"
        )
    numbers: Iterable[int] = range(len(times) - 1)
    for i in numbers if progress is None else progress(numbers):
        below = z
        t = times[i + 1].to(z.device).expand(len(z))
        seen = denoiser(z, t, conditions)
        read = Prediction.of(reads, getattr(seen, reads), z, alphas[i], sigmas[i])
        z = alphas[i + 1] * read.x0 + sigmas[i + 1] * read.eps
        gain = sizes[i + 1] / sizes[i] / (angles[i + 1] - angles[i]).cos()
        for _ in range(refinements):
            seen = denoiser(z, t, conditions)
            z = z + gain * (below - alphas[i] * seen.x0 - sigmas[i] * seen.eps)
        if on_state is not None:
            z = on_state(z, times[i + 1])
    return z
