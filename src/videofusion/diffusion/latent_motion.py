"""Text2Video-Zero (Khachatryan et al. 2023): an image model makes clips, by motion put into its latents.

The first frame is sampled from T to T' < T; the others begin as that latent, moved a little further in each frame, and
noised again from T' to T. From there all frames are sampled together by a denoiser whose frames attend to the first one
(a reach of the image network's spatial attention, not of what is here). All functions take latents or pixels alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.editing import Start
from videofusion.diffusion.samplers.ddim import ddim
from videofusion.diffusion.samplers.loop import StepNoise, check_times
from videofusion.diffusion.schedules import Discrete, Schedule
from videofusion.errors import InputError

FIELD = 512  # pixels of a side of the field on which the published code defines motion; latents of any size are moved
MOTION = (12 / FIELD, 12 / FIELD)  # of a frame, in the published code: to the left and upwards
STEPS = 50  # of its grid, where it goes from step 2 (T) to step 5 (T')
FIRST, SECOND = 2, 5
BACKGROUND = 0.6  # how much of a background is the moved first frame's


def warp(clip: Tensor, shift: Tensor) -> Tensor:
    """Move frames: each shows what stands `shift` further right and down, the nearest pixels, mirrored at the edges.

    Args:
        clip: [b t c h w].
        shift: of each frame, in parts of its width and of its height, [t 2].

    Returns:
        [b t c h w].

    Raises:
        InputError: as many shifts as frames are needed.
    """
    b, t, _, h, w = clip.shape
    if tuple(shift.shape) != (t, 2):
        raise InputError(f"shift has the shape {tuple(shift.shape)}; it must be {t}x2, x and y of each frame")
    # half a pixel of the field off the middle of a place: that is how the field is laid out, and it decides ties
    x, y = (
        2 * ((torch.arange(n, device=clip.device) + 0.5) / n - 0.5 / FIELD + by[:, None].to(clip.device)) - 1
        for n, by in ((w, shift[:, 0]), (h, shift[:, 1]))
    )
    grid = torch.stack([x[:, None, :].expand(t, h, w), y[:, :, None].expand(t, h, w)], dim=-1).to(clip)
    moved = grid_sample(
        clip.flatten(0, 1), grid.repeat(b, 1, 1, 1), mode="nearest", padding_mode="reflection", align_corners=False
    )
    return moved.unflatten(0, (b, t))


def motion_shifts(frames: Sequence[int], motion: tuple[float, float] = MOTION) -> Tensor:
    """Global translation δ^k = k δ of frames [t 2], for `warp` (sec. 3.3.1).

    Args:
        frames: their numbers k; 0 for the first frame of the video, which is not moved.
        motion: δ, in parts of a frame's width and height.
    """
    return torch.tensor([[k * motion[0], k * motion[1]] for k in frames], dtype=torch.float64)


def renoise(
    z: Tensor, eps: Tensor, schedule: Schedule, below: Tensor, above: Tensor, *, published: bool = False
) -> Tensor:
    """Noise a clip again, from T' to T, by the forward process q(z_T | z_T') (Text2Video-Zero, sec. 3.3.1).

    Args:
        z: at T' [b t c h w].
        eps: fresh noise, of z's shape.
        schedule: of the denoiser.
        below: T', a time in [0, 1].
        above: T, likewise and later.
        published: as the published code and diffusers do it: the product of one minus beta over steps T' to T - 1, one
            training step early; for schedules with training steps.

    Raises:
        InputError: T before T'; `published` with another schedule.
    """
    if not 0 <= float(below) <= float(above) <= 1:
        raise InputError(
            f"times are {float(below):g} and {float(above):g}; noise is added from an earlier to a later one"
        )
    stops = torch.stack([below, above]).double()
    if published:
        if not isinstance(schedule, Discrete):
            raise InputError("published is True, which is for schedules with training steps, such as 'scaled_linear'")
        stops = (stops - 1 / schedule.steps).clamp_min(0)
    alpha, sigma = schedule.alpha_sigma(stops)
    ratio = alpha[1] / alpha[0]
    return ratio * z + (sigma[1] ** 2 - (ratio * sigma[0]) ** 2).clamp_min(0).sqrt() * eps


def noise_after(noise: StepNoise, steps: int) -> StepNoise:
    """The noise of the steps that follow so many others: what those have drawn is not drawn again."""
    return lambda step: noise(step + 2 * steps)  # no sampler draws more than twice a step


def moving_start(
    denoiser: Denoiser,
    first: Tensor,
    times: Tensor,
    eps: Tensor,
    *,
    schedule: Schedule,
    conditions: Conditions,
    motion: tuple[float, float] = MOTION,
    frames: Sequence[int] | None = None,
    steps: tuple[int, int] = (FIRST, SECOND),
    published: bool = False,
    sampler: Callable[..., Tensor] = ddim,
    noise: StepNoise | None = None,
    **rest: Any,
) -> Start:
    """Latents of all frames at T, with motion in them (Text2Video-Zero, algorithm 1).

    Args:
        denoiser: of an image model; with its guidance.
        first: noise of the first frame at times[0], [b 1 c h w].
        times: of the whole sampling, [steps + 1], decreasing.
        eps: noise of the other frames, [b t-1 c h w].
        schedule: of the denoiser.
        conditions: of the clips with all frames.
        motion: from each frame to the next, in parts of a frame's width and height.
        frames: numbers of all frames in a video that is made in parts; 0 ... t-1 when not given. The first one is
            where nothing has moved, whatever its number.
        steps: numbers of the times T and T' are, T first; equal for none of the noise.
        published: see `renoise`.
        sampler: takes the first frame there.
        noise: of all frames, step to [b t c h w], for samplers that inject some; from T on it is `noise_after` that.
        rest: what else the sampler takes.

    Raises:
        InputError: noise of another shape, steps that are none of the times', as many numbers as frames.
    """
    check_times(times)
    numbers = list(range(eps.shape[1] + 1)) if frames is None else list(frames)
    b, _, *sizes = first.shape
    if first.shape[1] != 1 or tuple(eps.shape) != (b, len(numbers) - 1, *sizes):
        raise InputError(
            f"noise of the first frame and of the others have the shapes {tuple(first.shape)} and {tuple(eps.shape)}; "
            f"they must be b 1 c h w and b {len(numbers) - 1} c h w"
        )
    at, further = steps
    if not 0 <= at <= further < len(times) - 1:
        raise InputError(f"steps are {at} and {further}; they must be in order, from 0 to {len(times) - 2}")
    alone = conditions.window(0, 1)

    def go(z: Tensor, start: int, stop: int) -> Tensor:
        if start == stop:
            return z
        own = None if noise is None else noise_after(lambda step: noise(step)[:, :1], start)
        return sampler(denoiser, z, times[start : stop + 1], schedule=schedule, conditions=alone, noise=own, **rest)

    at_T = go(first, 0, at)
    at_T1 = go(at_T, at, further)
    moved = warp(at_T1.expand(-1, len(numbers) - 1, -1, -1, -1), motion_shifts(numbers[1:], motion))
    others = renoise(moved, eps.to(moved), schedule, times[further], times[at], published=published)
    return Start(torch.cat([at_T, others.to(at_T)], dim=1), times[at:])


def smooth_background(
    z: Tensor,
    foreground: Tensor,
    *,
    motion: tuple[float, float] = MOTION,
    frames: Sequence[int] | None = None,
    weight: float = BACKGROUND,
    published: bool = False,
) -> Tensor:
    """Have the background follow the first frame's (Text2Video-Zero, sec. 3.3.3).

    x̄^k = M^k x^k + (1 - M^k) (a x̂^k + (1 - a) x^k), where x̂^k is the first frame's latent, moved as frame k is. It is
    done at T, and all frames are sampled once more from there.

    Args:
        z: latents of all frames [b t c h w].
        foreground: M, [t 1 h w] or [b t 1 h w], 1 where something stands out: of a segmentation model, or the user's.
        motion: as of `moving_start`.
        frames: likewise.
        weight: a, in [0, 1].
        published: as the published code does it: where the first frame's foreground is moved to is no background, and
            that foreground is blotted out.

    Raises:
        InputError: a mask of another size, a weight outside [0, 1].
    """
    t, (h, w) = z.shape[1], z.shape[-2:]
    if not 0 <= weight <= 1:
        raise InputError(f"weight is {weight}; it must lie in [0, 1]")
    if foreground.ndim not in (4, 5) or tuple(foreground.shape[-4:]) != (t, 1, h, w):
        raise InputError(f"foreground has the shape {tuple(foreground.shape)}; it must be {t}x1x{h}x{w} (t 1 h w)")
    mask = foreground.to(z).expand(len(z), -1, -1, -1, -1)
    shift = motion_shifts(list(range(t)) if frames is None else frames, motion)
    shift[0] = 0
    first = z[:, :1]
    background = 1 - mask
    if published:
        first = first * (1 - mask[:, :1])
        background = background * (1 - warp(mask[:, :1].expand_as(mask), shift))
    followed = warp(first.expand_as(z), shift)
    return torch.lerp(z, followed, weight * background)


def moving_steps(count: int) -> tuple[int, int]:
    """Numbers of T and T' among so many steps: as far on as the published ones are, and two where there are two."""
    at, further = (round(step * count / STEPS) for step in (FIRST, SECOND))
    at = max(0, min(at, count - 2))
    return at, min(max(further, at + 1), count - 1)


