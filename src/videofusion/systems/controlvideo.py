"""ControlVideo (Zhang et al. 2023): a clip's structure in new clothes, by an image model and its ControlNets.

Every frame attends to all frames, all begin from one noise (as in the published code), an interleaved-frame smoother
takes flicker away on the way, and long clips are made by their key frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.hierarchical import Hierarchical
from videofusion.diffusion.known import Known
from videofusion.diffusion.noise import DecomposedNoise, NoiseSource
from videofusion.diffusion.prediction import Prediction
from videofusion.diffusion.samplers.loop import OnPrediction
from videofusion.diffusion.smoother import InterleavedSmoother, Interpolate, halfway
from videofusion.errors import InputError
from videofusion.systems.prepared import Prepared
from videofusion.systems.training_free import TrainingFreePipeline


class ControlVideoPipeline(TrainingFreePipeline):
    """Text and structure to video; see `prepare`."""

    temporal: ClassVar[str] = "controlvideo"
    guidance: ClassVar[float] = 12.5

    def noise_source(self) -> NoiseSource:
        return DecomposedNoise(1.0)

    def windowed(self, denoiser: Denoiser, window: int) -> Denoiser:
        return Hierarchical(denoiser, window)

    @torch.no_grad()
    def prepare(
        self,
        prompt: str | Sequence[str],
        *,
        smooth: bool = True,
        smooth_steps: Sequence[int] | None = None,
        interpolate: Interpolate = halfway,
        **asked: Any,
    ) -> Prepared:
        """Check what is asked for, and bring together what makes it.

        Args:
            prompt: a text, or one for each clip.
            smooth: whether frames are smoothed at some steps.
            smooth_steps: numbers of these; those of `InterleavedSmoother` by default.
            interpolate: makes the frames between two others, pixels in [-1, 1] [n 3 h w]; `along_flow` is another one.
            asked: as in `TrainingFreePipeline.prepare`.

        Raises:
            InputError: anything outside what is said above; no ControlNet, without which all frames would be one.
        """
        if not self.controls and asked.get("beginning") is None:
            raise InputError(
                "system is 'controlvideo', which makes clips of a structure, but the model has no ControlNet; name "
                "one or more with controlnet (--controlnet FOLDER)"
            )
        prepared = super().prepare(prompt, **asked)
        if not smooth:
            return prepared
        smoother = InterleavedSmoother(
            prepared.times,
            smooth_steps,
            interpolate=interpolate,
            decode=self.space.decode,
            encode=self.space.encode,
        )
        return replace(prepared, sampler=partial(_smoothed, prepared.sampler, smoother, prepared.known))


def _smoothed(
    sampler: Callable[..., Tensor],
    smoother: OnPrediction,
    known: Known | None,
    *given: Any,
    on_prediction: OnPrediction | None = None,
    **how: Any,
) -> Tensor:
    """A sampler whose predictions are smoothed, but for what is given, before the caller's own hook sees them."""

    def hook(prediction: Prediction, t: Tensor) -> Prediction:
        prediction = smoother(prediction, t)
        if known is not None:
            prediction = replace(prediction, x0=known.put(prediction.x0))
        return prediction if on_prediction is None else on_prediction(prediction, t)

    return sampler(*given, on_prediction=hook, **how)
