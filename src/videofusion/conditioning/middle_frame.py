"""The clean middle frame, which the others are made around; at sampling an image model makes it first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from videofusion.conditioning.condition import Condition, Request, Step
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.denoiser import Denoiser
from videofusion.diffusion.noise import Keys, base_frame
from videofusion.diffusion.prediction import expand
from videofusion.keys import Stream, normal, uniform

MIDDLE_NOISE = 0.15  # most noise that a training step adds to the frame: the one at sampling is not perfect


class MiddleFrame(Condition):
    """The middle frame, in training with noise whose amount is a condition too.

    Args:
        image_model: makes it at sampling; called when it is needed.
    """

    name, kind = "middle_frame", "none"

    def __init__(self, image_model: Callable[[], Denoiser]) -> None:
        self.image_model = image_model

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        middle = base_frame(batch.clip.shape[1])
        frame = batch.clip[:, middle : middle + 1]
        deviation = MIDDLE_NOISE * uniform(keys.content, Stream.MIDDLE_AMOUNT, step.number).to(frame)
        noise = normal(keys.content, Stream.MIDDLE_FRAME, step.number, [0], frame.shape[2:], frame.device).to(frame)
        return Conditions(middle_frame=frame + expand(deviation, frame) * noise, middle_noise=deviation)

    def sample(self, value: Any, request: Request) -> Conditions:
        at = base_frame(request.shape[1])
        middle, part = (None, None) if request.known is None else (request.known.one(at), request.known.part(at))
        if middle is None:
            assert request.draw is not None  # as a pipeline has it
            alone = replace(request.told, share=torch.ones(request.shape[0], 1))
            middle = request.draw(self.image_model(), 1, alone, part)
        return Conditions(middle_frame=middle)
