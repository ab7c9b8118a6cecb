"""The report: one HTML file with a histogram of every score, and pictures of kept and dropped clips with reasons."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from videofusion.curation.histogram import histogram
from videofusion.curation.spans import Span, pictures_of
from videofusion.curation.stage import BAD, Row, Stage
from videofusion.curation.thresholds import Bound
from videofusion.video.footage import Unreadable

_SHOWN = 12  # clips under each heading
_SIDE = 144  # pixels, of a picture
_BINS = 30

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; color: #222; }
figure { display: inline-block; margin: 0 1.5em 1em 0; vertical-align: top; }
figcaption { font-weight: 600; }
svg text { font-size: 12px; fill: #555; } svg .right { text-anchor: end; }
svg .kept { fill: #2b7a78; } svg .dropped { fill: #e0a458; } svg line { stroke: #b00020; stroke-dasharray: 4 3; }
.clips { display: flex; flex-wrap: wrap; gap: 1em; }
.clip { width: 27.5em; font-size: 13px; overflow-wrap: anywhere; } .clip img { width: 32%; }
.why { color: #b00020; } .scores { color: #555; } li { overflow-wrap: anywhere; }
"""


def write_report(
    path: Path,
    clips: Sequence[Row],
    spans: Sequence[Span],
    bad: Mapping[str, str],
    bounds: Sequence[Bound],
    stages: Sequence[Stage],
) -> None:
    """Write it; it shows clips evenly from all that there are.

    Raises:
        RunError: the disk is full.
    """
    from videofusion.files import write_whole

    kept = [number for number, clip in enumerate(clips) if clip["kept"]]
    seconds = [sum(clips[number]["seconds"] for number in part) for part in (range(len(clips)), kept)]
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Curation</title>",
        f"<style>{_STYLE}</style></head><body><h1>Curation</h1>",
        f"<p>{len(clips)} clips of {seconds[0]:.1f} s were found; {len(kept)} of {seconds[1]:.1f} s are kept. "
        f"Bounds: {escape(', '.join(map(str, bounds)) or 'none')}.</p>",
        "<h2>Scores</h2><p>Kept clips are dark, dropped ones light; a line is a bound.</p>",
        *_histograms(clips, bounds, stages),
        f"<h2>Kept ({len(kept)})</h2>",
        _gallery(kept, clips, spans, stages),
    ]
    by_reason: dict[str, list[int]] = {}
    for number, clip in enumerate(clips):
        for reason in clip["why"]:
            by_reason.setdefault(_kind(reason), []).append(number)
    for kind, numbers in sorted(by_reason.items(), key=lambda entry: -len(entry[1])):
        parts += [f"<h2>Dropped: {escape(kind)} ({len(numbers)})</h2>", _gallery(numbers, clips, spans, stages)]
    if bad:
        lines = "".join(f"<li>{escape(name)}: {escape(reason)}</li>" for name, reason in sorted(bad.items()))
        parts.append(f"<h2>Not readable ({len(bad)})</h2><ul>{lines}</ul>")
    parts.append("</body></html>\n")
    write_whole(path, "\n".join(parts).encode("utf-8", "replace"))


def dropped_for(clips: Sequence[Row]) -> Counter[str]:
    """How many clips were dropped for what; one may be for several."""
    return Counter(kind for clip in clips for kind in {_kind(reason) for reason in clip["why"]})


def _kind(reason: str) -> str:
    """A reason without this clip's own numbers and names."""
    if " is below " in reason or " is above " in reason:
        column, _, rest = reason.partition(" ")
        return f"{column} {rest.partition(' is ')[2]}"
    return reason.partition(" as ")[0].partition(":")[0]


def _histograms(clips: Sequence[Row], bounds: Sequence[Bound], stages: Sequence[Stage]) -> list[str]:
    columns = ["seconds", *(name for stage in stages for name, kind in stage.columns.items() if kind == "double")]
    drawn = []
    for column in columns:
        known = [clip for clip in clips if clip[column] is not None]
        kept, dropped = ([clip[column] for clip in known if clip["kept"] is which] for which in (True, False))
        limits = [bound.limit([*kept, *dropped]) for bound in bounds if bound.column == column]
        if known:
            drawn.append(histogram(column, kept, dropped, limits, _BINS))
    return drawn


def _gallery(numbers: Sequence[int], clips: Sequence[Row], spans: Sequence[Span], stages: Sequence[Stage]) -> str:
    step = max(1, -(-len(numbers) // _SHOWN))
    shown = [_figure(clips[number], spans[number], stages) for number in numbers[::step]]
    return f'<div class="clips">{"".join(shown)}</div>'


def _figure(clip: Row, span: Span, stages: Sequence[Stage]) -> str:
    scores = [f"{name} {clip[name]:.4g}" for stage in stages for name, kind in stage.columns.items()
              if kind == "double" and clip[name] is not None]  # fmt: skip
    said = [clip[name] for name in ("caption", "words") if clip.get(name)] or [span.caption]
    return (
        f'<div class="clip">{_pictures(clip, span)}<div>{escape(span.name)}</div>'
        f"<div>{escape(' · '.join(text for text in said if text))}</div>"
        f'<div class="scores">{escape(", ".join(scores))}</div>'
        f'<div class="why">{escape("; ".join(clip["why"]))}</div></div>'
    )


def _pictures(clip: Row, span: Span) -> str:
    if clip[BAD]:
        return ""
    try:
        pictures = pictures_of(span.open(), 3)
    except (Unreadable, OSError):  # it was readable a moment ago; the report is no place to fail
        return "<div>(no picture)</div>"
    tags = []
    for picture in pictures:
        image = Image.fromarray(picture)
        image.thumbnail((_SIDE, _SIDE))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=80)
        tags.append(f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}">')
    return "".join(tags)
