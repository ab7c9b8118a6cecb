"""The feature network for clips of any kind that ships with the package; `train_embedded.py` made its weights."""

from __future__ import annotations

from pathlib import Path

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from videofusion.errors import InputError
from videofusion.evaluation.extractors.blocks import conv

WEIGHTS = Path(__file__).with_name("embedded.safetensors")
SIDE = 64  # of the frames that the network sees, in pixels
FEATURES = 32  # of a frame, and of a clip's motion
LEAST_FRAMES = 8

_CELLS = 64 * 4 * 4  # what is left of a frame after the convolutions
_TRACE = 96


class EmbeddedNetwork(nn.Module):
    """What the frames of a clip show, and apart from that what changes over time.

    A frame's features know nothing of the other frames. The motion's see the frames minus their mean over time only, so
    that of a clip that stands still they are always the same. Over the training clips, each feature has the mean 0 and
    the variance 1: none of them outweighs the others in a distance.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*conv(3, 8, 2), *conv(8, 16, 2), *conv(16, 32, 2), *conv(32, 64, 2), nn.Flatten())
        self.frame = nn.Sequential(nn.Linear(_CELLS, FEATURES), _standardised())
        self.trace = nn.Linear(_CELLS, _TRACE, bias=False)
        self.time = nn.Sequential(
            *(layer for _ in range(3) for layer in (nn.Conv1d(_TRACE, _TRACE, 3, 1, 1), nn.ReLU()))
        )
        self.motion = nn.Sequential(nn.Linear(3 * _TRACE, FEATURES), _standardised())

    def forward(self, clips: Float[Tensor, "b t 3 h w"]) -> tuple[Float[Tensor, "b t f"], Float[Tensor, "b f"]]:
        """Features of the frames and of the motion.

        Args:
            clips: RGB in [-1, 1] of any size, 8 frames or more.
        """
        t = clips.shape[1]
        cells = self.body(fitted(clips))  # (b t) 1024
        frames = rearrange(self.frame(cells), "(b t) f -> b t f", t=t)
        trace = rearrange(self.trace(cells), "(b t) f -> b f t", t=t)
        course = self.time(trace - reduce(trace, "b f t -> b f 1", "mean"))
        # The mean tells the course, the maximum a single break in it, the deviation how even it is.
        spread = course.var(-1, unbiased=False).add(1e-4).sqrt()
        return frames, self.motion(torch.cat([course.mean(-1), course.amax(-1), spread], -1))


def _standardised() -> nn.Module:
    # Slowly: a batch has few clips, and what is kept is what distances are measured with.
    return nn.BatchNorm1d(FEATURES, affine=False, momentum=0.02)


def fitted(clips: Float[Tensor, "b t 3 h w"]) -> Float[Tensor, "(b t) 3 s s"]:
    """All frames, squashed to the network's size."""
    frames = rearrange(clips, "b t c h w -> (b t) c h w")
    if frames.shape[-2:] != (SIDE, SIDE):
        frames = interpolate(frames, (SIDE, SIDE), mode="bilinear", antialias=True, align_corners=False)
    return frames.contiguous(memory_format=torch.channels_last)  # much faster on a CPU


def load_network(path: Path = WEIGHTS) -> EmbeddedNetwork:
    """The network with the package's weights, or with others that `train_embedded` wrote; in evaluation mode.

    Raises:
        InputError: the file is absent or holds other weights.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = EmbeddedNetwork()
    try:
        network.load_state_dict({name: weight.float() for name, weight in load_file(path).items()})
    except (OSError, SafetensorError) as error:
        raise InputError(f"the embedded network's weights {path} cannot be read: {error}") from error
    except RuntimeError as error:
        raise InputError(f"{path} holds other weights than the embedded network's: {error}") from error
    return network.eval()
