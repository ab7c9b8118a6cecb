"""An evaluation by a protocol: clips through the networks in batches, then the metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from videofusion.clip import check_clip
from videofusion.errors import InputError
from videofusion.evaluation.clip_sets import ClipSet
from videofusion.evaluation.extractors import Extractor
from videofusion.evaluation.metric_kinds import Given, Measured, measured
from videofusion.evaluation.metrics.frechet import check_enough
from videofusion.evaluation.metrics.means import MEANS, Seen
from videofusion.evaluation.protocols import Metric, Preset
from videofusion.evaluation.states import Accumulator, load_state, save_state
from videofusion.evaluation.tally import Tally

Progress = Callable[[str, int, int], None]

_SAVE_SECONDS = 60.0
_LEAST = {"precision-recall": 4, "density-coverage": 6}  # clips, by the neighbour that the balls reach to


def evaluate(
    preset: Preset,
    made: ClipSet,
    real: ClipSet,
    extractors: Mapping[str, Extractor],
    *,
    metrics: Sequence[Metric] | None = None,
    allow_few: bool = False,
    replicates: int = 50,
    batch: int = 8,
    seed: int = 0,
    state: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Measured]:
    """Measure generated clips against real ones.

    Memory does not grow with the number of clips. With `state`, what has been done is saved once a minute, and the same
    call goes on from there, to the same bits.

    Args:
        preset: the protocol.
        made: generated clips.
        real: real clips; of a paired protocol, clip n is what generated clip n should be.
        extractors: by name, those that the metrics need.
        metrics: the preset's own by default; `metric_table.chosen` finds some by name.
        allow_few: whether there may be under 256 clips of a set, which makes a number that is for no comparison.
        replicates: draws of the bootstrap; 0 for no intervals.
        batch: clips that go through the networks together.
        seed: of the bootstrap and of what is held.
        state: a file of its own for this very evaluation; removed by the caller.
        progress: called with ("real" or "made", clips done, clips in all).

    Returns:
        what was measured, by name.

    Raises:
        InputError: too few clips, an extractor that is not there or takes other clips, captions that are not there, or
            clips that are not as the protocol has them.
        RunError: a clip cannot be read.
    """
    metrics = preset.metrics if metrics is None else metrics
    check(preset, metrics, extractors, len(made), len(real), allow_few=allow_few, replicates=replicates, batch=batch)
    told = {
        side: [clips.caption(number) for number in range(len(clips))]
        for side, clips in (("real", real), ("made", made))
    }
    for metric in metrics:
        lacking = _lacks_captions(metric, told["made"])
        if lacking is not None:
            raise InputError(f"{metric.name} takes {lacking}, among the generated clips")
    accumulators: dict[str, Accumulator] = {}
    done = 0
    if state is not None and state.exists():
        accumulators, done = load_state(state)
    of_real = [each for each in metrics if not each.paired and _lacks_captions(each, told["real"]) is None]
    sides = {
        "real": (real, Tally("real", of_real, len(real), seed, accumulators)),
        "made": (made, Tally("made", metrics, len(made), seed, accumulators)),
    }
    paired = any(metric.paired for metric in metrics)
    before, saved = 0, time.monotonic()
    for side, (clips, tally) in sides.items():
        conditions = {caption: number for number, caption in enumerate(dict.fromkeys(told[side]))}
        # Where metrics only compare pairs, real clips are read beside the generated ones.
        for start in range(max(0, done - before), len(clips) if tally.readings else 0, batch):
            numbers = range(start, min(start + batch, len(clips)))
            stacked = _stacked(clips, numbers, side, preset)
            pair = (stacked, _stacked(real, numbers, "real", preset)) if paired and side == "made" else None
            captions = [told[side][n] for n in numbers]
            keys = [clips.key(n) for n in numbers]
            seen = Seen(stacked, keys, extractors, pair=_predicted(pair, preset), captions=captions)
            tally.update(seen, [conditions[caption] for caption in captions])
            if progress is not None:
                progress(side, numbers.stop, len(clips))
            if state is not None and time.monotonic() - saved > _SAVE_SECONDS:
                save_state(state, accumulators, done=before + numbers.stop)
                saved = time.monotonic()
        before += len(clips)
    if state is not None:
        save_state(state, accumulators, done=before)
    given = Given(sides["real"][1], sides["made"][1], replicates, seed, allow_few)
    found: dict[str, Measured] = {}
    for metric in metrics:
        found |= measured(metric, given)
    return found


def _lacks_captions(metric: Metric, captions: Sequence[str]) -> str | None:
    """What captions a metric takes that these are not; None if nothing is lacking."""
    counts = Counter(captions)
    if metric.kind in MEANS and MEANS[metric.kind].needs == "text" and counts[""]:
        return f"a caption of each clip, but {counts['']} of {len(captions)} have none"
    if metric.kind == "diversity" and (len(counts) < 2 or min(counts.values()) < 2 or counts[""]):
        few = sum(count < 2 for count in counts.values())
        return (
            "two clips or more of each caption or class, and two captions or more, but there are "
            f"{len(counts) - (counts[''] > 0)}, of {few} one clip only, and {counts['']} clips have none"
        )
    return None


def _predicted(pair: tuple[Tensor, Tensor] | None, preset: Preset) -> tuple[Tensor, Tensor] | None:
    """Without the frames that were given, of which there is nothing to measure."""
    return None if pair is None else (pair[0][:, preset.given :], pair[1][:, preset.given :])


def check(
    preset: Preset,
    metrics: Iterable[Metric],
    extractors: Mapping[str, Extractor],
    made: int,
    real: int,
    *,
    allow_few: bool,
    replicates: int,
    batch: int,
) -> None:
    """Check that clips and extractors are what metrics take; arguments as of `evaluate`, numbers of clips for the sets.

    Raises:
        InputError: see `evaluate`.
    """
    if batch < 1 or replicates < 0 or replicates == 1:
        raise InputError(
            f"batch is {batch} and replicates {replicates}; batch must be at least 1, replicates 0 or at least 2"
        )
    if made != preset.count or (preset.real_count is not None and real != preset.real_count):
        raise InputError(
            f"there are {made} generated and {real} real clips, but {preset.name} takes {preset.count} and "
            f"{preset.real_count or 'all'}"
        )
    check_enough(made, real, allow_few=allow_few)
    for metric in metrics:
        least = metric.splits if metric.kind == "inception-score" else _LEAST.get(metric.kind, 2)
        if min(made, real) < least:
            raise InputError(f"there are {min(made, real)} clips, but {metric.name} takes at least {least}")
        if metric.paired and not preset.paired:
            raise InputError(f"{metric.name} compares pairs, but the clips of {preset.name} are none")
        if metric.kind in MEANS and preset.frames < MEANS[metric.kind].frames:
            raise InputError(f"clips of {preset.name} have one frame, but {metric.name} takes two or more")
        if metric.extractor:
            _check_extractor(metric, preset, extractors)


def _check_extractor(metric: Metric, preset: Preset, extractors: Mapping[str, Extractor]) -> None:
    extractor = extractors.get(metric.extractor)
    if extractor is None:
        raise InputError(f"extractors has no {metric.extractor}, which {metric.name} of {preset.name} needs")
    if metric.layer not in extractor.layers:
        raise InputError(f"{metric.extractor} has no layer {metric.layer}, but {', '.join(extractor.layers)}")
    needs = MEANS[metric.kind].needs if metric.kind in MEANS else ""
    if needs and not hasattr(extractor, needs):
        raise InputError(f"{metric.extractor} has no {needs}, which {metric.name} takes")
    most = extractor.max_frames
    if preset.frames < extractor.min_frames or (most is not None and preset.frames > most):
        allowed = f"{extractor.min_frames} or more" if most is None else f"{extractor.min_frames} to {most}"
        raise InputError(f"clips of {preset.name} have {preset.frames} frames, but {metric.extractor} takes {allowed}")


def _stacked(clips: ClipSet, numbers: Iterable[int], side: str, preset: Preset) -> Tensor:
    """A batch of clips, each of which is what the protocol says."""
    shape = (preset.frames, 3, preset.size, preset.size)
    parts = []
    for number in numbers:
        clip = check_clip(clips.clip(number), name=f"{side} clip {clips.key(number)}")
        if tuple(clip.shape) != shape:
            raise InputError(
                f"{side} clip {clips.key(number)} has the shape {tuple(clip.shape)}, but {preset.name} takes {shape}"
            )
        parts.append(clip.float().clamp(-1, 1))
    return torch.stack(parts)
