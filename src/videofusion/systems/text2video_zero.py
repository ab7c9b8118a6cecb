"""Text2Video-Zero (Khachatryan et al. 2023): an image model makes clips of text, its frames attending to the first one.

Of text alone things move by motion put into the latents, and a background may be held by a mask. With ControlNets, or
an image model that edits pictures (InstructPix2Pix), what moves comes of a clip: then all frames begin from one noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from videofusion.conditioning.beside import PictureBeside
from videofusion.conditioning.condition import Condition
from videofusion.diffusion.chunks import InChunks
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.editing import Start
from videofusion.diffusion.latent_motion import (
    BACKGROUND,
    MOTION,
    moving_start,
    moving_steps,
    noise_after,
    sampled_twice,
)
from videofusion.diffusion.noise import DecomposedNoise, NoiseSource
from videofusion.errors import InputError
from videofusion.systems.prepared import Prepared
from videofusion.systems.training_free import TrainingFreePipeline

EDITING = {"text": 7.5, "beside": 1.5}  # guidance of InstructPix2Pix
Foreground = Tensor | Callable[[Tensor], Tensor]


class Text2VideoZeroPipeline(TrainingFreePipeline):
    """Text to video, with a clip's structure where there are ControlNets, or to an edited clip; see `prepare`."""

    temporal: ClassVar[str] = "text2video_zero"
    beside: ClassVar[tuple[tuple[str, ...], ...]] = ((), ("image",))

    @property
    def edits(self) -> bool:
        """Whether the image model edits pictures by instructions."""
        return self.unet.config.in_channels > self.unet.config.out_channels

    @property
    def conditions(self) -> Sequence[Condition]:
        return (*super().conditions, *((PictureBeside(self.space),) if self.edits else ()))

    def noise_source(self) -> NoiseSource:
        return DecomposedNoise(1.0) if self.controls or self.edits else super().noise_source()

    def windowed(self, denoiser: Denoiser, window: int) -> Denoiser:
        return InChunks(denoiser, window, first=True)

    @torch.no_grad()
    def prepare(
        self,
        prompt: str | Sequence[str],
        *,
        shift: tuple[float, float] = MOTION,
        moves: tuple[int, int] | None = None,
        foreground: Foreground | None = None,
        smoothing: float = BACKGROUND,
        published: bool = False,
        **asked: Any,
    ) -> Prepared:
        """Check what is asked for, and bring together what makes it.

        Args:
            prompt: a text, or one for each clip.
            shift: how far things move from each frame to the next, in parts of its width and height.
            moves: numbers of the steps at which frames are noised again (T) and at which motion is put into the first
                one (T'); 2 and 5 of 50 by default, in proportion.
            foreground: what is not background, 1 there and 0 elsewhere, [t 1 h w] or [b t 1 h w] in the clip's pixels
                (t may be 1), or a function from clips [b t 3 h w] in [-1, 1] to such masks; then the background
                follows the first frame's, and all frames are sampled twice.
            smoothing: how much the background does, in [0, 1].
            published: noise as the published code does, a training step too early; see `renoise`.
            asked: as in `TrainingFreePipeline.prepare`; a clip `beside` for image models that edit.

        Raises:
            InputError: anything outside what is said above.
        """
        given = [name for name in ("beginning", "known") if asked.get(name) is not None]
        still = given or self.controls or self.edits  # what moves comes of a clip
        if still and foreground is not None:
            what = given[0] if given else "the model's ControlNets" if self.controls else "an image model that edits"
            raise InputError(f"foreground is given, with {what}; it is for clips of text alone")
        if self.edits and asked.get("guidance") is None:
            asked["guidance"] = EDITING
        prepared = super().prepare(prompt, **asked)
        if still:
            return prepared
        steps = moving_steps(len(prepared.times) - 1) if moves is None else moves
        motion: dict[str, Any] = {"motion": shift, "published": published}

        def begin() -> Start:
            noise = prepared.noise(0)
            return moving_start(
                prepared.denoiser,
                noise[:, :1],
                prepared.times,
                noise[:, 1:],
                schedule=prepared.schedule,
                conditions=prepared.conditions,
                steps=steps,
                sampler=prepared.sampler,
                noise=prepared.noise,
                **motion,
            )

        moving = replace(prepared, begin=begin, noise=noise_after(prepared.noise, steps[0]))
        if foreground is None:
            return moving
        if not 0 <= smoothing <= 1:
            raise InputError(f"smoothing is {smoothing}; it must lie in [0, 1]")
        if isinstance(foreground, Tensor):
            self._foreground(foreground, prepared.noise(0))  # refuses one of another size before work
        again = partial(
            sampled_twice, prepared.sampler, partial(self._foreground, foreground), weight=smoothing, smoothing=motion
        )
        return replace(moving, sampler=again)

    def _foreground(self, given: Foreground, made: Tensor) -> Tensor:
        """Masks [b t 1 h w] where clips are made; 1 at a place any of whose pixels is in front."""
        mask = given if isinstance(given, Tensor) else given(self.decode(made))
        mask = mask[None] if mask.ndim == 4 else mask
        frames, sides = made.shape[1], [side * self.space.factor for side in made.shape[-2:]]
        if mask.ndim != 5 or mask.shape[1] not in (1, frames) or list(mask.shape[2:]) != [1, *sides]:
            raise InputError(
                f"foreground has the shape {tuple(mask.shape)}; it must be {frames}x1x{sides[0]}x{sides[1]} (t 1 h w)"
            )
        pooled = max_pool2d(mask.to(made).flatten(0, 1), self.space.factor).unflatten(0, mask.shape[:2])
        return pooled.expand(len(made), frames, -1, -1, -1)
