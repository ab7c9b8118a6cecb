"""Stage `cuts`: where shots begin and end, at several frame rates, so that slow transitions are found as well.

At the file's own rate two frames on both sides of a cut have little in common; in a dissolve or a fade neighbours
always resemble each other, and only frames half a second apart do not (Stable Video Diffusion, section 3.1 and
appendix C: detection at several frame rates). What lies inside of a slow transition belongs to no shot, nor does black.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from videofusion.curation.spans import Span, small_frames
from videofusion.curation.stage import Job, Row, Stage, within
from videofusion.data.footage import Footage, Unreadable

_LAG = 4  # frames; the adaptive detector compares with two after it


class Gap(NamedTuple):
    """A transition: the last frame of the shot before, the first of the shot after, how much these two differ."""

    before: int
    after: int
    change: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Cuts(Stage):
    """PySceneDetect's adaptive detector at several frame rates, and its threshold detector for fades through black.

    The defaults are from real clips: a person in another pose before the same wall is a cut of 9 to 23 at the file's
    rate, one who walks in is 16 to 27 at one frame a second, and a dissolve 57 to 86 (docs/curation.md).

    Args:
        rates: frames per second at which slow transitions are looked for, beside the file's own for cuts.
        ratio: how many times more than around it two frames have to differ for a cut.
        least: how much they have to differ for one (mean difference in hue, saturation and value, 0 to 255).
        least_slow: the same at `rates`, where what moves differs more.
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
    least: float = 10.0
    least_slow: float = 30.0
    black: float = 24.0
    shortest: float = 0.25
    side: int = 256

    def check(self) -> None:
        super().check()
        for rate in self.rates:
            within("rates", rate, 0.1, 240)
        within("ratio", self.ratio, 1, 100)
        within("least", self.least, 0, 255)
        within("least_slow", self.least_slow, 0, 255)
        within("black", self.black, 0, 255)
        within("shortest", self.shortest, 0, 60)
        within("side", self.side, 16, 4096)

    def look(self, job: Job) -> Row:
        footage = job.span.open()
        times = np.asarray(footage.times)
        fps = float(footage.fps)
        own, slow, fades = _Look(self, None, fps), _SlowLooks(self, fps), _Fades(self, fps)
        dark = np.zeros(len(footage), bool)
        for number, frame in enumerate(small_frames(footage, np.arange(len(footage)), self.side)):
            time = float(times[number])
            slow.see(number, time, frame, own.see(number, time, frame))
            dark[number] = fades.see(number, frame)
        gaps = _merged(own.gaps, [*slow.gaps(), *fades.gaps(dark)])
        shots = _shots(len(footage), gaps, dark)
        if not shots:
            raise Unreadable("there is nothing in it but black")
        return _row(job.span, footage, shots)


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


class _Look:
    """The adaptive detector, shown frames at one rate."""

    def __init__(self, stage: Cuts, rate: float | None, fps: float) -> None:
        from scenedetect.detectors import AdaptiveDetector

        self._rate, self._fps = rate, fps
        self._detector = AdaptiveDetector(
            adaptive_threshold=stage.ratio,
            min_content_val=stage.least if rate is None else stage.least_slow,
            min_scene_len=max(1, round(stage.shortest * (rate or fps))),
        )
        self._shown: list[int] = []  # which frame of the file each was
        self._changes: list[float] = []  # from the one before
        self._last: Any = None
        self._due: float | None = None  # when the next one is looked at
        self.gaps: list[Gap] = []

    def see(self, number: int, time: float, frame: Any) -> list[Gap]:
        """Show it a frame; returns the transitions that it now knows of."""
        import cv2

        if self._rate is not None:
            due = time if self._due is None else self._due
            if time < due - 1e-6:
                return []
            self._due = max(due + 1 / self._rate, time)
        self._shown.append(number)
        self._changes.append(0.0 if self._last is None else float(cv2.absdiff(frame, self._last).mean()))
        self._last = frame
        found = self._detector.process_frame(_timecode(len(self._shown) - 1, self._fps), _bgr(frame))
        places = [cut.frame_num for cut in found]
        new = [Gap(self._shown[place - 1], self._shown[place], self._changes[place]) for place in places]
        self.gaps += new
        return new


class _SlowLooks:
    """Looks at all of the slow rates, each twice: at the whole video, and at each shot between sudden cuts anew.

    Beside a cut nothing slow stands out, so a shot is looked at by itself. But a slow transition can begin with a
    step that is a cut by itself, and then only the look at the whole sees the rest.
    """

    def __init__(self, stage: Cuts, fps: float) -> None:
        self._new = lambda: [_Look(stage, rate, fps) for rate in stage.rates]
        self._whole, self._shot = self._new(), self._new()
        self._ended: list[_Look] = []
        self._held: deque[tuple[int, float, Any]] = deque()  # a cut is known two frames after it

    def see(self, number: int, time: float, frame: Any, cuts: Sequence[Gap]) -> None:
        for look in self._whole:
            look.see(number, time, frame)
        self._held.append((number, time, frame))
        for cut in cuts:
            self._pass_on(cut.after)
            self._ended += self._shot
            self._shot = self._new()
        self._pass_on(number - _LAG)

    def gaps(self) -> list[Gap]:
        """All that they saw; to be asked at the end."""
        self._pass_on(None)
        return [gap for look in (*self._whole, *self._ended, *self._shot) for gap in look.gaps]

    def _pass_on(self, until: int | None) -> None:
        while self._held and (until is None or self._held[0][0] < until):
            shown = self._held.popleft()
            for look in self._shot:
                look.see(*shown)


class _Fades:
    """The threshold detector: from a shot into black and out of it again."""

    def __init__(self, stage: Cuts, fps: float) -> None:
        from scenedetect.detectors import ThresholdDetector

        self._black, self._fps = stage.black, fps
        self._detector = ThresholdDetector(threshold=round(stage.black), min_scene_len=1)
        self._cuts: list[int] = []

    def see(self, number: int, frame: Any) -> bool:
        """Show it a frame; returns whether that is black."""
        # The detector goes by a frame's mean, by which a lamp at night is black: it is shown the bright parts alone.
        bright = np.percentile(frame[::2, ::2], 99, keepdims=True)
        found = self._detector.process_frame(_timecode(number, self._fps), bright)
        self._cuts += [cut.frame_num for cut in found]
        return bool(bright.item() < round(self._black))

    def gaps(self, dark: NDArray[np.bool_]) -> list[Gap]:
        """The black around each cut, with the frames of the shots on both sides of it."""
        gaps = []
        for cut in self._cuts:
            before, after = cut - 1, cut
            while before > 0 and dark[before]:
                before -= 1
            while after < len(dark) - 1 and dark[after]:
                after += 1
            gaps.append(Gap(before, after))
        return gaps


def _merged(cuts: Sequence[Gap], slow: Sequence[Gap]) -> list[Gap]:
    """All transitions, in order; those that overlap are one.

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
        if found and gap.before < found[-1].after:
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


def _timecode(number: int, fps: float) -> Any:
    from scenedetect import FrameTimecode

    return FrameTimecode(number, fps=fps)


def _bgr(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(frame[..., ::-1])
