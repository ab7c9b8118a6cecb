"""Generated clips against real ones, folder against folder: `videofusion evaluate` and `videofusion.evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from videofusion.errors import InputError
from videofusion.evaluation import measure
from videofusion.evaluation.choose_clips import check_apart, generated_clips, real_clips
from videofusion.evaluation.extractors import EXTRACTORS, Extractor, load_extractor
from videofusion.evaluation.metric_table import chosen
from videofusion.evaluation.metrics.frechet import check_enough
from videofusion.evaluation.protocol_table import find_preset
from videofusion.evaluation.protocols import Metric
from videofusion.evaluation.record import write_record
from videofusion.evaluation.record_table import make_record
from videofusion.evaluation.states import state_file


def evaluate(
    generated: str | Path,
    real: str | Path,
    *,
    protocol: str = "embedded",
    weights: Mapping[str, str | Path] | None = None,
    sha256: Mapping[str, str] | None = None,
    torchscript: bool = False,
    metrics: Sequence[str] = (),
    count: int | None = None,
    size: int | None = None,
    frames: int | None = None,
    given: int | None = None,
    allow_few: bool = False,
    mixed_sizes: bool = False,
    layout: str = "auto",
    real_layout: str = "auto",
    out: Path | None = None,
    seed: int = 0,
    replicates: int = 50,
    batch: int = 8,
    device: str | None = None,
    bar: bool = True,
) -> dict[str, Any]:
    """Measure generated clips against real ones by a protocol.

    Args:
        generated: a folder of clips, or anything that can be trained on.
        real: the real data, whole, or the part that the protocol takes.
        protocol: a key of `PRESETS`; "embedded" takes no weights, its numbers compare with each other only.
        weights: files of the feature networks that the metrics need, by the networks' names.
        sha256: checksums that they must have, likewise.
        torchscript: open a TorchScript, which is a program; takes its checksum.
        metrics: some of the protocol's, or of those that any protocol can add; all of its own when empty.
        count: generated clips, if not as many as the protocol takes; such numbers compare with each other only.
        size: height and width in pixels of the clips that are compared, likewise.
        frames: of a clip, likewise.
        given: frames at the beginning that the model was given, likewise; metrics of pairs leave them out.
        allow_few: measure fewer than 256 clips, for a number that is for no comparison.
        mixed_sizes: take real videos of several sizes.
        layout: how the generated clips are laid out, a key of `LAYOUTS`, or "auto".
        real_layout: how the real clips are laid out.
        out: the record, a json file; where it is given, the same call goes on where it was stopped.
        seed: of all draws.
        replicates: draws of the bootstrap behind the intervals; 0 for none.
        batch: clips that go through a network together.
        device: "cpu", "cuda", ...; the first accelerator there is, when not given.
        bar: show progress.

    Returns:
        the record: each number with its interval, and all that it depends on.

    Raises:
        InputError: no such protocol or metric, weights that are missing or wrong, clips that cannot be compared.
        RunError: a clip is damaged, or the record cannot be written.
    """
    preset = find_preset(protocol).changed(count=count, size=size, frames=frames, given=given)
    wanted = chosen(preset, metrics)
    check_enough(preset.count, preset.real_count or preset.count, allow_few=allow_few)
    extractors = networks(wanted, weights or {}, sha256 or {}, torchscript=torchscript, device=device)
    with tqdm(unit="video", desc="looking at the videos", leave=False, disable=not bar) as shown:

        def opened(done: int, of: int) -> None:
            shown.total = of
            shown.update(done - shown.n)

        made = generated_clips(generated, preset, layout=layout, seed=seed, progress=opened)
        shown.reset()
        true = real_clips(
            real, preset, layout=real_layout, seed=seed, mixed=mixed_sizes, progress=opened, partners=made
        )
    check_apart(made, true)
    sums = {name: each.checksum for name, each in extractors.items()}
    state = out and state_file(out, [preset, wanted, made.describe(), true.describe(), sums, seed, batch])
    with tqdm(unit="clip", leave=False, disable=not bar) as shown:

        def measured(side: str, done: int, of: int) -> None:
            if done <= shown.n:  # the other set begins
                shown.reset()
            shown.total = of
            shown.set_description(f"{side} clips", refresh=False)
            shown.update(done - shown.n)

        found = measure.evaluate(
            preset,
            made,
            true,
            extractors,
            metrics=wanted,
            allow_few=allow_few,
            replicates=replicates,
            batch=batch,
            seed=seed,
            state=state,
            progress=measured,
        )
    record = make_record(preset, found, made, true, extractors, seed=seed, replicates=replicates)
    if out is not None and state is not None:
        write_record(out, record)
        state.unlink(missing_ok=True)
    return record


def networks(
    metrics: Sequence[Metric],
    weights: Mapping[str, str | Path],
    sha256: Mapping[str, str],
    *,
    torchscript: bool = False,
    device: str | None = None,
) -> dict[str, Extractor]:
    """The feature networks that metrics need, by name; all files are looked for before one is read.

    Args:
        metrics: that are to be measured.
        weights: files by the networks' names.
        sha256: checksums that they must have, likewise.
        torchscript: as of `evaluate`.
        device: as of `evaluate`.

    Raises:
        InputError: weights that are missing or wrong.
    """
    for name in with_weights(metrics):
        if name not in weights:
            raise InputError(f"{name} takes weights, which are not given: {EXTRACTORS[name].weights}")
        if not Path(weights[name]).exists():
            raise InputError(f'weights of {name} are "{weights[name]}", which is not there')
    return {
        name: load_extractor(
            name,
            Path(weights[name]) if name in weights else None,
            sha256=sha256.get(name),
            torchscript=torchscript,
            device=device,
        )
        for name in dict.fromkeys(metric.extractor for metric in metrics if metric.extractor)
    }


def with_weights(metrics: Sequence[Metric]) -> list[str]:
    """The feature networks among those that metrics need whose weights are the user's."""
    names = dict.fromkeys(metric.extractor for metric in metrics if metric.extractor)
    return [name for name in names if EXTRACTORS[name].weights]
