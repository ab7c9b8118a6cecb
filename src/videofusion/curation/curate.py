"""`curate`: from a folder of videos to rows of every stage, the clips to keep, and a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videofusion.curation.cuts import Cuts, clips_of
from videofusion.curation.duplicates import Duplicates, copies
from videofusion.curation.engines import Progress, check_engine, run_stage
from videofusion.curation.kept_clips import Files, remove_others
from videofusion.curation.kept_tables import write_clips_table, write_metadata
from videofusion.curation.spans import Span, videos_of
from videofusion.curation.stage import BAD, KEY, Job, Row, Stage
from videofusion.curation.store import Store
from videofusion.curation.summary import write_report
from videofusion.curation.thresholds import Bound, check_columns, reasons
from videofusion.data.layouts.detection import open_source
from videofusion.errors import InputError
from videofusion.locking import locked

ROWS = "rows"
CLIPS = "clips"


@dataclass(frozen=True, kw_only=True)
class Curated:
    """What came out.

    Args:
        folder: where it lies.
        clips: a row for each clip that was found, those that were dropped included: what all stages say of it,
            `kept`, and `why` not.
        bad: reason by name, for videos and clips of which a stage could tell nothing.
        problems: reason by name, for what the source itself cannot use.
    """

    folder: Path
    clips: list[Row]
    bad: dict[str, str]
    problems: dict[str, str]

    @property
    def kept(self) -> list[Row]:
        return [clip for clip in self.clips if clip["kept"]]


def curate(
    source: str | Path,
    out: str | Path,
    stages: Sequence[Stage],
    *,
    bounds: Sequence[Bound] = (),
    near: float = 0.1,
    cuts: Stage | None = None,
    layout: str = "auto",
    write_clips: bool = False,
    workers: int = 0,
    engine: str = "pool",
    progress: Progress | None = None,
) -> Curated:
    """Run stages over the clips of a folder or table of videos, and write what is kept.

    The same call goes on where it stopped, and makes no row twice: rows are kept by stage, under a fingerprint of
    its settings, for each file as it is (size and time of change). A file that cannot be read is a row that says why.

    Args:
        source: a folder or table of video files.
        out: a folder, made if missing: `rows/STAGE.parquet`, `clips.parquet`, `metadata.jsonl` (what is kept; train
            on the folder), `report.html`, and with `write_clips` a folder `clips`.
        stages: what to find out about each clip, in order.
        bounds: on the stages' columns and on `seconds`.
        near: what counts as a near copy, see `copies`; needs the stage `duplicates`.
        cuts: finds the clips of a video; `Cuts()` by default.
        layout: of the source.
        write_clips: write each clip that is kept into a file; without it the table names parts of the source's files.
        workers: processes, 0 for this one alone.
        engine: "pool" or "ray".
        progress: called with (stage, jobs done, jobs in all).

    Raises:
        InputError: a setting that is not allowed, an extra that is missing, no videos, or a folder that cannot be used.
        RunError: the disk is full; rows that were made stay.
    """
    cuts = Cuts() if cuts is None else cuts
    place = Path(out).expanduser()
    files = [Files(folder=str(place.resolve() / CLIPS))] if write_clips else []
    for stage in (cuts, *stages, *files):
        stage.check()
    check_columns(bounds, bound_columns(stages))
    if not -1 <= near <= 1:
        raise InputError(f"near is {near:g}; it must be from -1 (exact copies only) to 1")
    check_engine(engine, workers)
    _apart(Path(source).expanduser(), place)
    found = open_source(source, layout)
    videos, unnamed = videos_of(found)
    problems = dict(found.problems) | unnamed
    if not videos:
        raise InputError(f'data "{source}" contains no usable video')
    with _own(place) as rows_folder:

        def run(stage: Stage, jobs: Sequence[Job]) -> list[Row]:
            store = Store(rows_folder, stage)
            return run_stage(stage, jobs, store, workers=workers, engine=engine, progress=progress)

        shots = run(cuts, [Job(video, {}) for video in videos])
        bad = {video.name: row[BAD] for video, row in zip(videos, shots, strict=True) if row[BAD]}
        spans = [
            span for video, row in zip(videos, shots, strict=True) if not row[BAD] for span in clips_of(video, row)
        ]
        clips = [_clip(span) for span in spans]
        for stage in stages:
            _look_at(run, stage, spans, clips, bad)
        for clip, against in zip(clips, reasons(clips, bounds), strict=True):
            clip["why"] = [f"bad: {clip[BAD]}"] if clip[BAD] else against
        if any(isinstance(stage, Duplicates) for stage in stages):
            _drop_copies(spans, clips, near)
        for clip in clips:
            clip["kept"] = not clip["why"]
        if write_clips:
            (place / CLIPS).mkdir(exist_ok=True)
            _write_files(run, files[0], spans, clips, bad)
        remove_others(place / CLIPS, {clip["written"] for clip in clips if clip.get("written")})
        write_clips_table(place / "clips.parquet", clips, stages, write_clips)
        write_metadata(place / "metadata.jsonl", clips, CLIPS if write_clips else None)
        curated = Curated(folder=place, clips=clips, bad=bad, problems=problems)
        write_report(place / "report.html", curated.clips, spans, bad | curated.problems, bounds, stages)
    return curated


def bound_columns(stages: Sequence[Stage]) -> list[str]:
    """The columns that a bound may be on."""
    columns = [column for stage in stages for column in stage.columns.items()]
    return ["seconds", "frames", *(name for name, kind in columns if kind == "double")]


def _clip(span: Span) -> Row:
    """What is known of a clip before any stage."""
    return {
        **dict(zip(KEY, (span.source, span.stamp, span.first, span.count), strict=True)),
        "name": span.name,
        "place": span.path,
        "start": span.start,
        "end": span.end,
        "seconds": span.end - span.start,
        "frames": float(span.count),
        "captions": list(span.captions),
        BAD: None,
    }


def _look_at(run: Any, stage: Stage, spans: Sequence[Span], clips: Sequence[Row], bad: dict[str, str]) -> None:
    """Add a stage's columns to the clips; of those that an earlier stage could not read it is not asked."""
    good = [number for number, clip in enumerate(clips) if not clip[BAD]]
    jobs = [Job(spans[number], {column: _known(clips[number], column) for column in stage.reads}) for number in good]
    rows = dict(zip(good, run(stage, jobs), strict=True))
    for number, clip in enumerate(clips):
        row = rows.get(number)
        for column in stage.columns:
            clip[column] = None if row is None else row[column]
        if row is not None and row[BAD]:
            clip[BAD] = bad[spans[number].name] = row[BAD]


