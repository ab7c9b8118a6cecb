"""Stage `duplicates`: fingerprints of clips, and which clips are copies of others.

Exact copies have the same frames, whatever file they are in; near ones look the same at the first, middle and last
frame, after another encoding or at another size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from videofusion.curation.spans import pictures_of
from videofusion.curation.stage import Job, Row, Stage
from videofusion.video.footage import Frame

_SIDE = 16  # frequencies in both directions: 256 bits a frame
_WORDS = 3 * _SIDE * _SIDE // 64


@dataclass(frozen=True, kw_only=True)
class Duplicates(Stage):
    """Checksum of a clip's decoded frames, and a perceptual hash of its first, middle and last one.

    The hash is of the lowest frequencies of the frame in grey: a bit is whether one is above their median.
    """

    name: ClassVar[str] = "duplicates"
    columns: ClassVar[dict[str, str]] = {"checksum": "string", "hash": "string"}
    modules: ClassVar[dict[str, str]] = {"cv2": "curation"}

    def look(self, job: Job) -> Row:
        footage = job.span.open()
        total = hashlib.sha256()
        for frame in footage.decode(range(len(footage))):
            total.update(repr(frame.shape).encode())
            total.update(np.ascontiguousarray(frame).data)
        pictures = pictures_of(footage, 3)
        bits = np.concatenate([_bits(picture) for picture in (*pictures, *[pictures[-1]] * (3 - len(pictures)))])
        return {"checksum": total.hexdigest(), "hash": np.packbits(bits).tobytes().hex()}


def copies(rows: Sequence[Row], near: float) -> list[tuple[int, str] | None]:
    """For each clip the earlier one that it is a copy of, and "the same frames" or "nearly the same frames".

    The first of a group of copies is none of any.

    Args:
        rows: with checksum and hash.
        near: share of the hash's bits, 0 to 1, that may differ in each of the three frames; below 0 for exact
            copies only.
    """
    words = np.array([np.frombuffer(bytes.fromhex(row["hash"]), np.uint64) for row in rows]).reshape(-1, _WORDS)
    most = int(near * _SIDE * _SIDE)
    first: dict[str, int] = {}
    firsts: list[int] = []
    found: list[tuple[int, str] | None] = []
    known = np.empty_like(words)  # of those that are no copies, in order
    for number, row in enumerate(rows):
        same = first.get(row["checksum"])
        like = _nearest(words[number], known[: len(firsts)], most) if near >= 0 and same is None else None
        if same is not None:
            found.append((same, "the same frames"))
        elif like is not None:
            found.append((firsts[like], "nearly the same frames"))
        else:
            first[row["checksum"]] = number
            known[len(firsts)] = words[number]
            firsts.append(number)
            found.append(None)
    return found


def distances(words: NDArray[np.uint64], others: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many bits of a hash [w] differ from others [n w], in the frame that differs most [n]."""
    differing = np.bitwise_count(others ^ words).reshape(len(others), 3, _WORDS // 3)
    return differing.sum(2, dtype=np.int64).max(1)


def _nearest(words: NDArray[np.uint64], others: NDArray[np.uint64], most: int) -> int | None:
    """The first of others within so many bits in each frame, None if there is none."""
    for start in range(0, len(others), 65536):
        hits = np.flatnonzero(distances(words, others[start : start + 65536]) <= most)
        if len(hits):
            return start + int(hits[0])
    return None


def _bits(picture: Frame) -> NDArray[np.bool_]:
    import cv2

    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_SIDE, :_SIDE].ravel()
    low[0] = np.median(low[1:])  # the mean brightness says nothing of what is seen
    return np.asarray(low > np.median(low[1:]))
