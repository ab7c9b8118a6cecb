"""The feature network for any clips that ships with the package: no file is needed, and no number is published."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor

from videofusion.evaluation.extractors.embedded_network import LEAST_FRAMES, WEIGHTS, load_network
from videofusion.evaluation.extractors.network_extractor import NetworkExtractor
from videofusion.evaluation.record import checksum


class EmbeddedExtractor(NetworkExtractor):
    """`EmbeddedNetwork` on clips of any size, whole frames squashed to its own.

    `motion` is a row for each clip, of what changes over time; `frames` a row for each frame, clip after clip.
    """

    layers = ("motion", "frames")
    min_frames = LEAST_FRAMES

    @classmethod
    def load(cls, name: str = "embedded") -> EmbeddedExtractor:
        """The one with the package's weights."""
        return cls(load_network(), name=name, checksum=checksum(WEIGHTS), batch=32)

    def _forward(self, clips: Tensor) -> dict[str, Tensor]:
        frames, motion = self.network(clips)
        return {"motion": motion, "frames": rearrange(frames, "b t f -> (b t) f")}
