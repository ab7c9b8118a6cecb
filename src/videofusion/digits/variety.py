"""Whether a model's clips vary as much as real ones, and differ from its training clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot
from tqdm import tqdm

from videofusion.digits.judge import Findings, Judge, course
from videofusion.digits.moving_digits import MovingDigits, render
from videofusion.digits.protocol import CHUNK
from videofusion.digits.spec import DigitClipSpec
from videofusion.digits.tracker import COLOUR_NAMES, SIZE, canonical

TRAIN_SEED = 7  # of the training clips that clips are compared with


@dataclass(frozen=True, kw_only=True)
class Space:
    """The space in which distances between clips are measured: form of the digit, course and colour.

    Form and course are divided by their root mean square over real clips, so that they weigh the same.
    """

    shape_scale: float
    course_scale: float

    @staticmethod
    def of(real: Findings) -> Space:
        """The space whose scales are those of real clips with one digit."""

        def rms(x: Tensor) -> float:
            return float((x - x.mean(0)).square().sum(-1).mean().sqrt())

        return Space(shape_scale=rms(real.shape[:, 0]), course_scale=rms(course(real)[:, 0]))

    def place(self, findings: Findings) -> Float[Tensor, "b d"]:
        """Where clips lie, by their first digit."""
        colour = one_hot(findings.tracks.colour[:, 0], len(COLOUR_NAMES)).float()
        return torch.cat(
            [findings.shape[:, 0] / self.shape_scale, course(findings)[:, 0] / self.course_scale, colour], -1
        )


class Nearest:
    """Distances of clips to the nearest of many training clips, in pixels and in a `Space`.

    Args:
        judge: what looks at the training clips.
        space: where distances are measured.
        count: number of training clips.
        frames: of each clip.
    """

    def __init__(self, judge: Judge, space: Space, count: int, frames: int) -> None:
        self.judge, self.space, self.frames = judge, space, frames
        digits = MovingDigits(frames, SIZE, "train", 0.0, grounds=judge.grounds)
        self.specs: list[DigitClipSpec] = digits.specs(range(count), seed=TRAIN_SEED)

    def __call__(self, groups: Sequence[tuple[Tensor, Findings]]) -> list[dict[str, np.ndarray]]:
        """For each group of clips with their findings: distances in "features" and in "pixels" [b].

        In pixels it is the root mean square difference, of values in [-1, 1].
        """
        pixels = [canonical(clips).flatten(1) for clips, _ in groups]
        places = [self.space.place(findings) for _, findings in groups]
        best = [{name: torch.full((len(p),), torch.inf) for name in ("features", "pixels")} for p in places]
        for start in tqdm(range(0, len(self.specs), CHUNK), desc="training clips", unit="batch", leave=False):
            clips = render(self.specs[start : start + CHUNK], self.frames, SIZE)
            place = self.space.place(self.judge.look(clips))
            for group, mine, where in zip(best, pixels, places, strict=True):
                rms = torch.cdist(mine, clips.flatten(1)) / mine.shape[1] ** 0.5
                group["pixels"] = torch.minimum(group["pixels"], rms.amin(1))
                group["features"] = torch.minimum(group["features"], torch.cdist(where, place).amin(1))
        return [{name: values.numpy() for name, values in group.items()} for group in best]