def sampled_twice(
    sampler: Callable[..., Tensor],
    foreground: Callable[[Tensor], Tensor],
    denoiser: Denoiser,
    z: Tensor,
    times: Tensor,
    *,
    weight: float,
    smoothing: dict[str, Any],
    **told: Any,
) -> Tensor:
    """Sample, and once more with the background where the first frame's was moved to; see `text2video_zero`."""
    made = sampler(denoiser, z, times, **told)
    return sampler(denoiser, smooth_background(z, foreground(made), weight=weight, **smoothing), times, **told)


def text2video_zero(
    denoiser: Denoiser,
    first: Tensor,
    times: Tensor,
    eps: Tensor,
    *,
    schedule: Schedule,
    conditions: Conditions,
    foreground: Callable[[Tensor], Tensor] | None = None,
    weight: float = BACKGROUND,
    motion: tuple[float, float] = MOTION,
    frames: Sequence[int] | None = None,
    published: bool = False,
    sampler: Callable[..., Tensor] = ddim,
    steps: tuple[int, int] = (FIRST, SECOND),
    noise: StepNoise | None = None,
    **rest: Any,
) -> Tensor:
    """Text2Video-Zero from the first frame's noise to clips.

    Args:
        denoiser: of an image model whose frames attend to the first one when there are several.
        first: see `moving_start`, as are those that are not told here.
        times: of the whole sampling.
        eps: noise of the other frames.
        schedule: of the denoiser.
        conditions: of the clips with all frames.
        foreground: from clips to masks of what stands out in them, for `smooth_background`; None for no smoothing.
        weight: of smoothing.
        motion: from each frame to the next.
        frames: numbers of all frames.
        published: see `renoise` and `smooth_background`.
        sampler: `ddim` in the paper.
        steps: numbers of T and T'.
        noise: of all frames, for samplers that inject some.
        rest: what else the sampler takes.

    Returns:
        [b t c h w] at times[-1].
    """
    told: dict[str, Any] = {"schedule": schedule, "conditions": conditions}
    place: dict[str, Any] = {"motion": motion, "frames": frames, "published": published}
    start = moving_start(
        denoiser, first, times, eps, sampler=sampler, steps=steps, noise=noise, **told, **place, **rest
    )
    told["noise"] = None if noise is None else noise_after(noise, steps[0])
    if foreground is None:
        return sampler(denoiser, start.z, start.times, **told, **rest)
    return sampled_twice(
        sampler, foreground, denoiser, start.z, start.times, weight=weight, smoothing=place, **told, **rest
    )
