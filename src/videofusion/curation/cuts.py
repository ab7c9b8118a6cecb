"""Stage `cuts`: where shots begin and end, at several frame rates, so that slow transitions are found as well.

At the file's own rate two frames on both sides of a cut have little in common; in a dissolve or a fade neighbours
always resemble each other, and only frames half a second apart do not (Stable Video Diffusion detects cuts at several
frame rates for this reason). What lies inside of a slow transition belongs to no shot, nor does black.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from videofusion.curation.looks import Fades, Gap, Look, Rule, SlowLooks
from videofusion.curation.spans import Span, small_frames
from videofusion.curation.stage import Job, Row, Stage, within
from videofusion.video.footage import Footage, Unreadable


@dataclass(frozen=True, kw_only=True)
class Cuts(Stage):
    """PySceneDetect's adaptive detector at several frame rates, and its threshold detector for fades through black.

    The defaults are from real clips, see docs/curation.md.

    Args:
        rates: frames per second at which slow transitions are looked for, beside the file's own for cuts.
        ratio: how many times more than around it two frames have to differ for a cut.
        ratio_slow: the same at `rates`, where a transition may last for two or three of the frames.
        least: how much they have to differ for one (mean difference in hue, saturation and value, 0 to 255).
        least_slow: the same at `rates`, where what moves differs more; for a transition that is seen all over the
            picture, `least` will do.
        spread: share of the picture, 0 to 1, in which such a transition is seen.
        black: value (0 to 255) below which 99 of 100 of a frame's are, if it is black.
        shortest: seconds between two cuts; what is closer is one.
        side: most pixels of the longer side at which frames are compared.
    """

    name: ClassVar[str] = "cuts"
    columns: ClassVar[dict[str, str]] = {
        "frames": "int64",
        "fps": "double",
        "seconds": "double",
        "begins": "list<int64>",  # of the shots: first frame, and the one after the last, as the file counts
        "ends": "list<int64>",
        "from_seconds": "list<double>",
        "to_seconds": "list<double>",
    }
    modules: ClassVar[dict[str, str]] = {"cv2": "curation", "scenedetect": "curation"}

    rates: tuple[float, ...] = (4.0, 2.0, 1.0)
    ratio: float = 3.0
    ratio_slow: float = 2.0
    least: float = 10.0
    least_slow: float = 30.0
    spread: float = 0.5
    black: float = 24.0
    shortest: float = 0.25
    side: int = 256

    def check(self) -> None:
        super().check()
        for rate in self.rates:
            within("rates", rate, 0.1, 240)
        within("ratio", self.ratio, 1, 100)
        within("ratio_slow", self.ratio_slow, 1, 100)
        within("least", self.least, 0, 255)
        within("least_slow", self.least_slow, 0, 255)
        within("spread", self.spread, 0, 1)
        within("black", self.black, 0, 255)
        within("shortest", self.shortest, 0, 60)
        within("side", self.side, 16, 4096)

    def look(self, job: Job) -> Row:
        footage = job.span.open()
        times = np.asarray(footage.times)
        fps = float(footage.fps)
        own = Look(Rule(self.ratio, self.least, shortest=self.shortest), fps)
        slow = SlowLooks([self._slow_rule(rate) for rate in self.rates], fps)
        fades = Fades(round(self.black), fps)
        dark = np.zeros(len(footage), bool)
        for number, frame in enumerate(small_frames(footage, np.arange(len(footage)), self.side)):
            time = float(times[number])
            slow.see(number, time, frame, own.see(number, time, frame))
            dark[number] = fades.see(number, frame)
        gaps = _merged(own.gaps, [*slow.gaps(), *fades.gaps(dark)], fps / 2)
        shots = _shots(len(footage), gaps, dark)
        if not shots:
            raise Unreadable("there is nothing in it but black")
        return _row(job.span, footage, shots)

    def _slow_rule(self, rate: float) -> Rule:
        return Rule(self.ratio_slow, self.least, rate, self.least_slow, self.spread, self.shortest)


@dataclass(frozen=True, kw_only=True)
class Uncut(Stage):
    """Videos as they are, each one clip; in place of `Cuts`."""

    name: ClassVar[str] = "uncut"
    columns: ClassVar[dict[str, str]] = Cuts.columns

    def look(self, job: Job) -> Row:
        footage = job.span.open()
        return _row(job.span, footage, [(0, len(footage))])


def clips_of(video: Span, row: Row) -> list[Span]:
    """The shots of a row as spans."""
    return [
        Span(
            source=video.source,
            path=video.path,
            stamp=video.stamp,
            first=first,
            count=end - first,
            start=start,
            end=until,
            captions=video.captions,
        )
        for first, end, start, until in zip(
            row["begins"], row["ends"], row["from_seconds"], row["to_seconds"], strict=True
        )
    ]


def _row(video: Span, footage: Footage, shots: Sequence[tuple[int, int]]) -> Row:
    parts = [video.part(footage, first, end) for first, end in shots]
    return {
        "frames": len(footage),
        "fps": float(footage.fps),
        "seconds": float(footage.seconds),
        "begins": [part.first for part in parts],
        "ends": [part.first + part.count for part in parts],
        "from_seconds": [part.start for part in parts],
        "to_seconds": [part.end for part in parts],
    }


def _merged(cuts: Sequence[Gap], slow: Sequence[Gap], sliver: float) -> list[Gap]:
    """All transitions, in order; those that overlap are one, and a slow one and what is fewer than `sliver` frames on.

    Where a slow look saw what a cut in it explains, the cut stands. A cut explains it if it is at least half of the
    change: the first step of a dissolve out of the dark is a sudden one too.
    """
    wide = []
    for gap in slow:
        inside = [cut for cut in cuts if gap.before <= cut.before and cut.after <= gap.after]
        if sum(cut.change for cut in inside) < gap.change / 2 or gap.change == 0:
            wide.append(gap)
    found: list[Gap] = []
    for gap in sorted([*cuts, *wide]):
        apart = sliver if found and max(each.after - each.before for each in (gap, found[-1])) > 1 else 0
        if found and gap.before < found[-1].after + apart:
            found[-1] = Gap(found[-1].before, max(found[-1].after, gap.after))
        else:
            found.append(gap)
    return found


def _shots(count: int, gaps: Sequence[Gap], dark: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, end) of the frames between the transitions, without black at the ends."""
    shots = []
    first = 0
    for before, after, _ in [*gaps, Gap(count - 1, count)]:
        end = before + 1
        while first < end and dark[first]:
            first += 1
        while first < end and dark[end - 1]:
            end -= 1
        if first < end:
            shots.append((first, end))
        first = after
    return shots
