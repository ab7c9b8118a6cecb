"""What a protocol is: all that a number depends on beside the clips; `protocol_table.py` has the published ones.

A protocol says which clips of the real data are taken, how frames reach a network, which network and layer, which
metrics and how many samples. What the source of a protocol does not say is in `assumed`; what is known to be other
here than there is in `differs`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from videofusion.errors import InputError
from videofusion.evaluation.metrics.means import MEANS

OF_SETS = ("frechet", "kernel", "inception-score", "precision-recall", "density-coverage", "diversity")
FRAMES = ("clip", "all", "mean", "first")
STARTS = ("video", "window", "first", "spread")
RESIZES = ("bilinear", "bilinear-antialias", "bicubic-antialias")
SPLITS = ("all", "train", "val", "test")
NOT_COMPARABLE = "not comparable with published numbers"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric of a protocol.

    Args:
        name: what it is called in a record.
        kind: one of `OF_SETS`, or of `MEANS`.
        extractor: name of the feature network; "" for a kind that takes none.
        layer: of the network.
        frames: what a sample is: "clip" for the features of a clip, "all" for each frame by itself, "mean" for the
            frames' features averaged over a clip, "first" for the first frame.
        splits: of the Inception Score.
    """

    name: str
    kind: str
    extractor: str = ""
    layer: str = ""
    frames: str = "clip"
    splits: int = 10

    def __post_init__(self) -> None:
        kinds = (*OF_SETS, *MEANS)
        if self.kind not in kinds or self.frames not in FRAMES:
            raise InputError(
                f'kind is "{self.kind}" and frames "{self.frames}"; they must be one of {", ".join(kinds)} and '
                f"{', '.join(FRAMES)}"
            )
        if self.frames == "all" and self.kind not in ("frechet", "kernel"):
            raise InputError(f'frames is "all" for {self.kind}; that is for frechet and kernel only')

    @property
    def paired(self) -> bool:
        """Whether it compares each generated clip with the real one of its name."""
        return self.kind in MEANS and MEANS[self.kind].paired


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A protocol.

    Generated clips are taken from their first frame on, every frame, and resized as the real ones.

    Args:
        name: of the protocol.
        source: where it is written.
        metrics: what is measured.
        split: part of the real data, where the data name their parts; one of `SPLITS`.
        count: generated clips.
        real_count: real clips; None for one of each video that is long enough.
        frames: of a clip.
        stride: every how many of a real video's frames.
        start: of a real clip: "video" at random, one of each video; "window" likewise, but every window of every
            video is as likely as any other; "first" at the first frame; "spread" takes frames evenly from the whole
            video.
        size: height and width that clips have before a network's own preprocessing, in pixels.
        resize: how the short side comes to `size`, before the middle square is cut out; one of `RESIZES`.
        value_range: of the values that the extractors are given.
        given: frames at the begin of a generated clip that were given to the model (prediction), which count too, but
            for metrics of pairs.
        paired: whether the real clips are those whose names the generated ones have, in the same order.
        assumed: what the source does not say and is chosen here.
        differs: what is known to be other here than in the source.
        note: what is printed beside every number.
    """

    name: str
    source: str
    metrics: tuple[Metric, ...]
    split: str = "train"
    count: int = 2048
    real_count: int | None = 2048
    frames: int = 16
    stride: int = 1
    start: str = "video"
    size: int = 128
    resize: str = "bicubic-antialias"
    value_range: tuple[float, float] = (-1.0, 1.0)
    given: int = 0
    paired: bool = False
    assumed: str = ""
    differs: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        counts = (self.count, self.count if self.real_count is None else self.real_count)
        if min(*counts, self.frames, self.stride, self.size) < 1 or self.count < 2:
            raise InputError(
                f"count is {self.count}, real_count {self.real_count}, frames {self.frames}, stride {self.stride} and "
                f"size {self.size}; a count is at least 2, all others 1"
            )
        if not 0 <= self.given < self.frames:
            raise InputError(f"given is {self.given}; it must be 0 to {self.frames - 1}, of {self.frames} frames")
        if self.paired and (self.start != "first" or self.real_count != self.count):
            raise InputError(
                f'paired clips start at the first frame and are equally many, but start is "{self.start}", count '
                f"{self.count} and real_count {self.real_count}"
            )
        for name, value, allowed in (
            ("start", self.start, STARTS),
            ("resize", self.resize, RESIZES),
            ("split", self.split, SPLITS),
        ):
            if value not in allowed:
                raise InputError(f'{name} is "{value}"; it must be one of {", ".join(allowed)}')

    @property
    def extractors(self) -> tuple[str, ...]:
        """Names of the feature networks, each once."""
        return tuple(dict.fromkeys(metric.extractor for metric in self.metrics if metric.extractor))

    def changed(
        self, *, count: int | None = None, size: int | None = None, frames: int | None = None, given: int | None = None
    ) -> Preset:
        """The protocol with other clips, which is another protocol; what is None stays.

        Raises:
            InputError: what is no protocol.
        """
        others = {"size": size, "frames": frames, "given": given}
        if count is not None:
            others |= {"count": count, "real_count": count if self.real_count == self.count else self.real_count}
        return replace(self, **{name: value for name, value in others.items() if value is not None})  # type: ignore[arg-type]
