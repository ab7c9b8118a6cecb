"""An evaluation by a protocol: clips through the networks, batch after batch, and the metrics at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from videofusion.clip import check_clip
from videofusion.errors import InputError
from videofusion.evaluation.clip_sets import ClipSet
from videofusion.evaluation.extractors import Extractor
from videofusion.evaluation.frechet import check_enough
from videofusion.evaluation.metric_kinds import KINDS, Given, Measured
from videofusion.evaluation.presets import Metric, Preset
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
        real: real clips.
        extractors: by name, those that the metrics need.
        metrics: some of the preset's; all by default.
        allow_few: whether there may be under 256 clips of a set, which makes a number that is for no comparison.
        replicates: draws of the bootstrap; 0 for no intervals.
        batch: clips that go through the networks together.
        seed: of the bootstrap and of what is held.
        state: a file of its own for this very evaluation; removed by the caller.
        progress: called with ("real" or "made", clips done, clips in all).

    Returns:
        what was measured, by name.

    Raises:
        InputError: too few clips, an extractor that is not there or takes other clips, or clips that are not as the
            protocol has them.
        RunError: a clip cannot be read.
    """
    metrics = preset.metrics if metrics is None else metrics
    _check(preset, metrics, extractors, len(made), len(real), allow_few=allow_few, replicates=replicates, batch=batch)
    accumulators: dict[str, Accumulator] = {}
    done = 0
    if state is not None and state.exists():
        accumulators, done = load_state(state)
    sides = {
        "real": (real, Tally("real", metrics, len(real), seed, accumulators)),
        "made": (made, Tally("made", metrics, len(made), seed, accumulators)),
    }
    needed = {metric.extractor: extractors[metric.extractor] for metric in metrics}
    before, saved = 0, time.monotonic()
    for side, (clips, tally) in sides.items():
        for start in range(max(0, done - before), len(clips), batch):
            numbers = range(start, min(start + batch, len(clips)))
            stacked = _stacked(clips, numbers, side, preset)
            tally.update({n: each.read(stacked) for n, each in needed.items()}, [clips.key(n) for n in numbers])
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
        found |= KINDS[metric.kind](metric, given)
    return found


def _check(
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
    if batch < 1 or replicates < 0 or replicates == 1:
        raise InputError(f"batch is {batch} and replicates {replicates}; allowed are 1 or more, and 0 or 2 and more")
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
        extractor = extractors.get(metric.extractor)
        if extractor is None:
            raise InputError(f"extractors has no {metric.extractor}, which {metric.name} of {preset.name} needs")
        if metric.layer not in extractor.layers:
            raise InputError(f"{metric.extractor} has no layer {metric.layer}, but {', '.join(extractor.layers)}")
        most = extractor.max_frames
        if preset.frames < extractor.min_frames or (most is not None and preset.frames > most):
            allowed = f"{extractor.min_frames} or more" if most is None else f"{extractor.min_frames} to {most}"
            raise InputError(
                f"clips of {preset.name} have {preset.frames} frames, but {metric.extractor} takes {allowed}"
            )


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
