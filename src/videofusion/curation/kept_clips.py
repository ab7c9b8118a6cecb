"""Stage `files`: writes each kept clip to a file of its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import ClassVar

import av
import numpy as np

from videofusion.curation.spans import Span
from videofusion.curation.stage import Job, Row, Stage, within
from videofusion.errors import RunError
from videofusion.files import whole_path
from videofusion.video.footage import Footage


@dataclass(frozen=True, kw_only=True)
class Files(Stage):
    """H.264 in mp4 at the clip's own size and mean rate, without sound; a file is there whole or not at all.

    An odd size gets its last row or column twice.

    Args:
        folder: where to; is there.
        crf: H.264's quality, 0 (all of it) to 51.
    """

    name: ClassVar[str] = "files"
    columns: ClassVar[dict[str, str]] = {"written": "string"}
    unmarked: ClassVar[tuple[str, ...]] = ("folder",)

    folder: str
    crf: int = 14

    def check(self) -> None:
        super().check()
        within("crf", self.crf, 0, 51)

    def stands(self, row: Row) -> bool:
        return row["written"] is None or (Path(self.folder) / row["written"]).is_file()

    def look(self, job: Job) -> Row:
        name = file_name(job.span)
        path = Path(self.folder) / name
        try:
            with whole_path(path) as partial:
                _encode(job.span.open(), partial, self.crf)
        except av.FFmpegError as error:  # of the disk: what is wrong with the source is `Unreadable`
            raise RunError(f'"{path}" could not be written: {error}') from error
        return {"written": name}


def file_name(span: Span) -> str:
    """What the file of a span is called: the same for the same span, and for no other one."""
    said = repr((span.source, span.stamp, span.first, span.count))
    stem = PurePosixPath(span.source).stem[:80]
    return f"{stem}-{hashlib.sha256(said.encode()).hexdigest()[:12]}.mp4"


def remove_others(folder: Path, names: Collection[str]) -> None:
    """Remove the files of clips that are not kept any more; files with other names than ours stay."""
    for path in folder.glob("*.mp4") if folder.is_dir() else ():
        if path.name not in names and re.fullmatch(r".*-[0-9a-f]{12}\.mp4", path.name):
            path.unlink()


def _encode(footage: Footage, path: Path, crf: int) -> None:
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as file:
        stream = None
        for frame in footage.decode(range(len(footage))):
            height, width = frame.shape[:2]
            if stream is None:
                stream = file.add_stream("libx264", rate=Fraction(max(footage.fps, 0.01)).limit_denominator(1001))
                stream.height, stream.width, stream.pix_fmt = height + height % 2, width + width % 2, "yuv420p"
                stream.options = {"crf": str(crf), "preset": "medium"}
                stream.codec_context.thread_count = 1
            padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            file.mux(stream.encode(av.VideoFrame.from_ndarray(padded, format="rgb24")))
        if stream is not None:
            file.mux(stream.encode(None))
