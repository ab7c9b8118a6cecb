"""The judge of moving digits as a feature network; its weights are in the package."""

from __future__ import annotations

import copy

from einops import rearrange
from torch import Tensor

from videofusion.digits.judge import WEIGHTS, Judge
from videofusion.digits.tracker import canonical
from videofusion.evaluation.extractors.network_extractor import NetworkExtractor
from videofusion.evaluation.record import checksum


class DigitsExtractor(NetworkExtractor):
    """The judge's `ClipNetwork`, trained on moving digits; square clips of 32 pixels or more.

    `course` is a row for each clip, of what changes over time; `frames` a row for each frame, clip after clip.
    """

    layers = ("course", "frames")
    min_frames = 2

    @classmethod
    def load(cls, name: str = "digits") -> DigitsExtractor:
        """The one with the package's weights."""
        network = copy.deepcopy(Judge.load().clips)  # the judge's own, which others use, stays where it is
        return cls(network, name=name, checksum=checksum(WEIGHTS), batch=64)

    def _forward(self, clips: Tensor) -> dict[str, Tensor]:
        frames, course = self.network(canonical(clips))
        return {"course": course, "frames": rearrange(frames, "b t f -> (b t) f")}
