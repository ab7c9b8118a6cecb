"""Lambda from data: how much of the base frame each frame shares, and the knob that chooses it at sampling.

VideoFusion's future work ("adaptively generate lambda for each video and even each frame", limitations).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from videofusion.conditioning.condition import Condition, Request, Step
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import DecomposedNoise, Keys, base_frame
from videofusion.errors import InputError
from videofusion.keys import Stream, uniform

MOST_SHARE = 0.95  # correlation at which it is cut off: above it no noise of its own is left to carry motion


def measured_share(clip: Tensor) -> Tensor:
    """Lambda of every frame: clip(rho, 0, 0.95)², rho its correlation with the base frame over pixels; 1 at that frame.

    Args:
        clip: [b t c h w]; the mean of every frame's channels is removed first, else any two frames on a dark ground, or
            of one colour, look alike.

    Returns:
        [b t] in [0, 1].
    """
    flat = (clip - clip.mean(dim=(3, 4), keepdim=True)).flatten(2)
    middle = base_frame(clip.shape[1])
    base = flat[:, middle : middle + 1]
    power = (flat.square().sum(2) * base.square().sum(2)).sqrt().clamp_min(1e-8)
    share = ((flat * base).sum(2) / power).clamp(0, MOST_SHARE).square()
    share[:, middle] = 1.0
    return share


def share_profiles(share: Tensor, quantiles: int = 11) -> list[list[float]]:
    """Quantiles of lambda over the distance to the base frame: what the motion knob chooses from.

    Args:
        share: measured on training clips [n t].
        quantiles: evenly spaced from 0 to 1.

    Returns:
        quantiles x distances (0 ... floor(t / 2)); the first row is the freest motion, the last the stillest.
    """
    middle = base_frame(share.shape[1])
    levels = torch.linspace(0, 1, quantiles)
    columns = []
    for distance in range(middle + 1):
        at = [i for i in (middle - distance, middle + distance) if i < share.shape[1]]
        columns.append(torch.quantile(share[:, at].flatten(), levels))
    return torch.stack(columns, dim=1).tolist()


def usual_share(fixed: float | None, profiles: Sequence[Sequence[float]] | None, frames: int) -> Tensor:
    """Lambda of every frame where neither clip nor motion knob says it.

    Args:
        fixed: of all frames but the base frame, in [0, 1], the paper's choice; None for what the data have.
        profiles: of `share_profiles`; their median is taken.
        frames: of the clip.

    Returns:
        [frames], 1 at the base frame.

    Raises:
        InputError: neither is given.
    """
    if fixed is not None:
        return DecomposedNoise(fixed).shares(1, frames)[0]
    if profiles is None:
        raise InputError("share is None, which takes lambda from profiles of the data, but profiles is None too")
    return share_at(profiles, 0.5, frames)


def share_at(profiles: Sequence[Sequence[float]], motion: float, frames: int) -> Tensor:
    """Lambda of every frame for a motion knob.

    Args:
        profiles: of `share_profiles`.
        motion: from 0 (as little as training clips had) to 1 (as much).
        frames: of the clip; frames farther than the profiles reach share what the farthest does.

    Returns:
        [frames], 1 at the base frame.

    Raises:
        InputError: motion outside [0, 1].
    """
    if not 0 <= motion <= 1:
        raise InputError(f"motion is {motion}; it must lie in [0, 1], 0 for still and 1 for free")
    table = torch.tensor(profiles)
    position = (1 - motion) * (len(table) - 1)
    low = min(int(position), max(len(table) - 2, 0))
    profile = torch.lerp(table[low], table[min(low + 1, len(table) - 1)], position - low)
    distance = (torch.arange(frames) - base_frame(frames)).abs().clamp_max(len(profile) - 1)
    share = profile[distance]
    share[base_frame(frames)] = 1.0
    return share


class Motion(Condition):
    """How much of the base frame each frame shares, lambda; the user's knob says how much moves.

    Args:
        fixed: lambda of every frame but the middle one (the paper's 0.5); None for the median of `profiles`.
        profiles: quantiles of the data's lambda, which the knob moves along; see `share_profiles`.
        adaptive: probability that a training clip's lambda is measured from its frames instead.
    """

    name, kind, option = "share", "embedding", "motion"

    def __init__(
        self, fixed: float | None, profiles: Sequence[Sequence[float]] | None = None, adaptive: float = 0.0
    ) -> None:
        self.fixed, self.profiles, self.adaptive = fixed, profiles, adaptive

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        clip = batch.clip
        share = usual_share(self.fixed, self.profiles, clip.shape[1]).to(clip).expand(len(clip), -1)
        if self.adaptive:
            adapt = uniform(keys.content, Stream.SHARE, step.number) < self.adaptive
            share = torch.where(adapt.to(clip.device)[:, None], measured_share(clip), share)
        return Conditions(share=share[:, list(step.frames)])

    def check(self, value: float) -> tuple[()]:
        if len(self.profiles or ()) < 2:
            raise InputError(f"motion is {value}; this model was not trained for it, leave it out")
        self.share(1, value)
        return ()

    def share(self, frames: int, motion: float | None = None) -> Tensor:
        """Lambda of every frame [frames] for a motion knob; the usual one where it is None."""
        if motion is None or self.profiles is None:
            return usual_share(self.fixed, self.profiles, frames)
        return share_at(self.profiles, motion, frames)

    def sample(self, value: float | None, request: Request) -> Conditions:
        share = self.share(request.shape[1], value).expand(request.shape[0], -1)
        return Conditions(share=share.to(request.device))
