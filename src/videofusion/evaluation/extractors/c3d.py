"""C3D, the network of the video Inception Score.

Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", 2015.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

FRAMES, SIZE = 16, 112
# Mean of the Sports-1M clips that C3D was trained on: blue green red, of 0 to 255 (pfnet-research/tgan2).
CHANNEL_MEAN = (90.25164795, 97.65701294, 101.4083252)

_CONVS = {
    "1a": (3, 1),
    "2a": (1, 2),
    "3a": (2, 4),
    "3b": (4, 4),
    "4a": (4, 8),
    "4b": (8, 8),
    "5a": (8, 8),
    "5b": (8, 8),
}
_POOLED = ("1a", "2a", "3b", "4b", "5b")  # convolutions with a pooling after them


class C3D(nn.Module):
    """C3D 1.0: clips of exactly 16 frames of 112x112 pixels.

    Args:
        classes: logits; 101 for UCF101, 487 for Sports-1M.
        width: channels of the first convolution; all others are multiples of it. 64 in the paper.
        centred: pad the last pooling on all sides, as the Sports-1M port DavideA/c3d-pytorch does. The original in
            Caffe, and so the UCF101 weights that Inception scores are made with, pads its end only.
    """

    def __init__(self, classes: int = 101, *, width: int = 64, centred: bool = False) -> None:
        super().__init__()
        self.centred = centred
        for name, (ins, outs) in _CONVS.items():
            setattr(self, f"conv{name}", nn.Conv3d(3 if name == "1a" else ins * width, outs * width, 3, padding=1))
        self.fc6 = nn.Linear(8 * width * 4 * 4, 64 * width)
        self.fc7 = nn.Linear(64 * width, 64 * width)
        self.fc8 = nn.Linear(64 * width, classes)
        # The mean of the training clips is taken off each pixel of each frame, so it belongs to the weights.
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(3, FRAMES, SIZE, SIZE))

    def forward(self, x: Float[Tensor, "b 3 16 112 112"]) -> dict[str, Tensor]:
        """fc7 and fc6 [b 4096], after their ReLU, and logits [b classes] of BGR from 0 to 255."""
        x = x - self.mean
        for name in _CONVS:
            x = F.relu(getattr(self, f"conv{name}")(x), inplace=True)
            if name in _POOLED:
                kernel = (1, 2, 2) if name == "1a" else (2, 2, 2)
                last = name == "5b"  # 7x7 places, the only odd size
                pad = (0, 1, 1) if last and self.centred else 0
                x = F.max_pool3d(x, kernel, kernel, pad, ceil_mode=last and not self.centred)
        fc6 = F.relu(self.fc6(x.flatten(1)))
        fc7 = F.relu(self.fc7(fc6))
        return {"fc7": fc7, "fc6": fc6, "logits": self.fc8(fc7)}


def public_name(name: str) -> str:
    """What DavideA/c3d-pytorch calls a weight of `C3D`; pfnet-research/tgan2 has the paper's names, as we do."""
    return name.replace("conv1a", "conv1").replace("conv2a", "conv2")
