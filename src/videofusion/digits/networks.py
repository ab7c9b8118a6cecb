"""The judge's two small networks; both are trained on rendered clips only."""

from __future__ import annotations

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn

from videofusion.digits.spec import COLOURS, DIRECTIONS, SPEEDS
from videofusion.evaluation.extractors.blocks import conv

CROP = 20  # side of the ink that `DigitNetwork` sees, in pixels of a canvas of 32
FEATURES = 64  # of either network

# What `ClipNetwork` is asked of a frame and of a clip; a number of logits for each.
FRAME_TASKS = {"digit": 10, "colour": len(COLOURS), "blur": 1, "noise": 1}
CLIP_TASKS = {"direction": len(DIRECTIONS), "speed": len(SPEEDS), "jitter": 1, "shuffle": 1, "freeze": 1, "cut": 1}


class DigitNetwork(nn.Module):
    """Which digit a crop of ink shows; knows neither colour nor background nor place."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *conv(1, 24),
            *conv(24, 32, 2),
            *conv(32, 48),
            *conv(48, 64, 2),
            nn.Flatten(),
            nn.Linear(64 * (CROP // 4) ** 2, FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, 10)

    def forward(self, ink: Float[Tensor, "n s s"]) -> tuple[Float[Tensor, "n 10"], Float[Tensor, "n f"]]:
        """Logits of the ten digits, and the features before them."""
        features = self.body(ink[:, None])
        return self.head(features), features


class ClipNetwork(nn.Module):
    """What a clip shows and what is wrong with it: its features are the validation measure's.

    A frame's features know nothing of the other frames. A clip's see the frames' features minus
    their mean over time only: what moves and changes, not what is there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frame = nn.Sequential(
            *conv(3, 24, 2),
            *conv(24, 48, 2),
            *conv(48, 64, 2),
            nn.Flatten(),
            nn.Linear(64 * 16, FEATURES),
        )
        self.time = nn.Sequential(
            nn.Conv1d(FEATURES, 64, 3, 1, 1),
            nn.ReLU(),
            nn.Conv1d(64, 64, 3, 1, 1),
            nn.ReLU(),
            nn.Conv1d(64, 64, 3, 1, 1),
            nn.ReLU(),
        )
        self.whole = nn.Linear(128, FEATURES)
        self.frame_head = nn.Linear(FEATURES, sum(FRAME_TASKS.values()))
        self.clip_head = nn.Linear(FEATURES, sum(CLIP_TASKS.values()))

    def forward(self, clips: Float[Tensor, "b t 3 h w"]) -> tuple[Float[Tensor, "b t f"], Float[Tensor, "b f"]]:
        """Features of the frames and of the clips, from 32x32 pixels in [-1, 1]."""
        frames = self.frame(rearrange(clips, "b t c h w -> (b t) c h w"))
        frames = rearrange(frames, "(b t) f -> b t f", t=clips.shape[1])
        changes = frames - reduce(frames, "b t f -> b 1 f", "mean")
        course = self.time(rearrange(changes, "b t f -> b f t"))
        # The mean tells the course, the maximum a single break in it.
        clip = self.whole(torch.cat([course.mean(-1), course.amax(-1)], -1))
        return frames, clip

    def answers(self, frames: Tensor, clip: Tensor) -> dict[str, Tensor]:
        """Logits for each task: [b t n] for those of `FRAME_TASKS`, [b n] for those of `CLIP_TASKS`."""
        of_frames = self.frame_head(frames.relu()).split(list(FRAME_TASKS.values()), -1)
        of_clips = self.clip_head(clip.relu()).split(list(CLIP_TASKS.values()), -1)
        return dict(zip([*FRAME_TASKS, *CLIP_TASKS], [*of_frames, *of_clips], strict=True))
