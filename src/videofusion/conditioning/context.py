"""Clean frames as a condition, so that the other frames follow from them.

As in Video LDM (Blattmann et al. 2023, sec. 3.2), the network receives a mask of the given frames and the clean
frames themselves, zeros elsewhere. One network learns prediction, interpolation and generation from none, as in MCVD.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from videofusion.conditioning.condition import Condition, Request, Step
from videofusion.data.batch import Batch
from videofusion.diffusion.conditions import Conditions
from videofusion.diffusion.noise import Keys
from videofusion.errors import InputError
from videofusion.keys import Stream, uniform


class ContextFrames(Condition):
    """A mask and the clean frames that it selects; the null value selects none.

    In training every clip draws one of `sets` by its key, or none with the step's dropout, as for captions. At sampling
    the largest of the sets is used whose frames the user gives (`known`), or none, so that the network receives no mask
    that training did not have.

    Args:
        sets: frame numbers that may be given together. None, for sampling only, allows any.
        within: whether temporal layers receive them, as in Video LDM, which leaves the image network unchanged, rather
            than the network's first layer.

    Raises:
        InputError: an empty list of sets.
    """

    name, kind = "beside", "beside"

    def __init__(self, sets: Sequence[Sequence[int]] | None, *, within: bool = False) -> None:
        if sets is not None and not sets:
            raise InputError("sets of context frames are none; there must be one at least, which may be empty")
        self.sets = None if sets is None else tuple(tuple(each) for each in sets)
        self.within = within

    def network(self, colours: int) -> dict[str, Any]:
        return {"context" if self.within else "in_channels": 1 + colours}

    def train(self, batch: Batch, keys: Keys, step: Step) -> Conditions:
        assert self.sets is not None  # as training needs them
        (b, t), count = batch.clip.shape[:2], len(self.sets)
        drawn = (uniform(keys.content, Stream.CONTEXT, step.number) * count).long().clamp_max(count - 1)
        dropped = uniform(keys.content, Stream.NO_CONTEXT, step.number) < step.dropout
        mask = torch.zeros(b, t)
        for clip, (number, without) in enumerate(zip(drawn.tolist(), dropped.tolist(), strict=True)):
            if not without:
                mask[clip, [frame for frame in self.sets[number] if frame < t]] = 1
        if t == 1:  # a picture has no other frame to follow from itself
            mask[:] = 0
        frames = list(step.frames)
        return beside(batch.clip[:, frames], mask[:, frames].to(batch.clip))

    def sample(self, value: Any, request: Request) -> Conditions:
        b, t = request.shape[:2]
        clip, mask = torch.zeros(request.shape, device=request.device), torch.zeros(b, t, device=request.device)
        known = request.known
        given = {} if known is None else {place: known.one(place) for place in known.at}
        whole = {place: frame for place, frame in given.items() if frame is not None}  # a part cannot be shown
        for place in self._shown(whole, t):
            clip[:, place : place + 1], mask[:, place] = whole[place].to(clip), 1
        return beside(clip, mask)

    def _shown(self, whole: Collection[int], frames: int) -> Collection[int]:
        """Which of the frames that are given whole the network receives, in a clip of so many."""
        if self.sets is None:
            return whole
        sets = [[frame for frame in each if frame < frames] for each in self.sets]
        return max((each for each in sets if all(frame in whole for frame in each)), key=len, default=[])


def beside(clip: Tensor, mask: Tensor) -> Conditions:
    """The mask and the clean frames as channels beside the noisy ones.

    Args:
        clip: clean frames [b t c h w].
        mask: 1 for those that are given [b t].

    Returns:
        conditions with `beside` [b t 1+c h w], the mask first.
    """
    shown = mask[:, :, None, None, None].expand(-1, -1, 1, *clip.shape[-2:])
    told = torch.cat([shown, shown * clip], dim=2)
    return Conditions(beside=told, null={"beside": torch.zeros_like(told[:1])})
