"""How far the embedded feature network can be trusted: `python -m tools.embedded_report`.

Clips that the network was not trained on are spoiled more and more, and their distances from other such clips measured;
they must grow with the damage. What happens over time must be noticed in clips of another content too, and a distance
must not depend on the number of clips.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from scipy.stats import spearmanr
from torch import Generator, Tensor
from tqdm import tqdm

from tools.distortions import ALL_DISTORTIONS
from tools.report_files import Out, check_out, deliver_text
from tools.windows import Windows, read_videos
from videofusion.cli import run_command
from videofusion.cli.options import Force
from videofusion.digits.moving_digits import MovingDigits, render
from videofusion.errors import InputError
from videofusion.evaluation.extractors.embedded import EmbeddedExtractor
from videofusion.evaluation.extractors.embedded_network import SIDE
from videofusion.evaluation.extractors.network_extractor import NetworkExtractor
from videofusion.evaluation.metric_kinds import KINDS, Given, Measured
from videofusion.evaluation.metrics.frechet import check_enough
from videofusion.evaluation.metrics.means import Seen
from videofusion.evaluation.protocol_table import find_preset
from videofusion.evaluation.protocols import NOT_COMPARABLE
from videofusion.evaluation.record import markdown_table
from videofusion.evaluation.tally import Tally

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
FRAMES = 16
COUNTS = (256, 512, 1024)  # of clips, over which a distance has to stay the same
QUALITY, MOTION = "quality", "motion"
OF_TIME = ("jitter", "shuffle", "freeze", "stutter", "cut", "warp")  # what motion has to notice
OF_FRAMES = ("blur", "noise", "warp", "still warp", "blocks", "colour")  # what quality has to notice
PROVED = ("blur", "noise", "shuffle", "freeze", "warp")
OTHER_COLOURS = ", other colours"
DEFAULT = (*PROVED, "still warp", *(name + OTHER_COLOURS for name in ("shuffle", "freeze")))
_NONE = "none"
_EXAMPLES = {_NONE: 0.0, "blur": 0.6, "shuffle": 0.6}  # strengths that are measured over `COUNTS`
_TOGETHER = 16  # clips that are spoiled alike, since some distortions do the same to all that they are given
_SEEDS = (31, 500)  # of the clips that are measured from, and of those that are spoiled

Spoil = Callable[[Tensor, float, Generator], Tensor]
_METRICS = tuple(metric for metric in find_preset("embedded").metrics if metric.name in (QUALITY, MOTION))


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Two sets of clips of one kind, [n t 3 s s] as bytes: one to measure from, the other one to spoil."""

    reference: Tensor
    plain: Tensor


@dataclass(frozen=True, kw_only=True)
class Response:
    """Distances of spoiled clips, at strength 0 and at `STRENGTHS`; rank correlation with the latter.

    The correlation is None where the strength changes nothing at all, as the order of frames for their quality.
    """

    distances: tuple[float, ...]
    spearman: float | None


def digit_clips(count: int) -> Clips:
    """Moving digits of the test split: other people's handwriting than in training."""
    data = MovingDigits(FRAMES, SIDE, "test", 0.25)

    def drawn(seed: int) -> Tensor:
        parts = [range(start, min(start + 64, count)) for start in range(0, count, 64)]
        return torch.cat([_bytes(render(data.specs(part, seed=seed), FRAMES, SIDE)) for part in parts])

    return Clips(reference=drawn(_SEEDS[0]), plain=drawn(_SEEDS[1]))


def video_clips(paths: Sequence[str | Path], count: int) -> Clips:
    """Random windows of videos, of each path equally many.

    Raises:
        InputError: a path without a video of 16 frames or more, or with one that cannot be read.
    """
    return _drawn(Windows([read_videos(path) for path in paths], FRAMES, SIDE), count)


def _drawn(windows: Windows, count: int) -> Clips:
    reference, plain = (_bytes(windows.clips(count, FRAMES, seed)) for seed in _SEEDS)
    return Clips(reference=reference, plain=plain)