def _known(clip: Row, column: str) -> Any:
    """A column of earlier stages, or "said": the caption, of the captioners if they ran."""
    if column == "said":
        return clip.get("caption") or "".join(clip["captions"][:1])
    return clip[column]


def _drop_copies(spans: Sequence[Span], clips: Sequence[Row], near: float) -> None:
    """Of clips that pass so far, drop those that are copies of earlier ones."""
    passed = [number for number, clip in enumerate(clips) if not clip["why"]]
    for number, copy in zip(passed, copies([clips[number] for number in passed], near), strict=True):
        if copy is not None:
            clips[number]["why"].append(f"{copy[1]} as {spans[passed[copy[0]]].name}")


def _write_files(run: Any, stage: Stage, spans: Sequence[Span], clips: Sequence[Row], bad: dict[str, str]) -> None:
    kept = [number for number, clip in enumerate(clips) if clip["kept"]]
    rows = dict(zip(kept, run(stage, [Job(spans[number], {}) for number in kept]), strict=True))
    for number, clip in enumerate(clips):
        row = rows.get(number)
        clip["written"] = None if row is None else row["written"]
        if row is not None and row[BAD]:
            clip[BAD] = bad[spans[number].name] = row[BAD]
            clip["kept"], clip["why"] = False, [f"bad: {row[BAD]}"]


def _apart(source: Path, out: Path) -> None:
    here, there = source.resolve(), out.resolve()
    if here.is_file():
        here = here.parent
    if here == there or here in there.parents:
        raise InputError(f'out is "{out}", which is inside of the data "{source}"; name a folder outside of it')


@contextmanager
def _own(place: Path) -> Iterator[Path]:
    """The folder of rows in a place that is made if missing, and that no other process may use at the same time."""
    with locked(place, "out"):
        rows = place / ROWS
        try:
            rows.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(f"out {place} cannot be used: {error.strerror or error}") from error
        yield rows
