"""Stage `motion`: how much moves, by optical flow between frames half a second apart (Stable Video Diffusion)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from videofusion.curation.spans import small_frames
from videofusion.curation.stage import Job, Row, Stage, within


@dataclass(frozen=True, kw_only=True)
class Motion(Stage):
    """Farneback's flow (OpenCV) at a low rate and a small size.

    The column `motion` is the mean length of the flow over all pixels and pairs of frames, in per cent of the frame's
    shorter side per second; 0 is a still picture.

    Args:
        rate: frames per second that are compared; a clip too short for two of them goes by its first and last.
        side: most pixels of the longer side at which they are.
    """

    name: ClassVar[str] = "motion"
    columns: ClassVar[dict[str, str]] = {"motion": "double"}
    modules: ClassVar[dict[str, str]] = {"cv2": "curation"}

    rate: float = 2.0
    side: int = 128

    def check(self) -> None:
        super().check()
        within("rate", self.rate, 0.1, 60)
        within("side", self.side, 32, 2048)

    def look(self, job: Job) -> Row:
        import cv2

        footage = job.span.open()
        times = np.asarray(footage.times)
        numbers = np.unique(np.searchsorted(times, np.arange(0, times[-1] + 1e-6, 1 / self.rate) - 2e-3))
        if len(numbers) < 2:
            numbers = np.unique([0, len(times) - 1])
        lengths = []
        before = None
        for number, frame in zip(numbers, small_frames(footage, numbers, self.side), strict=True):
            grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            if before is not None:
                flow = cv2.calcOpticalFlowFarneback(before[1], grey, None, 0.5, 4, 21, 3, 7, 1.5, 0)
                seconds = float(times[number] - before[0])
                lengths.append(float(np.hypot(flow[..., 0], flow[..., 1]).mean()) / min(grey.shape) / seconds)
            before = float(times[number]), grey
        return {"motion": 100 * float(np.mean(lengths)) if lengths else 0.0}