def responses(extractor: NetworkExtractor, clips: Clips, names: Sequence[str]) -> dict[str, dict[str, Response]]:
    """How distances grow with the strength of distortions.

    Args:
        extractor: the network.
        clips: the clips; under 256 of them give rough numbers.
        names: of `ALL_DISTORTIONS`; "X, other colours" is X done to clips whose channels are exchanged.

    Returns:
        by distortion and measure.
    """
    reference = _tally(extractor, clips.reference, "real")
    found = {}
    plain: dict[bool, dict[str, float]] = {}
    for name in tqdm(names, desc="distortions", leave=False):
        recoloured = name.endswith(OTHER_COLOURS)
        spoil = ALL_DISTORTIONS[name.removesuffix(OTHER_COLOURS)]
        spoil = _other_colours(spoil) if recoloured else spoil
        if recoloured not in plain:
            plain[recoloured] = _distances(reference, _tally(extractor, clips.plain, "made", spoil, 0.0))
        rows = [
            plain[recoloured],
            *(_distances(reference, _tally(extractor, clips.plain, "made", spoil, s)) for s in STRENGTHS),
        ]
        found[name] = {measure: response([row[measure] for row in rows]) for measure in (QUALITY, MOTION)}
    return found


def response(distances: Sequence[float]) -> Response:
    """Distances at strength 0 and at `STRENGTHS` with their rank correlation."""
    low, high = min(distances), max(distances)
    flat = high - low < 1e-3 * high
    rank = None if flat else float(spearmanr(STRENGTHS, distances[1:]).statistic)
    return Response(distances=tuple(distances), spearman=rank)


def settled(
    extractor: NetworkExtractor,
    clips: Clips,
    strengths: Mapping[str, float],
    *,
    counts: Sequence[int] = COUNTS,
    replicates: int = 50,
) -> dict[str, dict[str, list[Measured]]]:
    """The distance of clips that are spoiled to one degree, over more and more of them.

    Args:
        extractor: the network.
        clips: the clips.
        strengths: how much, by names of `ALL_DISTORTIONS`; another name spoils nothing.
        counts: of clips, multiples of 16.
        replicates: draws of the bootstrap behind the intervals.

    Returns:
        by distortion and measure, for each of `counts`.

    Raises:
        InputError: fewer clips than the largest count.
    """
    if len(clips.plain) < max(counts):
        raise InputError(f"clips are {len(clips.plain)}, but distances over {max(counts)} are asked for")
    real = _tallies(extractor, clips.reference, "real", counts)
    found: dict[str, dict[str, list[Measured]]] = {}
    for name, strength in strengths.items():
        made = _tallies(extractor, clips.plain, "made", counts, ALL_DISTORTIONS.get(name), strength)
        given = [Given(one, other, replicates, 0, True) for one, other in zip(real, made, strict=True)]
        found[name] = {
            metric.name: [KINDS[metric.kind](metric, each)[metric.name] for each in given] for metric in _METRICS
        }
    return found


def embedded_report(paths: Sequence[str | Path], count: int, names: Sequence[str] = ()) -> tuple[str, dict[str, Any]]:
    """Responses to distortions, and distances over more and more clips.

    Args:
        paths: videos and folders of videos that the network was not trained on; moving digits if there are none.
        count: clips that are spoiled, and as many that they are measured from.
        names: of the distortions, see `responses`; by default `PROVED` and what they are compared with.

    Returns:
        tables, and the record.

    Raises:
        InputError: no such distortion, or videos that cannot be used.
    """
    names = tuple(names) or DEFAULT
    for name in names:
        if name.removesuffix(OTHER_COLOURS) not in ALL_DISTORTIONS:
            raise InputError(
                f'distortions has "{name}"; it must be one of {", ".join(ALL_DISTORTIONS)}, alone or followed '
                f'by "{OTHER_COLOURS}"'
            )
    extractor = EmbeddedExtractor.load()
    most = max(count, *COUNTS)
    clips = video_clips(paths, most) if paths else digit_clips(most)
    found = responses(extractor, Clips(reference=clips.reference[:count], plain=clips.plain[:count]), names)
    over = settled(extractor, clips, _EXAMPLES)
    record = {
        "count": count,
        "data": [str(path) for path in paths],
        "embedded_sha256": extractor.checksum,
        "strengths": [0.0, *STRENGTHS],
        "responses": {n: {m: asdict(r) for m, r in each.items()} for n, each in found.items()},
        "counts": list(COUNTS),
        "over_counts": {n: {m: list(map(asdict, v)) for m, v in each.items()} for n, each in over.items()},
    }
    kind = "videos" if paths else "moving digits"
    return "\n\n".join([NOT_COMPARABLE, _response_table(kind, found), _count_table(kind, over)]), record


