"""Metrics that are the mean over clips of a number per clip, or per frame of it: a row of `MEANS` each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from einops import rearrange
from torch import Tensor
from torch.nn.functional import cosine_similarity

from videofusion.errors import InputError
from videofusion.evaluation.metrics.optical_flow import optical_flow
from videofusion.evaluation.metrics.over_time import (
    content_drift,
    flicker,
    flow_magnitude,
    frame_consistency,
    unoccluded,
    warping_error,
)
from videofusion.evaluation.metrics.reconstruction import clip_psnr, psnr, ssim

if TYPE_CHECKING:
    from videofusion.evaluation.extractors import Extractor

LIKE_REAL = "like real"
_RANGE = (-1.0, 1.0)


class Seen:
    """A batch of clips, and what several metrics need of it, each made once.

    Args:
        clips: b t 3 h w in [-1, 1].
        keys: of the clips, for sentences.
        extractors: by name.
        pair: the frames of generated clips and of the real ones that they should be; None if no metric compares them.
        captions: what the clips should show; empty if no metric asks.
    """

    def __init__(
        self,
        clips: Tensor,
        keys: Sequence[str],
        extractors: Mapping[str, Extractor],
        *,
        pair: tuple[Tensor, Tensor] | None = None,
        captions: Sequence[str] = (),
    ) -> None:
        self.clips, self.keys, self.pair, self.captions = clips, keys, pair, captions
        self._extractors = extractors
        self._layers: dict[str, dict[str, Tensor]] = {}

    def rows(self, extractor: str, layer: str) -> Tensor:
        """A layer of a feature network, [n d]."""
        if extractor not in self._layers:
            self._layers[extractor] = self._extractors[extractor].read(self.clips)
        return self._layers[extractor][layer]

    def frames(self, extractor: str, layer: str) -> Tensor:
        """A layer that has a row for each frame, [b t d]."""
        return rearrange(self.rows(extractor, layer), "(b t) d -> b t d", b=len(self.clips)).double()

    def network(self, extractor: str) -> Any:
        """A feature network that gives more than features; `Mean.needs` says what."""
        return self._extractors[extractor]

    @cached_property
    def flow(self) -> tuple[Tensor, Tensor]:
        """Optical flow from each frame to the next, and back."""
        return optical_flow(self.clips)

    @property
    def both(self) -> tuple[Tensor, Tensor]:
        """Generated frames, and real ones."""
        assert self.pair is not None
        return self.pair


class Mean(NamedTuple):
    """A metric that is a mean over clips.

    Args:
        of: a batch, the name of a feature network and a layer to a number for each clip [b] or frame [b t].
        better: "higher", "lower", or `LIKE_REAL` where real clips are the measure.
        paired: whether a generated clip is compared with the real one that it should be.
        needs: "text" or "distance", which the feature network must have beside its layers, or "flow", by OpenCV.
        frames: the fewest of a clip.
    """

    of: Callable[[Seen, str, str], Tensor]
    better: str
    paired: bool = False
    needs: str = ""
    frames: int = 1


def _text_similarity(seen: Seen, extractor: str, layer: str) -> Tensor:
    """Cosine of each frame's embedding with the caption's (CLIPSIM: Wu et al. 2021, GODIVA)."""
    texts = seen.network(extractor).text(seen.captions).double()
    return cosine_similarity(seen.frames(extractor, layer), texts[:, None].to(seen.clips.device), dim=2)


def _warping_error(seen: Seen, extractor: str, layer: str) -> Tensor:
    return warping_error(seen.clips, seen.flow[0], unoccluded(*seen.flow))


def _psnr(seen: Seen, extractor: str, layer: str) -> Tensor:
    return _finite(seen, psnr(*seen.both, value_range=_RANGE))


def _clip_psnr(seen: Seen, extractor: str, layer: str) -> Tensor:
    return _finite(seen, clip_psnr(*seen.both, value_range=_RANGE))


def _finite(seen: Seen, decibels: Tensor) -> Tensor:
    equal = decibels.isinf().nonzero()
    if len(equal):
        frame = f"frame {int(equal[0, 1]) + seen.clips.shape[1] - decibels.shape[1]} of " if decibels.ndim == 2 else ""
        hint = "; psnr-of-clip takes the error of whole clips" if frame else ""
        raise InputError(f"{frame}{seen.keys[int(equal[0, 0])]} equals the real one, and its PSNR is infinite{hint}")
    return decibels


MEANS: dict[str, Mean] = {
    "psnr": Mean(_psnr, "higher", paired=True),
    "clip-psnr": Mean(_clip_psnr, "higher", paired=True),
    "ssim": Mean(lambda seen, *_: ssim(*seen.both, value_range=_RANGE), "higher", paired=True),
    "lpips": Mean(lambda seen, net, _: seen.network(net).distance(*seen.both), "lower", paired=True, needs="distance"),
    "text-similarity": Mean(_text_similarity, "higher", needs="text"),
    "frame-consistency": Mean(lambda seen, *of: frame_consistency(seen.frames(*of)), "higher", frames=2),
    "content-drift": Mean(lambda seen, *of: content_drift(seen.frames(*of))[:, 1:], "lower", frames=2),
    "flicker": Mean(lambda seen, *_: flicker(seen.clips), LIKE_REAL, frames=2),
    "flow-magnitude": Mean(lambda seen, *_: flow_magnitude(seen.flow[0]), LIKE_REAL, needs="flow", frames=2),
    "warping-error": Mean(_warping_error, "lower", needs="flow", frames=2),
}
