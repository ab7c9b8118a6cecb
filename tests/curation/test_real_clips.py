"""Real clips joined into one long video, with a title, a still picture and copies among them: what curation finds.

The clips of `../shared/data` are people before few walls: a cut is often one person in two poses, or two people before
the same wall.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from videofusion.curation.cuts import Cuts
from videofusion.curation.duplicates import Duplicates, copies
from videofusion.curation.flow import Motion
from videofusion.curation.ocr import Text
from videofusion.curation.spans import Span
from videofusion.curation.stage import Job
from videofusion.video.decode import open_video

pytest.importorskip("scenedetect")
cv2 = pytest.importorskip("cv2")

HEIGHT, WIDTH = 192, 256
LONGEST = 45  # frames that are taken of a piece


@dataclass
class Joined:
    """Frames so far, and the transitions between: (last frame before, first frame after)."""

    frames: list[np.ndarray] = field(default_factory=list)
    changes: list[tuple[int, int]] = field(default_factory=list)

    def add(self, piece: list[np.ndarray], inner: list[int], how: str) -> None:
        if self.frames:
            last = len(self.frames) - 1
            self.frames += between(self.frames[-1], piece[0], how)
            self.changes.append((last, len(self.frames)))
        start = len(self.frames)
        self.changes += [(start + cut - 1, start + cut) for cut in inner if cut < len(piece)]
        self.frames += piece


def between(before: np.ndarray, after: np.ndarray, how: str) -> list[np.ndarray]:
    def mix(first: np.ndarray, second: np.ndarray, count: int) -> list[np.ndarray]:
        shares = np.arange(1, count + 1) / (count + 1)
        return [((1 - share) * first + share * second).astype(np.uint8) for share in shares]

    black = np.zeros_like(before)
    if how == "dissolve":
        return mix(before, after, 20)
    return [*mix(before, black, 10), *[black] * 5, *mix(black, after, 10)] if how == "fade" else []


def pieces(shared: Path) -> list[tuple[Path, int, list[int]]]:
    """File, first frame, and the file's own cuts after it."""
    scenes = shared / "scenes"
    found = [(path, 0, []) for path in sorted([*shared.glob("asl_gestures/*.mkv"), *shared.glob("weizmann64/*/*.mp4")])]
    found += [(scenes / "bigbuckbunny.mp4", 0, []), (scenes / "carphone_pristine.mp4", 0, [])]
    found += [(scenes / "bikes.mp4", first, [cut]) for first, cut in ((10, 20), (110, 27), (170, 17))]
    found.append((shared / "codecs" / "nasa_13013.mp4", 180, [22]))
    for name, firsts in (
        ("bottle-detection", range(0, 1100, 200)),
        ("car-detection", range(0, 300, 100)),
        ("one-by-one-person-detection", range(0, 1300, 200)),
        ("open_field_mouse", range(0, 2200, 300)),
    ):
        found += [(scenes / f"{name}.mp4", first, []) for first in firsts]
    return found


@pytest.fixture(scope="module")
def joined(shared_data: Path, tmp_path_factory, write_video) -> tuple[Path, list[tuple[int, int]]]:
    order = pieces(shared_data)
    random.Random(2).shuffle(order)
    video = Joined()
    for number, (path, first, inner) in enumerate(order):
        whole = open_video(path)
        shown = whole.decode(range(first, min(first + LONGEST, len(whole))))
        piece = [cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in shown]
        how = {5: "dissolve", 10: "fade"}.get(number % 11, "cut")
        video.add(piece, inner, how)
    return write_video(tmp_path_factory.mktemp("joined") / "long.mp4", video.frames, fps=25), video.changes


@pytest.mark.slow
def test_cuts_are_found_and_nothing_else_is_one(joined):
    path, changes = joined
    row = Cuts().look(Job(Span(source="long", path=str(path), stamp=""), {}))
    found = [(end - 1, begin) for end, begin in zip(row["ends"], row["begins"][1:], strict=False)]

    def meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
        return one[0] < other[1] and other[0] < one[1]

    right = [gap for gap in found if any(meet(gap, change) for change in changes)]
    seen = [change for change in changes if any(meet(gap, change) for gap in found)]
    missed = sorted(set(changes) - set(seen))
    print(f"precision {len(right)} of {len(found)}, recall {len(seen)} of {len(changes)}; missed {missed}; "
          f"false {sorted(set(found) - set(right))}")  # fmt: skip
    assert len(changes) > 80
    assert len(right) >= 0.95 * len(found)
    assert len(seen) >= 0.95 * len(changes)
    # what lies inside of a cut clip is of one piece, to the frame
    hard = [change for change in changes if change[1] - change[0] == 1 and change in seen]
    assert sum(change in found for change in hard) >= 0.95 * len(hard)


@pytest.mark.slow
def test_still_and_written_on_and_copied_clips_are_told_from_the_others(shared_data: Path, tmp_path, write_video):
    pytest.importorskip("rapidocr_onnxruntime")
    sources = [
        *sorted(shared_data.glob("asl_gestures/*.mkv"))[:6],
        *sorted(shared_data.glob("weizmann64/bend/*.mp4"))[:3],
    ]
    jobs: dict[str, Job] = {}
    for number, source in enumerate(sources):
        frames = list(open_video(source).decode(range(40)))
        titled = [frame.copy() for frame in frames]
        for frame in titled:
            for line, text in enumerate(("BREAKING NEWS", "call 555 0199")):
                at = (frame.shape[1] // 20, frame.shape[0] * (3 + 2 * line) // 6)
                cv2.putText(frame, text, at, cv2.FONT_HERSHEY_SIMPLEX, frame.shape[1] / 300, (255, 255, 255),
                            max(1, frame.shape[1] // 100))  # fmt: skip
        kinds = {"plain": frames, "still": [frames[0]] * 40}
        if frames[0].shape[1] >= 300:  # of 64 pixels no writing can be read
            kinds["titled"] = titled
        kinds["copy"] = [cv2.resize(frame, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA) for frame in frames]
        for kind, shown in kinds.items():
            shown = [frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2] for frame in shown]
            path = write_video(tmp_path / f"{kind}{number}.mp4", shown, fps=25)
            jobs[f"{kind}{number}"] = Job(Span(source=f"{kind}{number}", path=str(path), stamp=""), {})

    motion = {name: Motion().look(job)["motion"] for name, job in jobs.items() if not name.startswith("copy")}
    areas = {name: Text().look(job)["text_area"] for name, job in jobs.items() if name[:5] in ("plain", "title")}
    print({name: (round(motion[name], 3), round(areas.get(name, 0), 3)) for name in motion})
    assert all((value < 0.1) == name.startswith("still") for name, value in motion.items())
    assert all((value > 0.07) == name.startswith("titled") for name, value in areas.items())
    names = [name for name in jobs if name[:4] in ("plai", "copy")]
    names.sort(key=lambda name: name.startswith("copy"))
    found = copies([Duplicates().look(jobs[name]) for name in names], near=0.1)
    told = {name: None if copy is None else names[copy[0]] for name, copy in zip(names, found, strict=True)}
    print(told)
    assert all(
        original == (name.replace("copy", "plain") if "copy" in name else None) for name, original in told.items()
    )
