"""The extractor of Inception-v3, frame by frame."""

from __future__ import annotations

from torch import Tensor, nn

from videofusion.evaluation.extractors.network_extractor import NetworkExtractor
from videofusion.evaluation.extractors.preprocess import resize_clips, resize_tensorflow

SIZE = 299


class InceptionExtractor(NetworkExtractor):
    """Inception-v3 on frames.

    Args:
        tensorflow: resize and scale as the 2015 graph does, which torch-fidelity and StyleGAN follow; otherwise as
            pytorch-fid does. The same weights, other numbers.
    """

    layers = ("pool", "logits", "logits_biased")
    per_frame = True

    def __init__(
        self, network: nn.Module, *, name: str, checksum: str, batch: int = 32, tensorflow: bool = True
    ) -> None:
        super().__init__(network, name=name, checksum=checksum, batch=batch)
        self.tensorflow = tensorflow

    def _forward(self, clips: Tensor) -> dict[str, Tensor]:
        if self.tensorflow:
            frames = (resize_tensorflow((clips[:, 0] + 1) * 127.5, SIZE) - 128) / 128
        else:
            frames = resize_clips(clips, SIZE)[:, 0]
        return self.network(frames)
