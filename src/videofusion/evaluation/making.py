"""Clips that a model makes to be measured, some of them from given frames or as the end of a longer video."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from videofusion.diffusion.known import Known
from videofusion.errors import InputError
from videofusion.tasks.extend import extend

_OTHER_BASE = 2**40  # far from all seeds that are counted on from

Pipe = Callable[..., Tensor]  # a `VideoPipeline`, or what answers like one


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How clips are made.

    Args:
        steps: of the sampler.
        sampler: its name; the model's own when None.
        guidance: classifier-free guidance scale, 1 = off; the model's own when None.
        batch: clips made together.
        given: first frames of each clip that are a real clip's, from which the others follow.
        weight: of reconstruction guidance by given frames; 0 is the replacement method.
        frames: of a longer video, whose end is what counts as the clip; None for the clip itself.
        held: whether the windows of a longer video have one base noise; each its own otherwise.
    """

    steps: int = 20
    sampler: str | None = None
    guidance: float | None = None
    batch: int = 16
    given: int = 0
    weight: float = 0.0
    frames: int | None = None
    held: bool = True

    def known(self, real: Tensor) -> dict[str, Any]:
        """The known frames for a pipeline; `real` clips have them [b t c h w]."""
        return {"known": Known(real[:, : self.given], range(self.given), self.weight)} if self.given else {}


def make(
    pipe: Pipe,
    prompts: Sequence[str],
    seeds: Sequence[int],
    sampling: Sampling,
    *,
    motion_seeds: Sequence[int] | None = None,
    motion: float | None = None,
    real: Tensor | None = None,
    label: str = "",
) -> Tensor:
    """Make a clip for each prompt, in batches, with a progress bar; `b t c h w` on the CPU.

    Args:
        pipe: the model.
        prompts: b texts.
        seeds: b seeds.
        sampling: how.
        motion_seeds: b seeds of the residual noise.
        motion: the knob.
        real: clips whose first frames are given, where sampling asks for it [b t c h w].
        label: what the bar says.

    Raises:
        InputError: a video to extend is shorter than a clip.
    """
    parts = []
    with tqdm(total=len(prompts), desc=label, unit="clip", leave=False) as bar:
        for start in range(0, len(prompts), sampling.batch):
            some = slice(start, start + sampling.batch)
            own: dict[str, Any] = {} if motion_seeds is None else {"motion_seed": list(motion_seeds[some])}
            own |= {"steps": sampling.steps, "sampler": sampling.sampler, "guidance": sampling.guidance}
            own |= {} if motion is None else {"motion": motion}
            given = {} if real is None else sampling.known(real[some])
            clips = pipe(list(prompts[some]), seed=list(seeds[some]), **given, **own)
            if sampling.frames is not None:
                own |= {"motion_seed": own.get("motion_seed", list(seeds[some])), "weight": sampling.weight}
                clips = _went_on(pipe, clips, prompts[some], seeds[some], sampling.frames, sampling.held, own)
            parts.append(clips.cpu())
            bar.update(len(parts[-1]))
    return torch.cat(parts)


def _went_on(
    pipe: Pipe,
    clips: Tensor,
    prompts: Sequence[str],
    seeds: Sequence[int],
    frames: int,
    held: bool,
    own: dict[str, Any],
) -> Tensor:
    """The end, as long as a clip, of the videos of so many frames that clips are the beginning of."""
    length, base = clips.shape[1], list(seeds)
    if frames < length:
        raise InputError(f"frames is {frames}; an extended video has at least the frames of a clip, {length}")
    new = length - pipe.overlap  # type: ignore[attr-defined]
    while clips.shape[1] < frames:
        base = base if held else [seed + _OTHER_BASE for seed in base]
        longer = min(frames, clips.shape[1] + new)
        clips = extend(pipe, clips, list(prompts), frames=longer, seed=base, **own)  # type: ignore[arg-type]
    return clips[:, -length:]
