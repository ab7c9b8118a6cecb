"""What `videofusion compare` measures over one's own data: a protocol of `videofusion evaluate`, over live clips.

By default real clips are those that no run trained on, and the features those of the network that ships: numbers for
this table only. Another protocol, with its network's weights, makes others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videofusion.comparison.finding import SHOWN, Finding
from videofusion.data.batch import BadClip
from videofusion.data.layouts.detection import open_source
from videofusion.errors import InputError
from videofusion.evaluation.choose_clips import real_clips
from videofusion.evaluation.clip_sets import ClipSet, LiveClips
from videofusion.evaluation.extractors import Extractor, load_extractor
from videofusion.evaluation.making import Pipe, Sampling, make
from videofusion.evaluation.measure import check, evaluate
from videofusion.evaluation.metric_table import chosen
from videofusion.evaluation.metrics.base_frame import LEAST_FRAMES, change_at_base_frame, over_clips
from videofusion.evaluation.metrics.proportions import Z
from videofusion.evaluation.protocol_table import PRESETS, find_preset
from videofusion.evaluation.protocols import Preset
from videofusion.recipes.recipe import Recipe
from videofusion.training.batches import folder_clips

NO_CAPTION = "clip"  # what a model of data without captions is asked for
_MOST_REAL = 256  # real clips that the change at the base frame is measured of: they are read once more for it
_KINDS = ("frechet", "precision-recall")  # of the shipped protocol's metrics; flicker stands beside them


class ProtocolMeasure:
    """A protocol's metrics over clips that a model makes, prompted with the captions of the real ones.

    Args:
        preset: the protocol.
        real: its real clips.
        extractors: by name, those that it needs.
        metrics: names of its metrics, or of others; its own when None.
        allow_few: whether there may be fewer than 256 clips, for a number that is for no comparison.
        note: what has to stand under the table.

    Raises:
        InputError: too few clips, or clips that an extractor does not take.
    """

    def __init__(
        self,
        preset: Preset,
        real: ClipSet,
        extractors: Mapping[str, Extractor],
        *,
        metrics: Sequence[str] = (),
        allow_few: bool = False,
        note: str = "",
    ) -> None:
        self.preset, self.against, self.extractors, self.allow_few = preset, real, extractors, allow_few
        self.metrics = chosen(preset, metrics)
        check(preset, self.metrics, extractors, preset.count, len(real), allow_few=allow_few, replicates=0, batch=1)
        captions = [real.caption(number) or NO_CAPTION for number in range(len(real))]
        self.prompts = [captions[number % len(captions)] for number in range(preset.count)]
        few = "; under 256 clips: for no comparison" if min(preset.count, len(real)) < 256 else ""
        self.note = note or (
            f"Measured by {preset.name} over {preset.count} clips of each run, against {len(real)} real ones{few}."
        )

    def prompt(self) -> str:
        return self.prompts[0]

    def real(self) -> None:
        """Nothing: what is held out is the measure, and there may be no more of it."""

    def __call__(self, pipe: Pipe, sampling: Sampling) -> Finding:
        """Make clips and measure them.

        Raises:
            InputError: the model makes clips of another size or number of frames than the protocol's.
        """
        sampling = replace(sampling, given=self.preset.given)
        made = _Made(pipe, self.prompts, sampling, self.against)
        clips = LiveClips(made, len(self.prompts), {"sampling": str(asdict(sampling))}, self.prompts)
        found = evaluate(
            self.preset,
            clips,
            self.against,
            self.extractors,
            metrics=self.metrics,
            allow_few=self.allow_few,
        )
        row: dict[str, Any] = {}
        for name, each in found.items():
            deviation = None if each.interval is None else (each.interval[1] - each.interval[0]) / (2 * Z)
            row[name] = {"value": each.value, "deviation": deviation, "of_real": each.of_real}
        row |= {
            "measures": list(found),
            "change_at_base_frame": self._at_base(made),
            "protocol": {key: getattr(self.preset, key) for key in ("name", "count", "frames", "size", "note")},
            "real_clips": self.against.describe(),
            "sampling": asdict(sampling),
        }
        return Finding(row=row, clips=made.first, captions=self.prompts[: len(made.first)])

    def _at_base(self, made: _Made) -> dict[str, Any] | None:
        """The change at the base frame of the clips that were made, and of the real ones beside it."""
        found = over_clips(torch.cat(list(made.at_base.values()))) if made.at_base else None
        if found is None:
            return None
        return {**found.record(), "of_real": self._real_at_base}

    @cached_property
    def _real_at_base(self) -> float | None:
        some = range(min(len(self.against), _MOST_REAL))
        found = over_clips(torch.cat([change_at_base_frame(self.against.clip(n)[None]) for n in some]))
        return None if found is None else found.median


class _Made:
    """Clips of a model by number, made in batches and asked for in order."""

    def __init__(self, pipe: Pipe, prompts: Sequence[str], sampling: Sampling, real: ClipSet) -> None:
        self.pipe, self.prompts, self.sampling, self.real = pipe, prompts, sampling, real
        self._start, self._clips, self.first = 0, torch.empty(0), torch.empty(0)
        self.at_base: dict[int, Tensor] = {}  # the change at the base frame of each batch

    def __call__(self, number: int) -> Tensor:
        if not self._start <= number < self._start + len(self._clips):
            self._start = number - number % self.sampling.batch
            prompts = list(self.prompts[self._start : self._start + self.sampling.batch])
            numbers = range(self._start, self._start + len(prompts))
            given = [self.real.clip(n % len(self.real)) for n in numbers] if self.sampling.given else []
            real = torch.stack(given) if given else None
            self._clips = make(self.pipe, prompts, list(numbers), self.sampling, real=real)
            if self._start == 0:
                self.first = self._clips[:SHOWN]
            if self._clips.shape[1] >= LEAST_FRAMES:
                self.at_base[self._start] = change_at_base_frame(self._clips)
        return self._clips[number - self._start]


def held_out_measure(
    recipe: Recipe, data: Path, clips: int, *, allow_few: bool = False, seen: bool = False
) -> ProtocolMeasure:
    """The default: the network that ships, over clips of files that no run trained on.

    Args:
        recipe: of any run of the comparison; they all have these data.
        data: the folder.
        clips: that each model makes.
        allow_few: see `ProtocolMeasure`.
        seen: whether there are models among the systems, of which it is not known what they trained on.

    Raises:
        InputError: no file is held out, or too few clips can be read.
    """
    named = {item.split for item in open_source(data, recipe.clips.layout, recipe.clips.fold).items}
    split = "test" if "test" in named else "val"
    folder = folder_clips(recipe, data, split, 1, cache_bytes=0)
    if not len(folder):
        raise InputError(f'no file of "{data}" is held out, so there is nothing to measure against')
    folder = folder_clips(recipe, data, split, -(-clips // len(folder)), cache_bytes=0)
    kept, captions, videos = [], [], set()
    for number in range(0, len(folder), max(1, len(folder) // clips))[:clips]:
        try:
            sample = folder.sample(number)
        except BadClip:  # `videofusion data check` names it; the table says how many there are
            continue
        kept.append(number)
        captions.append(sample.caption or sample.label)
        videos.add(sample.name)
    if not kept:
        raise InputError(f'no held-out clip of "{data}" can be read; `videofusion data check` names the reasons')
    real = LiveClips(
        lambda n: folder.sample(kept[n]).clip,
        len(kept),
        {"place": str(data), "split": split, "videos": len(videos)},
        captions,
    )
    preset = replace(
        PRESETS["embedded"].changed(count=clips, size=recipe.clips.size, frames=recipe.clips.frames), real_count=None
    )
    of = f"{len(videos)} videos" if len(videos) > 1 else "one video"
    unseen = "that no run trained on" + "; whether other models did is not known" * seen
    note = (
        f"Measured over {clips} clips of each run, against {len(kept)} of {of} {unseen} ({split}). Features are "
        f"those of the network that ships: {preset.note}."
    )
    loaded = {name: load_extractor(name) for name in preset.extractors}
    metrics = [*(metric.name for metric in preset.metrics if metric.kind in _KINDS), "flicker"]
    return ProtocolMeasure(preset, real, loaded, metrics=metrics, allow_few=allow_few, note=note)


def protocol_measure(
    name: str,
    recipe: Recipe,
    data: Path,
    extractors: Mapping[str, Extractor],
    *,
    clips: int | None = None,
    allow_few: bool = False,
) -> ProtocolMeasure:
    """A protocol of `videofusion evaluate`, its real clips taken from the data as it says.

    Args:
        name: of the protocol.
        recipe: of any run of the comparison.
        data: the folder.
        extractors: by name, those that the protocol needs.
        clips: instead of the protocol's number.
        allow_few: see `ProtocolMeasure`.

    Raises:
        InputError: no such protocol, one of pairs, or data that do not have its clips.
    """
    preset = find_preset(name).changed(count=clips, size=recipe.clips.size, frames=recipe.clips.frames)
    if preset.paired:
        raise InputError(f'protocol is "{name}", which measures reconstructions; no run makes any')
    real = real_clips(data, preset, layout=recipe.clips.layout, mixed=True)
    return ProtocolMeasure(preset, real, extractors, allow_few=allow_few)
