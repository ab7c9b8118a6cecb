"""Clips from any source, decided by their number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from videofusion.clip.check import from_uint8
from videofusion.data.batch import BadClip, Sample
from videofusion.data.items import Item, Items, Source, part
from videofusion.data.layouts.encoded import EncodedFootage
from videofusion.data.sampler import ClipSampler, chosen, mirrored
from videofusion.video.footage import Footage, Unreadable
from videofusion.video.frames import crop, resized, stack_resized

_LONGEST_KEPT = 1024  # frames
# What is known of the frames of files (times, stamps) is kept too: of an hour two megabytes. It takes up to this part
# of the bound on the cache; without a cache, up to so many bytes.
_LISTINGS, _FEW_LISTINGS = 1 / 4, 16 * 2**20
_BYTES_PER_FRAME, _BYTES_PER_VIDEO = 24, 2048  # of a listing


class Clips:
    """A dataset of clips from the items of a source, of any size, rate and length.

    Which part of a video a clip shows, its rate, its place in the frames, whether it is mirrored,
    and which caption it has, depend on (seed, epoch, index) only; with several clips per video,
    those of item n have the indices from n · clips on. What is broken or too short raises `BadClip`.

    Args:
        source: the items.
        sampler: how clips are cut from them.
        split: "all", or "train", "val" and "test", which share no item.
        holdout: part of the items that are in "val", where the source names no such part itself.
        caption: what every clip shows, in place of what the source says; None for that.
        cache_bytes: videos are kept in memory, decoded and resized, and what is known of their frames, up to this many
            bytes in all; 0 for no videos.

    Raises:
        InputError: a value outside of what is said above, or other clips than latents can be cut to.
    """

    def __init__(
        self,
        source: Source,
        sampler: ClipSampler,
        *,
        split: str = "all",
        holdout: float | int = 0.1,
        caption: str | None = None,
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        self._source = source
        self.source_root, self.problems = source.root, source.problems
        self.items = part(source.items, split, holdout)
        self.sampler, self.made = sampler, source.made
        if self.made is not None:
            self.made.check(sampler)
            if caption is not None and self.made.text is not None:
                raise InputError(f"caption is {caption!r:.200}, but the data were encoded with captions of their own")
        self.caption = caption
        self.cache_bytes = cache_bytes
        self._forget()

    @property
    def everything(self) -> Items:
        """The items of all parts; not in worker processes, which hold those of this part."""
        return self._source.items

    @property
    def names(self) -> list[str]:
        """The items' names."""
        return [item.name for item in self.items]

    @property
    def captions(self) -> list[str]:
        """All that clips may be said to show; a text encoder learns its words from them."""
        # Of clips that are not all at hand, the words are; without them, all are looked at once.
        words: Sequence[str] = getattr(self.items, "words", ())
        if self.caption is not None:
            words = [self.caption]
        said = list(words) or [caption for item in self.items for caption in item.captions or ("",)]
        return [*said, *map(mirrored, said)] if self.sampler.flip else said

    @property
    def identities(self) -> list[str]:
        """Who is seen, item by item."""
        return [item.identity for item in self.items]

    @property
    def actions(self) -> list[str]:
        """What is done, item by item."""
        return [item.action for item in self.items]

    def __len__(self) -> int:
        return len(self.items) * self.sampler.clips

    def sample(self, index: int, epoch: int = 0, seed: int = 0) -> Sample:
        """Clip number `index`.

        Raises:
            BadClip: the video is broken or too short.
        """
        number, of_item = divmod(index, self.sampler.clips)
        item = self.items[number]
        draws = self.sampler.draws(index, epoch, seed)
        try:
            footage = self._open(number)
            numbers, rate = self.sampler.window(footage, draws, of_item)
            if isinstance(footage, EncodedFootage):
                return self._encoded(item, footage, numbers, draws.caption, rate)
            pictures = self._pictures(number, footage, numbers)
        except Unreadable as error:
            raise BadClip(item.name, str(error)) from error
        cut = crop(pictures, self.sampler.pixels, (draws.top, draws.left) if self._random_crop else (0.5, 0.5))
        caption, label, action = self._said(item, draws.caption), item.label, item.action
        if self.sampler.flip and draws.flip < 0.5:
            cut = cut.flip(-2)
            caption, label, action = mirrored(caption), mirrored(label), mirrored(action)
        return Sample(from_uint8(cut), caption, item.name, item.identity, action, label, rate)

    def _encoded(
        self, item: Item, footage: EncodedFootage, numbers: NDArray[np.int64], draw: float | int, rate: float | int
    ) -> Sample:
        """A clip that was encoded before; raises `Unreadable`."""
        latent = self.made is not None and self.made.autoencoder is not None
        clip, text = footage.read(numbers, int(draw * len(item.captions)))
        told = (item.name, item.identity, item.action, item.label, rate)
        return Sample(clip, self._said(item, draw), *told, encoded=latent, text=text)

    def _said(self, item: Item, draw: float | int) -> str:
        return chosen(item.captions, draw) if self.caption is None else self.caption

    def order(self, epoch: int, seed: int) -> NDArray[np.int64] | None:
        """The order in which an epoch goes through the clips, where the source needs one of its own."""
        own = getattr(self.items, "order", None)
        if own is None:
            return None
        clips = np.arange(self.sampler.clips)
        return (own(epoch, seed)[:, None] * self.sampler.clips + clips).reshape(-1)

    @property
    def _random_crop(self) -> bool:
        return self.sampler.crop == "random"

    def _open(self, number: int) -> Footage:
        known = self._videos.get(number)
        if known is None:
            try:
                known = self.items[number].open()
            except Unreadable as error:
                known = str(error)
            self._listed_bytes += _listing_bytes(known)
            while self._videos and self._listed_bytes > self._listing_budget:
                first = next(iter(self._videos))
                self._listed_bytes -= _listing_bytes(self._videos.pop(first))
            self._videos[number] = known
        if isinstance(known, str):
            raise Unreadable(known)
        return known

    def _pictures(self, number: int, footage: Footage, numbers: NDArray[np.int64]) -> UInt8[Tensor, "t h w 3"]:
        """Frames by number, at a size that covers the clip's."""
        kept = self._cache.get(number)
        if kept is None and self._worth_keeping(number, footage):
            try:
                kept = self._decode(footage, range(len(footage)))
            except Unreadable:
                # Damaged somewhere; a window that misses the damage is as good as ever, so that
                # what is read does not depend on the cache.
                self._uncached.add(number)
            else:
                if not self._random_crop:
                    kept = crop(kept, self.sampler.pixels).contiguous()
                self._cache[number] = kept
                self._cached_bytes += kept.numel()
        if kept is not None:
            return kept[torch.from_numpy(numbers)]
        return self._decode(footage, numbers.tolist())

    def _decode(self, footage: Footage, numbers: Sequence[int]) -> UInt8[Tensor, "t h w 3"]:
        return stack_resized(footage.decode(numbers, self.sampler.pixels), self.sampler.pixels)

    def _worth_keeping(self, number: int, footage: Footage) -> bool:
        budget = self._budget - self._listed_bytes
        size = self.sampler.pixels
        height, width = resized(footage.height, footage.width, size) if self._random_crop else size
        needed = len(footage) * height * width * 3
        # A long video would hold up the training that meets it, and take the place of many others.
        short = len(footage) <= _LONGEST_KEPT and needed <= budget // 8
        return number not in self._uncached and short and needed <= budget - self._cached_bytes

    @property
    def _budget(self) -> int:
        info = get_worker_info()
        return self.cache_bytes // (info.num_workers if info else 1)  # each worker has a cache of its own

    @property
    def _listing_budget(self) -> int:
        return int(self._budget * _LISTINGS) if self._budget else _FEW_LISTINGS

    def _forget(self) -> None:
        self._listed_bytes = 0
        self._videos: dict[int, Footage | str] = {}
        self._cache: dict[int, Tensor] = {}
        self._uncached: set[int] = set()
        self._cached_bytes = 0

    def __getstate__(self) -> dict[str, Any]:
        # What a worker process gets: the list of items, not the pictures.
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


def _listing_bytes(known: Footage | str) -> int:
    return _BYTES_PER_VIDEO + (0 if isinstance(known, str) else _BYTES_PER_FRAME * len(known))
