"""`videofusion evaluate` and `results`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from videofusion.cli.options import refuse_existing
from videofusion.errors import InputError, printable

if TYPE_CHECKING:
    from videofusion.evaluation.extractors import Extractor
    from videofusion.evaluation.protocols import Metric

Flag = tyro.conf.FlagCreatePairsOff[bool]


def evaluate(
    generated: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="GENERATED")],
    real: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="REAL")],
    *,
    protocol: Annotated[str, tyro.conf.arg(metavar="NAME")] = "tats",
    weights: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME=]FILE")] = (),
    sha256: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[NAME=]SUM")] = (),
    torchscript: Flag = False,
    metrics: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = (),
    count: int | None = None,
    size: int | None = None,
    frames: int | None = None,
    given: int | None = None,
    allow_few: Flag = False,
    mixed_sizes: Flag = False,
    layout: str = "auto",
    real_layout: str = "auto",
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="FILE.json")] = None,
    seed: int = 0,
    replicates: int = 50,
    batch: int = 8,
    device: str | None = None,
    force: Flag = False,
) -> None:
    """Measure generated clips against real ones by the protocol of published numbers.

    Prints a table. With --out, writes a record of all that the numbers depend on, and goes on where it was stopped.

    Args:
        generated: a folder of clips, or anything that can be trained on (docs/data.md)
        real: the real data, whole, or the part that the protocol takes
        protocol: tats, stylegan-v, cd-fvd, latte, vdm-ucf101, embedded, digits, ...; see docs/evaluation.md
        weights: of the feature network, or several as i3d=FILE c3d-ucf101=FILE
        sha256: the checksum that the weights must have, likewise
        torchscript: open a TorchScript, which is a program; takes --sha256
        metrics: some of the protocol's; all by default. With any protocol also flicker, flow-magnitude, warping-error;
            clip-similarity (with the captions), clip-frame-consistency, clip-drift, clip-diversity (of a caption's
            clips), i3d-diversity, embedded-frame-consistency, embedded-drift, embedded-diversity; of moving digits
            digits-frame-consistency, digits-drift, digits-diversity; and with the protocol paired
            psnr, psnr-of-clip, ssim, lpips-alex, lpips-vgg
        count: generated clips, if not as many as the protocol takes; such numbers compare with each other only
        size: height and width of the clips that are compared, if not the protocol's, likewise
        frames: of a clip, likewise
        given: frames at the begin that the model was given, likewise; metrics of pairs leave them out
        allow_few: measure fewer than 256 clips, for a number that is for no comparison
        mixed_sizes: take real videos of several sizes
        layout: how the generated clips are laid out
        real_layout: how the real clips are laid out
        out: the record
        seed: of all draws
        replicates: draws of the bootstrap behind the intervals; 0 for none
        batch: clips that go through a network together
        device: cpu, cuda, ...
        force: replace the record if it exists
    """
    if out is not None:
        refuse_existing([out], force)
    for folder, own in ((generated, layout), (real, real_layout)):
        if own == "auto" and not folder.expanduser().exists():  # else it may be a name on the Hub
            raise InputError(f'"{folder}" is not there; it must be a folder of clips, or what else docs/data.md lists')

    from tqdm import tqdm

    from videofusion.clip import check_output
    from videofusion.evaluation.choose_clips import check_apart, generated_clips, real_clips
    from videofusion.evaluation.measure import evaluate as measure
    from videofusion.evaluation.metric_table import chosen as choose
    from videofusion.evaluation.metrics.frechet import check_enough
    from videofusion.evaluation.protocol_table import find_preset
    from videofusion.evaluation.record import write_record
    from videofusion.evaluation.record_table import make_record, result_table
    from videofusion.evaluation.states import state_file

    preset = find_preset(protocol).changed(count=count, size=size, frames=frames, given=given)
    chosen = choose(preset, metrics)
    check_enough(preset.count, preset.real_count or preset.count, allow_few=allow_few)
    if out is not None:
        check_output(out, endings=(".json",), name="out")
    extractors = _extractors(chosen, weights, sha256, torchscript, device)
    with tqdm(unit="video", desc="looking at the videos", leave=False) as bar:

        def opened(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        made = generated_clips(generated, preset, layout=layout, seed=seed, progress=opened)
        bar.reset()
        true = real_clips(
            real, preset, layout=real_layout, seed=seed, mixed=mixed_sizes, progress=opened, partners=made
        )
    check_apart(made, true)
    sums = {name: each.checksum for name, each in extractors.items()}
    state = out and state_file(out, [preset, chosen, made.describe(), true.describe(), sums, seed, batch])
    with tqdm(unit="clip", leave=False) as bar:

        def measured(side: str, done: int, of: int) -> None:
            if done <= bar.n:  # the other set begins
                bar.reset()
            bar.total = of
            bar.set_description(f"{side} clips", refresh=False)
            bar.update(done - bar.n)

        found = measure(
            preset,
            made,
            true,
            extractors,
            metrics=chosen,
            allow_few=allow_few,
            replicates=replicates,
            batch=batch,
            seed=seed,
            state=state,
            progress=measured,
        )
    record = make_record(preset, found, made, true, extractors, seed=seed, replicates=replicates)
    print(result_table(record))
    if out is not None and state is not None:
        write_record(out, record)
        state.unlink(missing_ok=True)
        print(f"\nwritten to {out}")


def results(
    records: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE.json")],
) -> None:
    """Join records of `videofusion evaluate` into one table; those of unlike protocols are refused.

    Args:
        records: of one protocol
    """
    from videofusion.evaluation.record_table import joined_table, read_record

    print(printable(joined_table({str(path): read_record(path) for path in records})))


def _extractors(
    metrics: Sequence[Metric], weights: Sequence[str], sha256: Sequence[str], torchscript: bool, device: str | None
) -> dict[str, Extractor]:
    """The feature networks that metrics need, with their weights; all files are looked for before one is read."""
    from videofusion.evaluation.extractors import EXTRACTORS, load_extractor

    names = list(dict.fromkeys(metric.extractor for metric in metrics if metric.extractor))
    with_files = [name for name in names if EXTRACTORS[name].weights]
    files = _by_name("weights", weights, with_files)
    sums = _by_name("sha256", sha256, with_files)
    for name in with_files:
        if name not in files:
            option = "--weights FILE" if len(with_files) == 1 else f"--weights {name}=FILE"
            raise InputError(f"{name} takes weights, which are not given: {option} names {EXTRACTORS[name].weights}")
        if not Path(files[name]).exists():
            raise InputError(f'weights of {name} are "{files[name]}", which is not there')
    return {
        name: load_extractor(
            name,
            Path(files[name]) if name in files else None,
            sha256=sums.get(name),
            torchscript=torchscript,
            device=device,
        )
        for name in names
    }


def protocol_networks(name: str, weights: Sequence[str], sha256: Sequence[str]) -> dict[str, Extractor]:
    """The feature networks of a protocol, with their weights.

    Raises:
        InputError: no such protocol, or weights that are missing or wrong.
    """
    from videofusion.evaluation.protocol_table import find_preset

    return _extractors(find_preset(name).metrics, weights, sha256, False, None)


def _by_name(option: str, given: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE options, or one value for the only name there is."""
    found: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals and len(names) == 1:
            name, value = names[0], each
        if name not in names or name in found:
            allowed = ", ".join(names) or "none: what is measured takes no file"
            raise InputError(f'{option} has "{each}"; allowed is NAME=..., once each, with the names {allowed}')
        found[name] = value
    return found
