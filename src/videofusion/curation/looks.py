"""Looks at a video, frame by frame, for its transitions: PySceneDetect's detectors, at one rate or at several."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_LAG = 4  # frames; the adaptive detector compares with two after it
_CELLS = (16, 12)  # in which a transition is seen or not
_SEEN = 12  # levels of 255 by which a cell of it differs


class Gap(NamedTuple):
    """A transition: the last frame of the shot before, the first of the shot after, how much these two differ."""

    before: int
    after: int
    change: float = 0.0


@dataclass(frozen=True)
class Rule:
    """What counts as a transition at a rate; the values are those of `Cuts`.

    Args:
        ratio: to the differences around it.
        least: of a difference.
        rate: frames per second that are looked at, None for all.
        enough: of a difference, so that it counts wherever in the picture it is.
        spread: share of the picture where a smaller one has to be seen.
        shortest: seconds between two.
    """

    ratio: float
    least: float
    rate: float | None = None
    enough: float = 0.0
    spread: float = 0.0
    shortest: float = 0.0


class Look:
    """The adaptive detector, shown frames at one rate."""

    def __init__(self, rule: Rule, fps: float) -> None:
        from scenedetect.detectors import AdaptiveDetector

        self._rule, self._fps = rule, fps
        self._detector = AdaptiveDetector(
            adaptive_threshold=rule.ratio,
            min_content_val=rule.least,
            min_scene_len=max(1, round(rule.shortest * (rule.rate or fps))),
        )
        self._shown: list[tuple[Gap, bool]] = []  # of each frame: from which to which, and whether that is enough
        self._last: Any = None
        self._due: float | None = None  # when the next one is looked at
        self.gaps: list[Gap] = []

    def see(self, number: int, time: float, frame: Any) -> list[Gap]:
        """Show it a frame; returns the transitions that it now knows of."""
        rate = self._rule.rate
        if rate is not None:
            due = time if self._due is None else self._due
            if time < due - 1e-6:
                return []
            self._due = max(due + 1 / rate, time)
        self._shown.append(self._step(number, frame))
        self._last = frame
        found = self._detector.process_frame(_timecode(len(self._shown) - 1, self._fps), _bgr(frame))
        steps = [self._shown[cut.frame_num] for cut in found]
        new = [gap for gap, enough in steps if enough]
        self.gaps += new
        return new

    def _step(self, number: int, frame: Any) -> tuple[Gap, bool]:
        import cv2

        if not self._shown:
            return Gap(number, number), False
        gap = Gap(self._shown[-1][0].after, number, float(cv2.absdiff(frame, self._last).mean()))
        return gap, self._rule.rate is None or _is_wide(self._last, frame, self._rule)


def _is_wide(before: Any, after: Any, rule: Rule) -> bool:
    """Whether two frames differ in more than what moves.

    A person who walks in changes a part of the picture; a dissolve changes all of it, and not, as a camera that sets
    its exposure anew, by the same amount.
    """
    import cv2

    small = [cv2.resize(frame, (64, 48), interpolation=cv2.INTER_AREA) for frame in (before, after)]
    if float(cv2.absdiff(*(cv2.cvtColor(frame, cv2.COLOR_RGB2HSV) for frame in small)).mean()) >= rule.enough:
        return True
    first, second = (cv2.resize(frame, _CELLS, interpolation=cv2.INTER_AREA).astype(np.int16) for frame in small)
    change = second - first
    differs = np.abs(change - np.median(change, (0, 1))).max(-1)
    return bool((differs > _SEEN).mean() >= rule.spread)


class SlowLooks:
    """Looks at all slow rates, each twice: over the whole video, and again over each shot between sudden cuts.

    Beside a cut nothing slow stands out, so a shot is looked at by itself. But a slow transition can begin with a
    step that is a cut by itself, and then only the look at the whole sees the rest.
    """

    def __init__(self, rules: Sequence[Rule], fps: float) -> None:
        self._rules, self._fps = rules, fps
        self._whole, self._shot = self._new(), self._new()
        self._ended: list[Look] = []
        self._held: deque[tuple[int, float, Any]] = deque()  # a cut is known two frames after it

    def _new(self) -> list[Look]:
        return [Look(rule, self._fps) for rule in self._rules]

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


class Fades:
    """The threshold detector: from a shot into black and out of it again."""

    def __init__(self, black: int, fps: float) -> None:
        from scenedetect.detectors import ThresholdDetector

        self._black, self._fps = black, fps
        self._detector = ThresholdDetector(threshold=black, min_scene_len=1)
        self._cuts: list[int] = []

    def see(self, number: int, frame: Any) -> bool:
        """Show it a frame; returns whether that is black."""
        # The detector goes by a frame's mean, by which a lamp at night is black: it is shown the bright parts alone.
        bright = np.percentile(frame[::2, ::2], 99, keepdims=True)
        found = self._detector.process_frame(_timecode(number, self._fps), bright)
        self._cuts += [cut.frame_num for cut in found]
        return bool(bright.item() < self._black)

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


def _timecode(number: int, fps: float) -> Any:
    from scenedetect import FrameTimecode

    return FrameTimecode(number, fps=fps)


def _bgr(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(frame[..., ::-1])