def _response_table(kind: str, found: dict[str, dict[str, Response]]) -> str:
    rows = [
        [
            name,
            measure,
            *(f"{distance:.3g}" for distance in each.distances),
            "–" if each.spearman is None else f"{each.spearman:.2f}",
        ]
        for name, by_measure in found.items()
        for measure, each in by_measure.items()
    ]
    return markdown_table([kind, "measure", "0", *map(str, STRENGTHS), "Spearman"], rows)


def _count_table(kind: str, over: dict[str, dict[str, list[Measured]]]) -> str:
    rows = []
    for name, by_measure in over.items():
        for measure, by_count in by_measure.items():
            cells = []
            for each in by_count:
                low, high = each.interval or (each.value, each.value)
                limit = "" if each.at_infinity is None else f", at infinity {each.at_infinity:.3g}"
                cells.append(f"{each.value:.3g} ({low:.3g} to {high:.3g}){limit}")
            rows.append([f"{name} {_EXAMPLES[name]:g}" if _EXAMPLES[name] else name, measure, *cells])
    return markdown_table([kind, "measure", *(f"N = {count}" for count in COUNTS)], rows)


def _distances(reference: Tally, spoiled: Tally) -> dict[str, float]:
    return {
        metric.name: reference.moments_of(metric).distance(spoiled.moments_of(metric), allow_few=True)
        for metric in _METRICS
    }


def _tally(extractor: NetworkExtractor, clips: Tensor, side: str, spoil: Spoil | None = None, s: float = 0.0) -> Tally:
    return _tallies(extractor, clips, side, (len(clips),), spoil, s)[0]


def _tallies(
    extractor: NetworkExtractor,
    clips: Tensor,
    side: str,
    counts: Sequence[int],
    spoil: Spoil | None = None,
    strength: float = 0.0,
) -> list[Tally]:
    """What is known of the first so many clips, for each count; the network sees each clip once."""
    tallies = [Tally(side, _METRICS, count, 0, {}) for count in counts]
    for start in range(0, max(counts), _TOGETHER):
        part = clips[start : start + _TOGETHER].float() / 127.5 - 1
        if spoil is not None:
            part = spoil(part, strength, Generator().manual_seed(start))
        seen = Seen(part, [str(start + i) for i in range(len(part))], {"embedded": extractor})
        for count, tally in zip(counts, tallies, strict=True):
            if start < count:
                tally.update(seen)
    return tallies


def _other_colours(spoil: Spoil) -> Spoil:
    return lambda clips, strength, generator: spoil(clips.roll(1, 2), strength, generator)


def _bytes(clips: Tensor) -> Tensor:
    return (clips * 127.5 + 127.5).round().clamp(0, 255).byte()


def main(
    *,
    data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH")] = (),
    distortions: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = (),
    clips: int = 512,
    out: Out = None,
    force: Force = False,
) -> None:
    """Test the feature network that ships, on moving digits or on videos: does a distance grow with the damage?

    Args:
        data: videos, and folders of videos, that it was not trained on; moving digits by default
        distortions: blur, noise, jitter, shuffle, freeze, cut, stutter, warp, "still warp", blocks, colour, or one of
            them followed by ", other colours"
        clips: spoiled in several ways and measured
        out: a folder for the tables and the record (json)
        force: replace what such a report has written there before
    """
    check_out("embedded-report", out, force)

    check_enough(clips, allow_few=False)
    table, record = embedded_report(data, clips, distortions)
    deliver_text("embedded-report", table, record, out)


if __name__ == "__main__":
    sys.exit(run_command(main, "python -m tools.embedded_report"))
