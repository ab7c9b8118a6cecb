"""Longer videos: clips extended window after window, each from the last frames so far."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from videofusion.clip.check import check_clip
from videofusion.diffusion.known import Known
from videofusion.errors import InputError
from videofusion.systems.pipeline import VideoPipeline
from videofusion.systems.prepared import Hooks
from videofusion.systems.request import LARGEST

Window = Callable[[int, int], None]


def generate(
    pipe: VideoPipeline,
    prompt: str | Sequence[str],
    *,
    frames: int | None = None,
    output: str = "clip",
    **sampling: Any,
) -> Tensor:
    """Clips of any length: those longer than the model's own extend its first one, as `extend` does.

    Args:
        pipe: the model.
        prompt: what it shows, or one for each clip.
        frames: of a clip; the model's own number by default.
        output: "clip", or "latent" for what the model's `decode` makes clips of.
        sampling: what else the model takes; not `known` or `start` where the clip is longer than its own.

    Returns:
        [frames c h w], or [b frames c h w] with a list of prompts.

    Raises:
        InputError: more than 4096 frames, or what the model refuses.
    """
    length = int(pipe.config.frames)
    if frames is None or frames <= length or length == 1 or pipe.any_length:
        return pipe(prompt, frames=frames, output=output, **sampling)
    if frames > LARGEST:
        raise InputError(f"frames is {frames}; at most {LARGEST} are made at once; extend continues from there")
    if output not in ("clip", "latent"):
        raise InputError(f'output is {output!r}; it must be "clip" or "latent"')
    overlap = check_windows(pipe, length, frames)
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    first = pipe(prompts, output="latent", **sampling)
    beyond = {name: value for name, value in sampling.items() if name not in ("height", "width")}  # as the first has
    new = windows(pipe, first[:, -overlap:], prompts, had=length, frames=frames, **beyond)
    made = torch.cat([first, *new], dim=1)
    made = made[0] if isinstance(prompt, str) else made
    return made if output == "latent" else pipe.decode(made)


def extend(
    pipe: VideoPipeline,
    clip: Tensor,
    prompt: str | Sequence[str],
    *,
    frames: int,
    overlap: int | None = None,
    weight: float = 0.0,
    output: str = "clip",
    on_window: Window | None = None,
    **sampling: Any,
) -> Tensor:
    """Extend a clip.

    Every window has as many frames as the model's clips. Its first ones are the last of what there is, noised on the
    way; only the others are new. Base noise is the same in all windows, residual noise goes by a frame's number in the
    whole (VideoFusion, sec. 4.6): so a video does not depend on where it was interrupted.

    Args:
        pipe: the model.
        clip: [t c h w] in [-1, 1], or [b t c h w] with a list of prompts; at least `overlap` frames, of a height and
            width that the model takes.
        prompt: what it shows; one for each clip.
        frames: of the whole, more than the clip has.
        overlap: frames of a window that are given, from 1 to its length less 1; half a window and one more by default
            (of Video LDM those that it was trained with), and at least that for the variant "image-first", whose middle
            frame must be given.
        weight: of reconstruction guidance, see `Known`.
        output: "clip", or "latent" for what the model's `decode` makes clips of, the given frames among them.
        on_window: called before each window with its number, from 0, and how many there are.
        sampling: seed, motion_seed, steps, sampler, sampler_options, guidance, motion, fps and progress, as the model
            takes them.

    Returns:
        [frames c h w], or with b, the given frames first; in pixels these are the very ones that were given.

    Raises:
        InputError: anything outside what is said above.
    """
    one = isinstance(prompt, str)
    clip = check_clip(clip, axes="t c h w" if one else "b t c h w")
    clips = clip[None] if one else clip
    had = clips.shape[1]
    overlap = check_windows(pipe, had, frames, overlap)
    if output not in ("clip", "latent"):
        raise InputError(f'output is {output!r}; it must be "clip" or "latent"')
    new = torch.cat(
        list(
            windows(
                pipe,
                pipe.space.encode(clips[:, -overlap:].to(pipe.where).float()),
                prompt,
                had=had,
                frames=frames,
                weight=weight,
                on_window=on_window,
                **sampling,
            )
        ),
        dim=1,
    )
    if output == "clip":
        made = torch.cat([clips, pipe.decode(new).to(clips)], dim=1)
    else:
        made = torch.cat([pipe.space.encode(clips.to(new.device).float()), new], dim=1)
    return made[0] if one else made


def windows(
    pipe: VideoPipeline,
    last: Tensor,
    prompt: str | Sequence[str],
    *,
    had: int,
    frames: int,
    weight: float = 0.0,
    on_window: Window | None = None,
    **sampling: Any,
) -> Iterator[Tensor]:
    """Make what follows a clip of any length, window by window; no more of it is held than a window is given.

    Args:
        pipe: the model.
        last: [b t c h w], as many of the clip's last frames as each window is given (`check_windows`), where the model
            makes them: its latents, or pixels in [-1, 1].
        prompt: as for `extend`.
        had: frames of the whole clip.
        frames: as for `extend`, and so are the others.
        weight: of reconstruction guidance.
        on_window: called before each window.
        sampling: as the model takes it.

    Yields:
        The new frames of each window [b n c h/f w/f], for the model's `decode`.
    """
    hooks = Hooks(progress=sampling.pop("progress", None))
    length, overlap = int(pipe.config.frames), last.shape[1]
    height, width = (side * pipe.space.factor for side in last.shape[-2:])
    size: dict[str, Any] = {"frames": length, "height": height, "width": width}
    prompts = [prompt] if isinstance(prompt, str) else prompt
    given = last
    count = -(-(frames - had) // (length - overlap))
    for number in range(count):
        if on_window is not None:
            on_window(number, count)
        known = Known(given, range(overlap), weight, latent=True)
        made = pipe.run(
            pipe.prepare(prompts, known=known, start=had - overlap, hooks=hooks, **size, **sampling), hooks=hooks
        )
        new = made[:, overlap:].to(given)
        given = torch.cat([given, new], dim=1)[:, -overlap:]
        yield new[:, : frames - had]
        had += new.shape[1]


def check_windows(pipe: VideoPipeline, had: int, frames: int, overlap: int | None = None) -> int:
    """Return how many frames each window is given, for a clip of `had` frames that is to have `frames`.

    Raises:
        InputError: the clip is too short, or what is asked for is not possible with this model.
    """
    length = int(pipe.config.frames)
    overlap = pipe.overlap if overlap is None else overlap
    if not 1 <= overlap < length:
        raise InputError(f"overlap is {overlap}; this model's clips have {length} frames, it must be 1 to {length - 1}")
    if had < overlap:
        raise InputError(f"clip has {had} frames; {overlap} are needed to continue from (overlap)")
    if frames <= had:
        raise InputError(f"frames is {frames}; the clip has {had}, it must be more")
    pipe.check_known(range(overlap), length)
    last = had + -(-(frames - had) // (length - overlap)) * (length - overlap) - 1
    pipe.noise_source().covariance(frames=[last])  # refuses what its noise does not reach
    return overlap
