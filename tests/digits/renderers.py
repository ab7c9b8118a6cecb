"""Models that are none: one draws real clips of its prompts, the others fail in ways that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from videofusion.digits.moving_digits import MovingDigits, parse, render
from videofusion.digits.spec import COLOURS, DIRECTIONS, SPEEDS, DigitClipSpec, DigitObject


class Renderer:
    """Draws what a prompt says; where it says nothing, content and motion come from the two seeds."""

    config = SimpleNamespace(frames=16, height=32, width=32)

    def __init__(self, change: Callable[[DigitObject], DigitObject] = lambda thing: thing, **data: Any) -> None:
        self.change, self.data = change, {"split": "test", "two_digits": 0.0, **data}

    def __call__(
        self,
        prompt: Sequence[str],
        *,
        seed: Sequence[int],
        motion_seed: Sequence[int] | None = None,
        motion: float | None = None,
        **_: object,
    ) -> Tensor:
        specs = [self._spec(*each) for each in zip(prompt, seed, motion_seed or seed, strict=True)]
        clips = render(specs, 16, 32)
        if motion is not None:  # a slower course around the middle frame
            steps = (8 + (torch.arange(16) - 8) * motion).round().long()
            clips = clips[:, steps]
        return clips

    def _spec(self, prompt: str, seed: int, motion_seed: int) -> DigitClipSpec:
        content = MovingDigits(**self.data).specs([seed % 100_000], seed=seed // 100_000)[0]
        rng = np.random.default_rng(motion_seed)
        drawn = []
        for said in parse(prompt):
            digit = content.objects[0].digit if said.digit is None else said.digit
            found = MovingDigits(**self.data).specs(range(seed % 1000, seed % 1000 + 80), seed=seed // 1000)
            first = next(s.objects[0] for s in found if s.objects[0].digit == digit)
            thing = replace(
                first,
                colour=said.colour or first.colour,
                direction=said.direction or list(DIRECTIONS)[rng.integers(8)],
                speed=said.speed or list(SPEEDS)[rng.integers(2)],
            )
            start = tuple(_free(rng.random(), step) for step in thing.velocity)
            drawn.append(self.change(replace(thing, start=start)))
        return replace(content, objects=tuple(drawn), caption=prompt)


def _free(place: float, step: float) -> float:
    """A start from which the first half meets no wall."""
    room = max(1 - abs(8 * step), 0.0)
    return place * room if step >= 0 else 1 - place * room


@pytest.fixture
def perfect() -> Renderer:
    return Renderer()


@pytest.fixture
def colour_blind() -> Renderer:
    names = list(COLOURS)
    return Renderer(lambda thing: replace(thing, colour=names[(names.index(thing.colour) + 1) % len(names)]))


@pytest.fixture
def copying() -> Renderer:
    return Renderer(split="train")


@pytest.fixture
def perfect_over_photos() -> Renderer:
    return Renderer(grounds="photos")
