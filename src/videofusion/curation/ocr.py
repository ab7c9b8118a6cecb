"""Stage `text`: how much of the picture is writing (titles, subtitles, watermarks), by RapidOCR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from videofusion.curation.spans import pictures_of
from videofusion.curation.stage import Job, Row, Stage, within
from videofusion.video.footage import Frame


@dataclass(frozen=True, kw_only=True)
class Text(Stage):
    """RapidOCR, which carries its models, on the first, middle and last frame of a clip.

    The column `text_area` is the share of the picture that lies in boxes of writing, from 0 to 1, in the frame that has
    most of it; `words` is what was read there. Boxes whose writing is not read with confidence do not count: any
    regular pattern looks like writing to what finds the boxes.

    Args:
        frames: how many are looked at, evenly from first to last.
        side: longer side in pixels; larger frames are made smaller.
        confidence: of what is read in a box, 0 to 1.
    """

    name: ClassVar[str] = "text"
    columns: ClassVar[dict[str, str]] = {"text_area": "double", "words": "string"}
    modules: ClassVar[dict[str, str]] = {"cv2": "curation", "rapidocr_onnxruntime": "ocr"}

    frames: int = 3
    side: int = 640
    confidence: float = 0.6

    def check(self) -> None:
        super().check()
        within("frames", self.frames, 1, 100)
        within("side", self.side, 64, 4096)
        within("confidence", self.confidence, 0, 1)

    def look(self, job: Job) -> Row:
        found = [self._written(picture) for picture in pictures_of(job.span.open(), self.frames)]
        share, words = max(found)
        return {"text_area": share, "words": words}

    def _written(self, picture: Frame) -> tuple[float, str]:
        import cv2

        scale = min(1.0, self.side / max(picture.shape[:2]))
        size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
        if min(size) < 8:  # no room for a letter
            return 0.0, ""
        small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        boxes, _ = _reader()(np.ascontiguousarray(small[..., ::-1]), use_cls=False)
        read = [(box, words) for box, words, sure in boxes or () if float(sure) >= self.confidence]
        return _covered([box for box, _ in read], size), " ".join(words for _, words in read)


@lru_cache(maxsize=1)
def _reader() -> Any:
    import logging

    from rapidocr_onnxruntime import RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)  # it warns of every frame without writing
    reader = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
    reader.text_det.limit_type = "max"  # by default it makes every picture larger first, at several times the cost
    return reader


def _covered(boxes: Sequence[Any], size: tuple[int, int]) -> float:
    """Share of a picture of (width, height) in any of some quadrangles."""
    import cv2

    mask: NDArray[np.uint8] = np.zeros(size[::-1], np.uint8)
    for box in boxes:
        cv2.fillPoly(mask, [np.asarray(box, np.float64).round().astype(np.int32)], 1)
    return float(mask.mean())
