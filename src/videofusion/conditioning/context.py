"""Frames that a network sees clean beside its noisy ones, so that the others follow from them.

Video LDM predicts so (Blattmann et al. 2023, sec. 3.2): a mask says which frames are shown, and those stand there
clean, the others at nothing. One network learns prediction, interpolation and to make clips from none, as in MCVD.
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
    """A mask and the frames that it shows, beside the noisy ones; the null value shows none.

    In training every clip draws one of `sets` by its key, which of its frames are shown, and at times none (the step's
    dropout, as captions are). At sampling the largest of the sets is shown that the user gives all of (`known`), so
    that the network sees no mask that it never saw in training; with no such set, none is.

    Args:
        sets: frame numbers that may be shown together; of the clips in training, which have them all. None, for
            sampling only, shows all frames that are given.
        within: whether temporal layers are told, as in Video LDM, so that without them a network is the image network;
            rather than the network's first layer.

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
        """Of the frames that are given whole, in a clip of so many, those that are shown."""
        if self.sets is None:
            return whole
        sets = [[frame for frame in each if frame < frames] for each in self.sets]
        return max((each for each in sets if all(frame in whole for frame in each)), key=len, default=[])


def beside(clip: Tensor, mask: Tensor) -> Conditions:
    """What stands beside noisy frames.

    Args:
        clip: clean frames [b t c h w].
        mask: 1 for those that are shown [b t].

    Returns:
        conditions with `beside` [b t 1+c h w], the mask first.
    """
    shown = mask[:, :, None, None, None].expand(-1, -1, 1, *clip.shape[-2:])
    told = torch.cat([shown, shown * clip], dim=2)
    return Conditions(beside=told, null={"beside": torch.zeros_like(told[:1])})
